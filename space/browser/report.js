/**
 * Files to save: a report on one judgement, and a table of several photos.
 *
 * @import {DetectorConfig} from "./detector.js"
 */
import { caution } from "./answer.js";
import { element } from "./dom.js";

/**
 * Return a self-contained HTML document without scripts.
 *
 * @param {HTMLElement} judged what the page shows
 * @param {string} file name of the photo or the clip
 * @param {Record<string, string>} facts about what was judged, and by what
 * @param {DetectorConfig} config
 */
export function reportDocument(judged, file, facts, config) {
  const copy = /** @type {HTMLElement} */ (judged.cloneNode(true));
  for (const details of copy.querySelectorAll("details")) details.open = true;
  const rows = Object.entries({ File: file, ...facts, Model: config.variant, "SHA-256 of the model": config.sha256 });
  const table = element("table", {});
  for (const [name, value] of rows) {
    table.append(element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  }
  const body = element(
    "main",
    { class: "report" },
    element("h1", {}, "Deepfake face detector: report"),
    copy,
    element("h2", {}, "Limits"),
    caution(config),
    element("h2", {}, "What was judged, and by what"),
    table,
  );
  const title = element("title", {}, `Report: ${file}`);
  return (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">' +
    `<meta name="viewport" content="width=device-width">${title.outerHTML}` +
    `<style>${styleText()}</style></head><body>${body.outerHTML}</body></html>`
  );
}

/** Return the page's style sheet. */
function styleText() {
  return [...document.styleSheets]
    .flatMap((sheet) => [...sheet.cssRules])
    .map((rule) => rule.cssText)
    .join("\n");
}

/**
 * Return rows with the same keys as CSV. Spreadsheets take no cell for a formula.
 *
 * @param {Record<string, string | number>[]} rows at least one
 */
export function asCsv(rows) {
  const cell = (/** @type {string | number} */ value) => {
    const text = typeof value === "string" && /^[=+\-@＝＋－＠\t\r\n]/.test(value) ? `'${value}` : String(value);
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row))];
  return lines.map((line) => `${line.map(cell).join(",")}\r\n`).join("");
}
