/**
 * Finds faces on which the model cannot be trusted: cut, small, dark or blurred ones. Python's
 * `quality.py` explains the numbers.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Face} from "./faces.js"
 *
 * @typedef {"cut" | "too_small" | "too_dark" | "blurred" | "seen_too_little"} Reason
 */
import { MIN_FACE, sideOf } from "./faces.js";
import { bytesOf, percentile, resizedBox, resizedValues } from "./pictures.js";

const SIDE = 64; // px of the copy in which light and blur are measured
const OUTSIDE = 0.1; // share of a face's box that may lie outside the picture,
const OUTSIDE_OF_CROP = 0.6; // and outside a picture that was cropped to the face
const LIGHT = 50; // level that the brightest channel must reach in 2% of the face
const SHARPNESS = 0.36;
const GAP = 3; // Pillow's `reducing_gap`

/** @type {Record<Reason, string>} */
export const REASONS = {
  cut: "The face is cut by the border of the picture.",
  too_small: "The face has too few pixels.",
  too_dark: "The face is too dark.",
  blurred: "The face is too blurred.",
  seen_too_little: "The person is seen in too few pictures of the clip.",
};

/**
 * Return why a face gets no verdict; `null` if it may get one.
 *
 * @param {Picture} photo the one that the face was found in
 * @param {Face} face
 * @returns {Reason | null}
 */
export function findReason(photo, face) {
  if (isCut(photo, face)) return "cut";
  if (sideOf(face) < MIN_FACE) return "too_small";
  const data = bytesOf(resizedBox(photo, inside(photo, face), SIDE, SIDE, GAP));
  const counts = new Uint32Array(256);
  const grey = new Float32Array(SIDE * SIDE);
  for (let place = 0; place < grey.length; place++) {
    const [red, green, blue] = data.subarray(4 * place, 4 * place + 3);
    counts[Math.max(red, green, blue)]++;
    grey[place] = (red + green + blue) / 3;
  }
  if (percentile(counts, 0.98) < LIGHT) return "too_dark";
  return sharpness(grey) < SHARPNESS ? "blurred" : null;
}

/** @param {Picture} photo @param {Face} face */
function isCut(photo, face) {
  const isWithin = face.landmarks?.every(
    ([x, y]) => x >= 0 && y >= 0 && x < photo.width && y < photo.height,
  );
  if (isWithin === false) return true;
  const [left, top, right, bottom] = inside(photo, face);
  const shown = Math.max(0, right - left) * Math.max(0, bottom - top);
  const allowed = sideOf(face) >= Math.max(photo.width, photo.height) ? OUTSIDE_OF_CROP : OUTSIDE;
  return shown < (1 - allowed) * face.box[2] * face.box[3];
}

/** Return left, top, right and bottom of the part of a face's box inside the photo.
 * @param {Picture} photo @param {Face} face @returns {[number, number, number, number]} */
function inside(photo, { box: [left, top, width, height] }) {
  const right = Math.min(photo.width, left + width);
  return [Math.max(0, left), Math.max(0, top), right, Math.min(photo.height, top + height)];
}

/** Return the detail that a face loses at half its size, relative to what it loses from there to a
 * quarter.
 * @param {Float32Array} grey */
function sharpness(grey) {
  const fine = detail(grey, SIDE);
  const coarse = detail(fine.half, SIDE / 2);
  return fine.lost / (coarse.lost + 0.5);
}

/** Return the standard deviation of what a picture loses at half its size, and the smaller picture.
 * @param {Float32Array} values @param {number} side */
function detail(values, side) {
  const half = resizedValues(values, side, side / 2, "bicubic");
  const back = resizedValues(half, side / 2, side, "bicubic");
  const lost = values.map((value, place) => value - back[place]);
  const mean = lost.reduce((sum, value) => sum + value, 0) / lost.length;
  const variance = lost.reduce((sum, value) => sum + (value - mean) ** 2, 0) / lost.length;
  return { lost: Math.sqrt(variance), half };
}
