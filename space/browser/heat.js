/**
 * Shows the evidence map of a face: as a layer over its crop, and in words.
 *
 * @import {Point} from "./yunet.js"
 *
 * @typedef {object} HeatMap
 * @property {Float32Array} values row by row, 0 to 1
 * @property {number} side rows, and columns
 */
import { resizedValues } from "./pictures.js";

const SIDE = 56; // px: maps are enlarged to this before heat is assigned to parts
const LAYER_SIDE = 224; // px
// Where eyes, nose tip and mouth corners lie in a crop of an upright face, as shares of its side.
/** @type {Point[]} */
const USUAL_LANDMARKS = [[0.35, 0.48], [0.62, 0.48], [0.49, 0.65], [0.38, 0.76], [0.6, 0.76]];
const FLOOR = 0.5; // of a map's maximum: colder places are neither painted nor counted
const MOST = 0.5; // share of the heat that counts as most of it
const MUCH = 0.25;
const COLD = [0x2a, 0x0a, 0x5e];
const WARM = [0xe0, 0x36, 0x2c];
const HOT = [0xff, 0xe9, 0x45];

/** Paint a map as a layer for its crop, violet to yellow, the more transparent the colder.
 * @param {HeatMap} map */
export function heatLayer(map) {
  const heat = resizedValues(map.values, map.side, LAYER_SIDE, "bilinear");
  const layer = new ImageData(LAYER_SIDE, LAYER_SIDE);
  heat.map(visible).forEach((value, place) => {
    const isCold = value < 0.5;
    const from = isCold ? COLD : WARM;
    const to = isCold ? WARM : HOT;
    const share = isCold ? 2 * value : 2 * value - 1;
    for (let channel = 0; channel < 3; channel++) {
      layer.data[4 * place + channel] = from[channel] + share * (to[channel] - from[channel]);
    }
    layer.data[4 * place + 3] = 255 * value;
  });
  return layer;
}

/**
 * Return a sentence on where most of a map's heat lies.
 *
 * @param {HeatMap} map
 * @param {Point[] | null} landmarks of the face, as shares of the crop's side
 */
export function describeHeat(map, landmarks) {
  const ranked = heatByPart(map, landmarks ?? USUAL_LANDMARKS);
  const [[first, share], [second, next]] = ranked;
  if (share === 0) return "Nothing in it raised the score for fake.";
  if (share >= MOST) return `Most of the evidence for fake lies on ${first}.`;
  if (share + next >= MOST && next >= MUCH) {
    return `Most of the evidence for fake lies on ${first} and ${second}.`;
  }
  return "The evidence for fake is spread out over the face and what is around it.";
}

/** Return how visible a value of a map is, 0 to 1: hot spots, not wide lukewarm areas. Layer and words
 * use the same.
 * @param {number} value @returns {number} */
function visible(value) {
  return Math.min(Math.max((value - FLOOR) / (1 - FLOOR), 0), 1) ** 2;
}

/** Return the share of each part of the face, the largest first.
 * @param {HeatMap} map @param {Point[]} landmarks @returns {[string, number][]} */
function heatByPart(map, landmarks) {
  const heat = resizedValues(map.values, map.side, SIDE, "bilinear");
  const partOf = parts(landmarks);
  /** @type {Map<string, number>} */
  const sums = new Map();
  let total = 0;
  heat.forEach((value, place) => {
    const x = ((place % SIDE) + 0.5) / SIDE;
    const y = (Math.floor(place / SIDE) + 0.5) / SIDE;
    const seen = visible(value);
    const part = partOf(x, y);
    sums.set(part, (sums.get(part) ?? 0) + seen);
    total += seen;
  });
  const ranked = [...sums].sort((first, second) => second[1] - first[1]);
  return ranked.map(([name, sum]) => [name, total > 0 ? sum / total : 0]);
}

/** Return a function from a place in the crop to the name of its part.
 * @param {Point[]} landmarks @returns {(x: number, y: number) => string} */
function parts([eye, otherEye, nose, corner, otherCorner]) {
  const mouth = between(corner, otherCorner);
  const eyes = between(eye, otherEye);
  const unit = Math.max(Math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]), 1e-3);
  const brow = eyes[1] - 0.45 * unit;
  const chin = mouth[1] + 0.4 * unit;
  const ellipse =
    (/** @type {Point} */ [middleX, middleY], /** @type {number} */ width, /** @type {number} */ height) =>
    (/** @type {number} */ x, /** @type {number} */ y) =>
      ((x - middleX) / (width * unit)) ** 2 + ((y - middleY) / (height * unit)) ** 2 <= 1;
  const outline = ellipse(between(eyes, mouth), 1.15, 1.7);
  /** @type {[string, (x: number, y: number) => boolean][]} */
  const areas = [ // earlier ones win
    ["the eye on the right", ellipse(otherEye, 0.45, 0.33)],
    ["the eye on the left", ellipse(eye, 0.45, 0.33)],
    ["the mouth", ellipse(mouth, 0.6, 0.33)],
    ["the nose", ellipse([nose[0], nose[1] - 0.15 * unit], 0.35, 0.5)],
    ["the chin", (x, y) => y > chin && outline(x, y)],
    ["the forehead", (x, y) => y < brow && outline(x, y)],
    ["the cheeks", outline],
    ["the background and hair", () => true],
  ];
  return (x, y) => /** @type {[string, unknown]} */ (areas.find(([, holds]) => holds(x, y)))[0];
}

/** @param {Point} first @param {Point} second @returns {Point} */
function between(first, second) {
  return [(first[0] + second[0]) / 2, (first[1] + second[1]) / 2];
}
