/**
 * Shows an answer: a headline, the photo with boxes, a card for each face or person.
 *
 * @import {FaceAnswer, PersonAnswer, PhotoAnswer, ClipAnswer} from "./judge.js"
 * @import {DetectorConfig, Verdict} from "./detector.js"
 * @import {Reason} from "./quality.js"
 */
import { clock, dataUrl, drawing, element, percent } from "./dom.js";
import { logOdds } from "./detector.js";
import { MAX_FACES, MIN_FACE } from "./faces.js";
import { REASONS } from "./quality.js";

/** @type {Record<Verdict, string>} */
export const VERDICTS = { fake: "Likely fake", real: "Likely real", inconclusive: "Inconclusive" };
/** @type {Record<Verdict, string>} colours alone do not reach everybody */
const SYMBOLS = { fake: "▲", real: "●", inconclusive: "◆" };
/** @type {Record<Verdict, string>} */
const IN_WORDS = {
  fake: "To the model it looks tampered with.",
  real: "The model sees no sign of tampering.",
  inconclusive: "The model cannot tell.",
};
const NO_PROOF =
  "This is not proof. The model can be wrong either way, and says nothing about the person shown.";
const PLOT = { width: 640, height: 200, left: 70, right: 10, top: 10, bottom: 30 };

/** Return the answer about a photo in one sentence.
 * @param {{box: unknown, verdict: Verdict}[]} faces */
export function summary(faces) {
  if (!faces.length) return "No face found.";
  if (faces.length === 1) {
    const about = faces[0].box ? "One face" : "The whole picture";
    return `${about}: ${VERDICTS[faces[0].verdict].toLowerCase()}.`;
  }
  const counts = Object.entries(VERDICTS)
    .map(([verdict, word]) => ({ word, count: faces.filter((face) => face.verdict === verdict).length }))
    .filter(({ count }) => count)
    .map(({ word, count }) => `${count} ${word.toLowerCase()}`);
  return `${faces.length} faces: ${counts.join(", ")}.`;
}

/**
 * Return the answer about a photo.
 *
 * @param {PhotoAnswer} answer
 * @param {DetectorConfig} config
 * @returns {Promise<HTMLElement>}
 */
export async function photoAnswer(answer, config) {
  const { faces } = answer;
  const section = element("div", { class: "judged" }, element("h2", { class: "headline" }, summary(faces)));
  if (faces.length === 1) {
    const [{ verdict, reason }] = faces;
    section.append(element("p", {}, reason ? `No verdict: ${REASONS[reason]}` : IN_WORDS[verdict]));
  }
  if (!faces.length) {
    section.append(
      element(
        "p",
        {},
        "YuNet looked for faces in all of the photo. Is there one? Try a larger or sharper photo of it, or " +
          "judge the whole picture.",
      ),
    );
  }
  if (answer.note) section.append(element("p", {}, answer.note));
  const cards = faces.map((face, index) =>
    faceCard(face, face.box ? `Face ${index + 1}` : "Whole picture", config),
  );
  section.append(...(await Promise.all([photoWithBoxes(answer), ...cards])));
  return section;
}

/**
 * Return the answer about a clip.
 *
 * @param {ClipAnswer} answer
 * @param {number} seconds length of the clip
 * @param {DetectorConfig} config
 */
export async function clipAnswer({ people, others, looks, most }, seconds, config) {
  const words = people.map(({ verdict, reason }) => {
    const why = reason ? ` (${reason.replaceAll("_", " ")})` : "";
    return VERDICTS[verdict].toLowerCase() + why;
  });
  const more = others ? `; ${others} more seen too little or too small` : "";
  const told =
    words.length === 1 ? words[0] : words.map((word, index) => `person ${index + 1} ${word}`).join(", ");
  const count = people.length === 1 ? "1 person" : `${people.length} people`;
  const headline = people.length ? `${count}: ${told}${more}.` : "No face found.";
  const frames = `${looks} frames were judged; the clip is ${clock(seconds)} long.`;
  const section = element("div", { class: "judged" }, element("h2", { class: "headline" }, headline));
  section.append(element("p", {}, frames));
  if (most > MAX_FACES) {
    const crowded = `Of up to ${most} faces in a frame, the ${MAX_FACES} largest were judged.`;
    section.append(element("p", {}, crowded));
  }
  for (const person of people) section.append(await personCard(person, seconds, config));
  return section;
}

/** @param {PhotoAnswer} answer */
async function photoWithBoxes({ width, height, shown, faces }) {
  const spoken = faces.some(({ box }) => box)
    ? `The photo with a box around each of ${faces.length} faces`
    : "The photo";
  const image = element("img", { src: await dataUrl(shown), alt: spoken });
  const boxes = drawing("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  for (const [index, { box, verdict }] of faces.entries()) {
    if (!box) continue;
    const [left, top, boxWidth, boxHeight] = box;
    const size = Math.max(0.14 * Math.max(boxWidth, boxHeight), 1);
    const base = top < 1.3 * size ? top + 1.1 * size : top - 0.3 * size; // in the box if not above it
    boxes.append(
      drawing(
        "g",
        { class: verdict },
        drawing("rect", { x: left, y: top, width: boxWidth, height: boxHeight }),
        drawing("text", { x: left, y: base, "font-size": size }, `${index + 1} ${SYMBOLS[verdict]}`),
      ),
    );
  }
  return element("figure", { class: "photo" }, image, boxes);
}

/** @param {FaceAnswer} face @param {string} name @param {DetectorConfig} config */
async function faceCard(face, name, config) {
  const details = element(
    "details",
    {},
    element("summary", {}, "Details"),
    ...meaningOf(face),
    element("p", {}, weightOf(face.probability, config)),
    element("p", {}, `${face.evidence} A photo need not have been changed there.`),
    element("p", {}, sizeOf(face)),
    element("p", { class: "caution" }, NO_PROOF),
  );
  return element(
    "article",
    { class: "face", "aria-label": name },
    await cropWithHeat(face, name),
    element(
      "div",
      {},
      verdictHeading(face.verdict, name),
      ...reservationsOf(face),
      probabilityBar(face.probability, config.thresholds),
      details,
    ),
  );
}

/** @param {FaceAnswer} face */
function reservationsOf({ box, side, reason }) {
  if (!box) {
    const strong = element("strong", {}, "Judged as asked, without looking for a face:");
    const rest =
      " the answer means something only if one face fills about three quarters of the picture.";
    return [element("p", {}, strong, rest)];
  }
  return noVerdict(reason, side < MIN_FACE ? ` It is ${side.toFixed(0)} px wide.` : "");
}

/** @param {Reason | null} reason @param {string} [more] */
function noVerdict(reason, more = "") {
  if (!reason) return [];
  return [element("p", {}, element("strong", {}, "No verdict:"), ` ${REASONS[reason]}${more}`)];
}

/** @param {FaceAnswer} face */
function meaningOf({ meaning }) {
  if (!meaning) return [];
  const sentence =
    `Of the ${meaning.photos} validation photos with a probability like this one, ` +
    `${percent(meaning.fake_share)} were fake.`;
  return [element("p", {}, sentence)];
}

/** Return a sentence on how strong a score is as evidence. Scores assume even prior odds.
 * @param {number} probability @param {DetectorConfig} config */
function weightOf(probability, { max_likelihood_ratio: most }) {
  const ratio = Math.exp(logOdds(probability));
  const bounded = most ? Math.min(Math.max(ratio, 1 / most), most) : ratio;
  const shown = bounded >= 1 ? bounded.toPrecision(3) : `1/${(1 / bounded).toPrecision(3)}`;
  return `As evidence: likelihood ratio ${shown}. Multiply by it the odds of fake that you would have given before.`;
}

/** @param {FaceAnswer} face */
function sizeOf({ box, side, confidence }) {
  if (!box) return "The centred square of the picture was judged.";
  return `The face is ${side.toFixed(0)} px long; the face finder is ${percent(confidence)} sure of it.`;
}

/** @param {PersonAnswer} person @param {number} seconds @param {DetectorConfig} config */
async function personCard(person, seconds, config) {
  const name = `Person ${person.number}`;
  const [best] = person.moments;
  const moments = element("ul", { class: "moments" });
  for (const { seconds: time, face } of person.moments) {
    const text = `${clock(time)}: ${face.probability.toFixed(2)}`;
    moments.append(element("li", {}, await cropWithHeat(face, `${name} at ${text}`), text));
  }
  const seen =
    `Seen in ${person.scores.length} of the frames, from ${clock(person.scores[0].seconds)} to ` +
    `${clock(person.scores[person.scores.length - 1].seconds)}.`;
  const details = element(
    "details",
    {},
    element("summary", {}, "Over time, and the most suspicious moments"),
    plot(person, seconds, config.thresholds),
    moments,
    element("p", { class: "caution" }, NO_PROOF),
  );
  return element(
    "article",
    { class: "face", "aria-label": name },
    await cropWithHeat(best.face, name),
    element(
      "div",
      {},
      verdictHeading(person.verdict, name),
      ...noVerdict(person.reason),
      probabilityBar(person.probability, config.thresholds),
      element("p", {}, seen),
      details,
    ),
  );
}

/** @param {FaceAnswer} face @param {string} name */
async function cropWithHeat({ crop, heat }, name) {
  const [shown, layer] = await Promise.all([crop, heat].map(dataUrl));
  return element(
    "div",
    { class: "crop" },
    element("img", { src: shown, alt: name }),
    element("img", { class: "heat", src: layer, alt: "", "aria-hidden": "true" }),
  );
}

/** @param {Verdict} verdict @param {string} name */
function verdictHeading(verdict, name) {
  const symbol = element("span", { "aria-hidden": "true" }, SYMBOLS[verdict]);
  return element("h3", { class: `verdict ${verdict}` }, symbol, ` ${name}: ${VERDICTS[verdict]}`);
}

/** Return a bar from real to fake with both thresholds and the probability marked.
 * @param {number} probability @param {DetectorConfig["thresholds"]} thresholds */
function probabilityBar(probability, { real, fake }) {
  const spoken =
    `Probability of fake ${probability.toFixed(2)}; likely real below ${real.toFixed(2)}, likely fake ` +
    `from ${fake.toFixed(2)}`;
  /** @type {[Verdict, number][]} */
  const widths = [["real", real], ["inconclusive", fake - real], ["fake", 1 - fake]];
  const zones = element("div", { class: "zones" });
  for (const [zone, width] of widths) {
    const part = element("span", { class: zone });
    part.style.width = `${100 * width}%`;
    zones.append(part);
  }
  const pin = element("span", { class: "pin" }, element("b", {}, probability.toFixed(2)));
  pin.style.left = `${100 * probability}%`;
  const marks = [real, fake].map((value) => {
    const mark = element("span", { class: "threshold" }, element("span", {}, value.toFixed(2)));
    mark.style.left = `${100 * value}%`;
    return mark;
  });
  const ends = element("div", { class: "ends" }, element("span", {}, "real"), element("span", {}, "fake"));
  return element("div", { class: "bar", role: "img", "aria-label": spoken }, zones, ...marks, pin, ends);
}

/** Return the scores over time, with both thresholds.
 * @param {PersonAnswer} person @param {number} seconds @param {DetectorConfig["thresholds"]} thresholds */
function plot(person, seconds, thresholds) {
  const { width, height, left, right, top, bottom } = PLOT;
  const x = (/** @type {number} */ time) => left + ((width - left - right) * time) / Math.max(seconds, 1e-3);
  const y = (/** @type {number} */ value) => top + (height - top - bottom) * (1 - value);
  const rule = (/** @type {number} */ value, /** @type {string} */ label, dashes = "none") => [
    drawing("line", { x1: left, x2: width - right, y1: y(value), y2: y(value), stroke: "currentColor", "stroke-dasharray": dashes }),
    drawing("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, label),
  ];
  const ticks = [[0, "start"], [seconds / 2, "middle"], [seconds, "end"]].map(([time, anchor]) =>
    drawing("text", { x: x(Number(time)), y: y(0) + 20, "text-anchor": anchor }, clock(Number(time))),
  );
  const points = person.scores.map((score) => [x(score.seconds), y(score.probability)]);
  return drawing(
    "svg",
    {
      class: "plot",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `Probability of fake of person ${person.number} over time`,
      "font-size": 13,
      fill: "currentColor",
    },
    ...rule(0, "0"),
    ...rule(1, "1"),
    ...rule(thresholds.real, `real ${thresholds.real.toFixed(2)}`, "5 4"),
    ...rule(thresholds.fake, `fake ${thresholds.fake.toFixed(2)}`, "5 4"),
    ...ticks,
    drawing("polyline", { points: points.join(" "), fill: "none", stroke: "currentColor" }),
    ...person.scores.map(({ verdict }, index) =>
      drawing("circle", { class: verdict, cx: points[index][0], cy: points[index][1], r: 4 }),
    ),
  );
}

/** Return what the model was trained on and how often it errs.
 * @param {DetectorConfig} config */
export function caution({ metrics, trained_on: trainedOn, promise }) {
  const figures = metrics.test;
  let text = ` It was trained on ${trainedOn}.`;
  const cost = figures?.tiers?.unseen_kinds?.cllr?.value;
  if (cost >= 1) text += " About kinds of fakes that it never saw, its score is no evidence either way.";
  if (promise?.kept === false) {
    text += ` It is not calibrated: its thresholds promise more than the test photos keep. ${promise.broken?.join(" ") ?? ""}`;
  }
  if (figures) {
    const { verdicts, roc_auc: auc } = figures;
    text +=
      ` On ${figures.photos} test photos of that kind it called ` +
      `${percent(verdicts.real_called_fake.value)} of the real ones fake and ` +
      `${percent(verdicts.fake_called_real.value)} of the fakes real, and had no verdict on ` +
      `${percent(verdicts.inconclusive.value)} of all; of a fake and a real one it ranked the fake higher in ` +
      `${percent(auc.value)} of the cases (95% interval ${percent(auc.low)} to ${percent(auc.high)}). ` +
      `${figures.note ?? ""}`;
  } else {
    text += " It comes without test figures.";
  }
  return element("p", { class: "caution" }, element("strong", {}, NO_PROOF), text);
}
