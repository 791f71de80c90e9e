/**
 * The page: takes photos and clips, has them judged by the worker, and shows the answers.
 *
 * @import {DetectorConfig} from "./detector.js"
 * @import {FaceAnswer} from "./judge.js"
 */
import { VERDICTS, caution, clipAnswer, photoAnswer, summary } from "./answer.js";
import { Client } from "./client.js";
import { Clip } from "./clip.js";
import { byId, element, saveButton } from "./dom.js";
import { asCsv, reportDocument } from "./report.js";
import { REASONS } from "./quality.js";
import { missingFeature } from "./runtime.js";

const CLIP_NAMES = /\.(mp4|m4v|mov|webm|mkv|ogv|avi)$/i;
const FOR_PEOPLE = ["PhotoError", "ClipError", "SelfTestError", "WorkerGone"];
const FINDER = "YuNet";
const TAKING_OVER = 5000; // ms; after a reload that bypasses the cache, the service worker never takes over

/** @type {Client} */
let client;
let isReady = false; // the page has loaded and passed its self-test
/** @type {DetectorConfig} */
let config;
/** Aborts the current work, on another choice or by Stop. */
let current = new AbortController();

/** @param {string} text @param {boolean} [isError] */
function say(text, isError = false) {
  const status = byId("status");
  status.textContent = text;
  status.classList.toggle("error", isError);
}

/** Return a sentence about an error.
 * @param {unknown} error */
function inWords(error) {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  return FOR_PEOPLE.includes(name) ? message : `Something unexpected went wrong (${message}): try again.`;
}

/** Show an answer and scroll to it.
 * @param {...Node} content */
function show(...content) {
  const answer = byId("answer");
  answer.replaceChildren(...content);
  answer.hidden = false;
  answer.focus({ preventScroll: true });
  answer.scrollIntoView({ block: "start", behavior: "instant" });
}

function stopButton() {
  const button = element("button", { type: "button" }, "Stop");
  button.addEventListener("click", () => current.abort());
  return button;
}

/** Return the switch of the evidence maps.
 * @param {HTMLElement} judged */
function heatSwitch(judged) {
  const box = element("input", { type: "checkbox", role: "switch" });
  judged.classList.add("with-heat");
  box.checked = true;
  box.addEventListener("change", () => judged.classList.toggle("with-heat", box.checked));
  return element("label", { class: "switch" }, box, "Show what raised the score");
}

/** @param {HTMLElement} judged @param {string} name @param {Record<string, string>} facts */
function reportButton(judged, name, facts) {
  return saveButton("Save a report", "report.html", "text/html", () =>
    reportDocument(judged, name, { ...facts, Date: today(), "Faces found by": FINDER }, config),
  );
}

function today() {
  return `${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** @param {Blob} file @param {string} name @param {boolean} [whole] */
async function judgePhoto(file, name, whole = false) {
  say(`Judging ${name}.`);
  const answer = await client.photo(file, whole);
  const judged = await photoAnswer(answer, config);
  const tools = element("p", { class: "tools" });
  if (answer.faces.length) {
    tools.append(heatSwitch(judged), reportButton(judged, name, { "SHA-256 of the file": answer.digest }));
  } else {
    const button = element("button", { type: "button" }, "Judge the whole picture anyway");
    button.addEventListener("click", () => run(() => judgePhoto(file, name, true)));
    tools.append(button);
  }
  show(judged, tools);
  say(`${name}: ${summary(answer.faces)}`);
}

/** @param {File[]} files @param {AbortSignal} signal */
async function judgePhotos(files, signal) {
  /** @type {Record<string, string | number>[]} */
  const rows = [];
  const body = element("tbody");
  const names = ["File", "Face", "Verdict", "Probability of fake", "Remark"];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const table = element("table", { class: "rows" }, element("thead", {}, head), body);
  const tools = element("p", { class: "tools" }, stopButton());
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of photos" }, table);
  show(element("h2", { class: "headline" }, `${files.length} photos`), tools, scroll);
  for (const [index, file] of files.entries()) {
    if (signal.aborted) break;
    say(`Judging ${index + 1} of ${files.length}.`);
    for (const row of await rowsOf(file)) {
      rows.push(row);
      body.append(tableRow(row, file));
    }
  }
  const csv = saveButton("Save as CSV", "judgements.csv", "text/csv", () => asCsv(rows));
  tools.replaceChildren(...(rows.length ? [csv] : []));
  say(signal.aborted ? "Stopped." : `${files.length} photos were judged.`);
}

/** Return a row for each face of a photo, or one row that says why there is no answer.
 * @param {File} file @returns {Promise<Record<string, string | number>[]>} */
async function rowsOf(file) {
  const nobody = (/** @type {string} */ reason) => row(file.name, 0, "", null, reason);
  if (isClip(file)) return [nobody("A clip: choose it alone.")];
  try {
    const { faces, note } = await client.photo(file);
    if (!faces.length) return [nobody(joined("No face found.", note))];
    return faces.map((face, index) => {
      const reason = face.reason ? REASONS[face.reason] : "";
      return row(file.name, faces.length, index + 1, face, joined(reason, note));
    });
  } catch (error) {
    return [nobody(inWords(error))];
  }
}

/** @param {...string} sentences */
function joined(...sentences) {
  return sentences.filter(Boolean).join(" ");
}

/** @param {string} file @param {number} faces @param {number | ""} number
 * @param {FaceAnswer | null} face @param {string} reason */
function row(file, faces, number, face, reason) {
  return {
    file,
    faces,
    face: number,
    "box (left top width height)": face?.box?.map((value) => value.toFixed(0)).join(" ") ?? "",
    verdict: face?.verdict ?? "",
    "probability of fake": face?.probability.toFixed(3) ?? "",
    reason,
    model: `SHA-256 ${config.sha256.slice(0, 8)}`,
  };
}

/** @param {Record<string, string | number>} values @param {File} file */
function tableRow(values, file) {
  const open = element("button", { type: "button", class: "link" }, file.name);
  open.addEventListener("click", () => run(() => judgePhoto(file, file.name)));
  const verdict = VERDICTS[/** @type {keyof typeof VERDICTS} */ (values.verdict)] ?? "";
  const cells = [values.face, verdict, values["probability of fake"], values.reason];
  const name = element("th", { scope: "row" }, open);
  return element("tr", {}, name, ...cells.map((text) => element("td", {}, String(text))));
}

/** @param {File} file @param {AbortSignal} signal */
async function judgeClip(file, signal) {
  say(`Opening ${file.name}.`);
  const clip = await Clip.open(file);
  try {
    await client.startClip(clip.seconds);
    const progress = element("progress", { max: "1", value: "0", "aria-label": "Share of the clip" });
    show(element("h2", { class: "headline" }, file.name), element("p", { class: "tools" }, progress, stopButton()));
    for await (const { frame, seconds, isDue } of clip.frames()) {
      if (signal.aborted) {
        frame?.close();
        break;
      }
      say(`Judging ${file.name}: ${seconds.toFixed(0)} of ${clip.seconds.toFixed(0)} s.`);
      await client.frame(frame, seconds, isDue);
      progress.value = seconds / clip.seconds;
    }
    const answer = await client.endClip();
    if (signal.aborted && !answer.people.length) {
      show(element("h2", { class: "headline" }, "Stopped."));
      return say("Stopped.");
    }
    const judged = await clipAnswer(answer, clip.seconds, config);
    const tools = element("p", { class: "tools" });
    if (answer.people.length) tools.append(heatSwitch(judged), reportButton(judged, file.name, {}));
    show(judged, tools);
    say(signal.aborted ? "Stopped: what was seen by then was judged." : `${file.name} was judged.`);
  } finally {
    clip.close();
  }
}

/** @param {File} file */
function isClip(file) {
  return file.type.startsWith("video/") || CLIP_NAMES.test(file.name);
}

/** Judge the chosen files.
 * @param {File[]} files */
function judgeFiles(files) {
  if (!files.length) return;
  run(async (signal) => {
    if (files.length > 1) await judgePhotos(files, signal);
    else if (isClip(files[0])) await judgeClip(files[0], signal);
    else await judgePhoto(files[0], files[0].name || "the picture");
  });
}

/** The last piece of work; the next waits for its end. @type {Promise<void>} */
let working = Promise.resolve();

/** Abort the current work, then run another piece. Errors are shown.
 * @param {(signal: AbortSignal) => Promise<void>} work */
function run(work) {
  current.abort();
  const mine = new AbortController();
  current = mine;
  working = working.then(async () => {
    if (mine.signal.aborted || !isReady) return; // the page has said why it is not
    document.body.classList.add("busy");
    try {
      await work(mine.signal);
    } catch (error) {
      byId("answer").hidden = true;
      say(inWords(error), true);
    } finally {
      document.body.classList.remove("busy");
    }
  });
}

function takeFiles() {
  const input = /** @type {HTMLInputElement} */ (byId("files"));
  input.addEventListener("change", () => {
    judgeFiles([...(input.files ?? [])]);
    input.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", ({ clipboardData }) => judgeFiles([...(clipboardData?.files ?? [])]));
  const drop = byId("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    judgeFiles([...(event.dataTransfer?.files ?? [])]);
  });
  for (const button of byId("examples").querySelectorAll("button")) {
    const { file: address = "" } = button.dataset;
    button.addEventListener("click", () =>
      run(async (signal) => {
        const blob = await (await fetch(address)).blob();
        const file = new File([blob], address.split("/").at(-1) ?? address, { type: blob.type });
        await (isClip(file) ? judgeClip(file, signal) : judgePhoto(file, file.name));
      }),
    );
  }
}

function takeSnapshots() {
  const [open, viewfinder] = [byId("camera"), byId("viewfinder")];
  const video = /** @type {HTMLVideoElement} */ (viewfinder.querySelector("video"));
  open.hidden = !navigator.mediaDevices?.getUserMedia;
  const close = () => {
    for (const track of /** @type {MediaStream | null} */ (video.srcObject)?.getTracks() ?? []) track.stop();
    video.srcObject = null;
    viewfinder.hidden = true;
  };
  open.addEventListener("click", async () => {
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      await video.play(); // before the shutter button appears, as its photo would be empty
      viewfinder.hidden = false;
    } catch (error) {
      close();
      const name = error instanceof Error ? error.name : "";
      say(`The camera cannot be used (${name}): allow it, or choose a photo.`, true);
    }
  });
  byId("close").addEventListener("click", close);
  byId("snap").addEventListener("click", () => {
    const canvas = element("canvas", { width: String(video.videoWidth), height: String(video.videoHeight) });
    canvas.getContext("2d")?.drawImage(video, 0, 0);
    close();
    canvas.toBlob((photo) => photo && run(() => judgePhoto(photo, "the camera's photo")), "image/png");
  });
}

/** Let the browser cache the page for use without a network; without a cache, the page works as long
 * as it is open. Return whether it is cached. */
async function keepForLater() {
  const { serviceWorker } = navigator;
  if (!serviceWorker) return false;
  // Registered by an earlier visit. To register again would wait, for seconds, for a check for updates,
  // which the browser makes anyway.
  if (serviceWorker.controller) return true;
  try {
    await takenOver(await serviceWorker.register("service-worker.js"));
  } catch {
    return false;
  }
  return serviceWorker.controller !== null;
}

/** Wait until the service worker has taken over, as it caches only what is loaded after that, or cannot.
 * @param {ServiceWorkerRegistration} registration @returns {Promise<void>} */
function takenOver({ installing, waiting, active }) {
  return new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
    const worker = active ?? waiting ?? installing; // a newer one waits until all other tabs are closed
    const check = () => {
      if (worker?.state === "activated") setTimeout(resolve, TAKING_OVER);
      if (!worker || worker.state === "redundant") resolve(); // its files cannot be cached
    };
    worker?.addEventListener("statechange", check);
    check();
  });
}

async function start() {
  takeFiles();
  takeSnapshots();
  const missing = missingFeature();
  if (missing) {
    return say(`This browser has no ${missing}, which the page needs: use a current one.`, true);
  }
  const { megabytes } = /** @type {any} */ (globalThis).FILES;
  say(`Loading: ${megabytes} MB at the first visit.`);
  const isKept = await keepForLater();
  client = new Client();
  try {
    config = await client.load();
    byId("caution").append(caution(config));
    byId("model").textContent = `The network: ${config.variant}, SHA-256 ${config.sha256}.`;
    say("Testing itself on a built-in picture.");
    await client.test();
    say(isKept ? "Ready, also without a network." : "Ready.");
  } catch (error) {
    const isTold = error instanceof Error && FOR_PEOPLE.includes(error.name);
    return say(isTold ? inWords(error) : `The page cannot be loaded (${error}): load it anew.`, true);
  }
  isReady = true;
  document.body.classList.add("ready");
}

working = start();
