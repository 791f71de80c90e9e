/**
 * Cuts a face out of a photo as the training photos show it: square, upright, with a margin.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Point} from "./yunet.js"
 * @import {Face} from "./faces.js"
 *
 * @typedef {{left: number, top: number, side: number}} Square in px of the photo
 */
import { centreOf, rollOf, sideOf } from "./faces.js";
import { cropped, croppedMirrored, roundHalfEven, transformed, turnedByQuarters } from "./pictures.js";

const MAX_TILT = 15; // degrees up to which a crop keeps the head's tilt
const RISE = 0.1; // of the box's side: training photos leave more room above the face than below

/**
 * Return the square to cut out, before the head is levelled. It lies inside the photo.
 *
 * @param {{width: number, height: number}} photo
 * @param {Face} face
 * @param {number} margin side of the square divided by the longer side of the face's box
 * @returns {Square}
 */
export function faceSquare({ width, height }, face, margin) {
  const long = sideOf(face);
  const side = Math.min(Math.max(1, roundHalfEven(margin * long)), width, height);
  const up = (rollOf(face) * Math.PI) / 180;
  const [x, y] = centreOf(face);
  const start = (/** @type {number} */ middle, /** @type {number} */ full) =>
    Math.min(Math.max(0, roundHalfEven(middle - side / 2)), full - side);
  return {
    left: start(x + RISE * long * Math.sin(up), width),
    top: start(y - RISE * long * Math.cos(up), height),
    side,
  };
}

/** Return a head's tilt in quarter turns, and whether the rest is to be levelled.
 * @param {Face} face */
function tiltOf(face) {
  const quarters = roundHalfEven(rollOf(face) / 90);
  return { quarters, isLevelled: Math.abs(rollOf(face) - 90 * quarters) > MAX_TILT };
}

/**
 * Cut a face out of its photo. Heads tilted by up to 15 degrees stay tilted, heads on their side or
 * upside down are turned by quarters, and all others are levelled.
 *
 * @param {Picture} photo
 * @param {Face} face
 * @param {number} margin as for `faceSquare`
 * @returns {Picture} a square at the photo's resolution
 */
export function cropFace(photo, face, margin) {
  const { left, top, side } = faceSquare(photo, face, margin);
  const { quarters, isLevelled } = tiltOf(face);
  if (isLevelled) return levelled(photo, [left + side / 2, top + side / 2], side, rollOf(face));
  return turnedByQuarters(cropped(photo, left, top, side, side), quarters);
}

/**
 * Return a face's landmarks in the crop that `cropFace` makes, as shares of its side.
 *
 * @param {{width: number, height: number}} photo
 * @param {Face} face
 * @param {number} margin
 * @returns {Point[] | null}
 */
export function cropLandmarks(photo, face, margin) {
  if (!face.landmarks) return null;
  const { left, top, side } = faceSquare(photo, face, margin);
  const { quarters, isLevelled } = tiltOf(face);
  const turn = ((isLevelled ? rollOf(face) : 90 * quarters) * Math.PI) / 180;
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  return face.landmarks.map(([x, y]) => {
    const across = (x - left - side / 2) / side;
    const down = (y - top - side / 2) / side;
    return [across * cos + down * sin + 0.5, -across * sin + down * cos + 0.5];
  });
}

/** Return a square of the photo, turned counterclockwise about its middle. Corners outside the photo
 * show its mirror image.
 * @param {Picture} photo @param {Point} middle @param {number} side @param {number} roll degrees */
function levelled(photo, middle, side, roll) {
  const cos = Math.cos((roll * Math.PI) / 180);
  const sin = Math.sin((roll * Math.PI) / 180);
  const reach = Math.ceil((side * (Math.abs(cos) + Math.abs(sin))) / 2) + 2;
  const [left, top] = middle.map((value) => Math.floor(value) - reach);
  const region = croppedMirrored(photo, left, top, 2 * reach + 1, 2 * reach + 1);
  const [x, y] = [middle[0] - left, middle[1] - top];
  const half = side / 2;
  const across = [cos, -sin, x - half * (cos - sin)];
  return transformed(region, side, [...across, sin, cos, y - half * (sin + cos)]);
}
