/**
 * Finds faces with YuNet as Python's `FaceFinder` does, in two steps: first in copies of the whole
 * photo, with a low threshold, then at each candidate, upright and enlarged.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Box, Point, Row, YuNet} from "./yunet.js"
 *
 * @typedef {object} Face in px of the photo
 * @property {Box} box from the forehead to the chin; of a head on its side, the sides are swapped
 * @property {Point[] | null} landmarks right eye, left eye, nose, right and left corner of the mouth
 * @property {number} confidence 0 to 1
 * @property {number} turn degrees clockwise by which the head was found turned, in steps of 90
 */
import { resized, roundHalfEven, turnedByQuarters } from "./pictures.js";
import { LOOK_FACE, LOOK_SIDE, SEARCH_GAP, View, brightened } from "./view.js";
import { sharedArea } from "./yunet.js";

// The values are those of `space/finder.py`, which explains them.
const SIDES = [1920, 640, 320];
const COARSE_SIDES = SIDES.slice(1);
const MAX_ENLARGEMENT = 2;
const ENLARGED_SIDE = 1280;
const SUBJECT = 0.2;
const MIN_STEP = 1.3;
const AS_IT_IS = 0.9;
const MIN_SIDE_OF_COPY = 20;
const MAX_SIDE_IN_COPY = 320;
const FACE_SCORE = 0.8;
const MAX_CANDIDATES = 200;
const OVERLAP = 0.4;
const SURE = { score: 0.92, side: 150, tilt: 6, room: 0.03 };
const TURN_GAIN = 0.03;
const GLANCE = 0.5;
const LOOK_TILT = 10;
const LOOKS = 3;
const BRIGHTENING_BLUR = 3; // px
export const MAX_FACES = 10; // judged in a frame of a clip
export const MIN_FACE = 64; // px: a smaller face is judged, but too small to trust

/** Return the longer side of a face's box in px.
 * @param {{box: Box}} face */
export function sideOf({ box }) {
  return Math.max(box[2], box[3]);
}

/** Return the centre of a face's box.
 * @param {{box: Box}} face @returns {Point} */
export function centreOf({ box: [left, top, width, height] }) {
  return [left + width / 2, top + height / 2];
}

/** Return the tilt of the line through the eyes: degrees clockwise, -180 to 180.
 * @param {{landmarks: Point[] | null, turn?: number}} face */
export function rollOf({ landmarks, turn = 0 }) {
  if (!landmarks) return wrapped(turn);
  const [[x, y], [x2, y2]] = landmarks;
  return (Math.atan2(y2 - y, x2 - x) * 180) / Math.PI;
}

/** @param {number} degrees */
function wrapped(degrees) {
  return ((((degrees + 180) % 360) + 360) % 360) - 180;
}

/** Return the same face in a photo of another size.
 * @param {Face} face @param {number} factor @returns {Face} */
export function scaledFace(face, factor) {
  if (factor === 1) return face;
  return {
    ...face,
    box: /** @type {Box} */ (face.box.map((value) => value * factor)),
    landmarks: face.landmarks?.map(([x, y]) => [x * factor, y * factor]) ?? null,
  };
}

export class FaceFinder {
  #yunet;

  /** @param {YuNet} yunet */
  constructor(yunet) {
    this.#yunet = yunet;
  }

  /**
   * Find the faces in a photo.
   *
   * @param {Picture} photo
   * @param {boolean} [quick] leave out the finest copy, and with it the smallest faces
   * @returns {Promise<Face[]>} largest first
   */
  async find(photo, quick = false) {
    const coarse = scales(photo, COARSE_SIDES, false);
    const fine = scales(photo, quick ? COARSE_SIDES : SIDES, true);
    let faces = await this.#lookFor(photo, coarse);
    const largest = Math.max(0, ...faces.map(sideOf));
    const isSubject = largest >= SUBJECT * Math.min(photo.width, photo.height);
    if (!isSubject && fine.join() !== coarse.join()) {
      const found = await this.#lookFor(photo, fine);
      if (found.length) faces = found;
    }
    const enlarged = scales(photo, COARSE_SIDES, true);
    if (!faces.length) faces = await this.#lookFor(photo, enlarged, [0], true);
    if (!faces.length) faces = await this.#lookFor(photo, enlarged, [90, 180, 270]);
    return faces.sort((first, second) => sideOf(second) - sideOf(first));
  }

  /** @param {Picture} photo @param {number[]} scales @param {number[]} turns @param {boolean} brighten */
  async #lookFor(photo, scales, turns = [0], brighten = false) {
    const candidates = distinct(await this.#candidates(photo, scales, turns, brighten));
    /** @type {Face[]} */
    const faces = [];
    for (const candidate of candidates.slice(0, MAX_CANDIDATES)) {
      const face = candidate.landmarks
        ? candidate
        : await this.#secondLook(new View(photo, candidate, brighten));
      if (face && face.confidence >= FACE_SCORE) faces.push(face);
    }
    return distinct(faces);
  }

  /** Return face candidates in copies of the photo. Sure ones have landmarks.
   * @param {Picture} photo @param {number[]} scales @param {number[]} turns @param {boolean} brighten */
  async #candidates(photo, scales, turns, brighten) {
    /** @type {Face[]} */
    const candidates = [];
    const copies = copiesOf(photo, scales);
    for (const [number, { picture, scale }] of copies.entries()) {
      const copy = brighten ? brightened(picture, BRIGHTENING_BLUR) : picture;
      const largest = number < copies.length - 1 ? MAX_SIDE_IN_COPY : Infinity;
      for (const turn of turns) {
        for (const row of await this.#yunet.rows(turnedByQuarters(copy, turn / 90))) {
          if (sideOf(row) > largest) continue;
          const sure = turn === 0 && !brighten && isSure(row, copy);
          const box = turnedBack(row.box, turn, copy.width, copy.height);
          candidates.push({
            box: /** @type {Box} */ (box.map((value) => value / scale)),
            landmarks: sure ? row.landmarks.map(([x, y]) => [x / scale, y / scale]) : null,
            confidence: row.score,
            turn,
          });
        }
      }
    }
    return candidates;
  }

  /** Return the face in the middle of a view, with the head turned upright.
   * @param {View} view */
  async #secondLook(view) {
    let angle = 0;
    let face = await this.#look(view, 0);
    if (!face || face.confidence < SURE.score) {
      for (const turn of [90, 180, 270]) {
        // Rarely finds more, so a small picture first tells whether to look, in a quarter of the time.
        const small = await this.#look(view, turn, GLANCE);
        if (!small || (face && small.confidence < face.confidence)) continue;
        const turned = await this.#look(view, turn);
        if (turned && (!face || turned.confidence > face.confidence + TURN_GAIN)) {
          [angle, face] = [turn, turned];
        }
      }
    }
    for (let look = 0; look < LOOKS; look++) {
      if (!face || Math.abs(wrapped(rollOf(face) - angle)) < LOOK_TILT) break;
      const levelled = await this.#look(view, rollOf(face));
      if (!levelled || levelled.confidence < face.confidence - TURN_GAIN) break;
      [angle, face] = [rollOf(face), levelled];
    }
    return face;
  }

  /** Return the surest face in the middle of a view.
   * @param {View} view @param {number} angle degrees counterclockwise @param {number} scale
   * @returns {Promise<Face | null>} */
  async #look(view, angle, scale = 1) {
    const { picture, toPhoto } = view.turned(angle, scale);
    /** @type {Row | null} */
    let best = null;
    for (const row of await this.#yunet.rows(picture)) {
      const [x, y] = centreOf(row).map((value) => value / scale - LOOK_SIDE / 2);
      const grown = sideOf(row) / scale / LOOK_FACE;
      const isMiddle = Math.hypot(x, y) / LOOK_FACE < 0.4 && grown > 0.5 && grown < 2;
      if (isMiddle && (!best || row.score > best.score)) best = row;
    }
    if (!best) return null;
    const [x, y] = toPhoto(...scaledPoint(centreOf(best), 1 / scale));
    const landmarks = best.landmarks.map((point) => toPhoto(...scaledPoint(point, 1 / scale)));
    let [width, height] = best.box.slice(2).map((side) => side / scale / view.scale);
    const across = Math.abs(landmarks[1][0] - landmarks[0][0]);
    const down = Math.abs(landmarks[1][1] - landmarks[0][1]);
    if (down > across) [width, height] = [height, width]; // the head lies on its side
    const box = /** @type {Box} */ ([x - width / 2, y - height / 2, width, height]);
    return { box, landmarks, confidence: best.score, turn: 0 };
  }
}

/** @param {Point} point @param {number} factor @returns {Point} */
function scaledPoint([x, y], factor) {
  return [x * factor, y * factor];
}

/** Return the scales of the copies to search for faces, finest first.
 * @param {Picture} photo @param {number[]} sides @param {boolean} enlarge */
function scales(photo, sides, enlarge) {
  const full = Math.sqrt((photo.width * photo.height * 4) / 3);
  const finest = enlarge ? Math.max(1, Math.min(MAX_ENLARGEMENT, ENLARGED_SIDE / full)) : 1;
  /** @type {number[]} */
  const result = [];
  for (const side of [...sides].sort((first, second) => first - second)) {
    const scale = Math.min(side / full, finest);
    if (!result.length || scale > MIN_STEP * result[result.length - 1]) {
      result.push(scale > AS_IT_IS && scale < 1 ? 1 : scale);
    }
  }
  const narrowest = MIN_SIDE_OF_COPY / Math.min(photo.width, photo.height);
  return result.reverse().filter((scale) => scale >= narrowest);
}

/** Return copies of a photo at some scales, each made from the previous copy.
 * @param {Picture} photo @param {number[]} scales */
function copiesOf(photo, scales) {
  let picture = photo;
  return scales.map((scale) => {
    const width = Math.max(1, roundHalfEven(photo.width * scale));
    const height = Math.max(1, roundHalfEven(photo.height * scale));
    if (width !== picture.width || height !== picture.height) {
      picture = resized(picture, width, height, SEARCH_GAP);
    }
    return { picture, scale };
  });
}

/** Return whether a face in a copy needs no second look. A face at the border does need one, as its
 * box ends at the border, not where the face ends.
 * @param {Row} row @param {Picture} copy */
function isSure(row, copy) {
  const [left, top, width, height] = row.box;
  const room = Math.min(left, top, copy.width - left - width, copy.height - top - height);
  return (
    sideOf(row) >= SURE.side &&
    row.score >= SURE.score &&
    Math.abs(rollOf(row)) <= SURE.tilt &&
    room >= SURE.room * sideOf(row)
  );
}

/** Return where a box of a turned picture lies in the picture before it was turned.
 * @param {Box} box @param {number} turn in degrees @param {number} width of the picture before
 * @param {number} height of it @returns {Box} */
function turnedBack([left, top, boxWidth, boxHeight], turn, width, height) {
  if (turn === 90) return [width - top - boxHeight, left, boxHeight, boxWidth];
  if (turn === 180) return [width - left - boxWidth, height - top - boxHeight, boxWidth, boxHeight];
  if (turn === 270) return [top, height - left - boxWidth, boxHeight, boxWidth];
  return [left, top, boxWidth, boxHeight];
}

/** Return the faces, most confident first, without those that overlap a more confident face.
 * @param {Face[]} faces */
function distinct(faces) {
  /** @type {Face[]} */
  const kept = [];
  for (const face of [...faces].sort((first, second) => second.confidence - first.confidence)) {
    if (kept.every((other) => overlap(face.box, other.box) <= OVERLAP)) kept.push(face);
  }
  return kept;
}

/** Return the share of the smaller box that lies in the other one.
 * @param {Box} first @param {Box} second */
function overlap(first, second) {
  return sharedArea(first, second) / Math.min(first[2] * first[3], second[2] * second[3]);
}
