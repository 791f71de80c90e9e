/**
 * Shows the surroundings of a face turned and scaled, with the fixed-point arithmetic of OpenCV's
 * `warpAffine`, so that YuNet sees the same pixels as in Python.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Face} from "./faces.js"
 */
import { blank, bytesOf, cropped, packed, percentile, resized, roundHalfEven } from "./pictures.js";
import { centreOf, sideOf } from "./faces.js";

export const LOOK_FACE = 240; // px: longer side of the face's box in a view
export const LOOK_SIDE = 384; // px
export const SEARCH_GAP = 1; // Pillow's `reducing_gap` of the copies that are searched for faces
const PERCENTILE = 0.99;

/** @typedef {[number, number, number, number, number, number]} Affine rows of a 2 x 3 matrix */

export class View {
  /**
   * @param {Picture} photo
   * @param {Face} face
   * @param {boolean} brighten
   */
  constructor(photo, face, brighten) {
    /** from px of the photo to px of pictures in which the face is `LOOK_FACE` px long */
    this.scale = LOOK_FACE / sideOf(face);
    const reach = LOOK_SIDE / Math.SQRT2 / this.scale + 1; // px of the photo visible at any turn
    const [x, y] = centreOf(face);
    const left = Math.max(0, Math.floor(x - reach));
    const top = Math.max(0, Math.floor(y - reach));
    const width = Math.min(photo.width, Math.ceil(x + reach)) - left;
    const height = Math.min(photo.height, Math.ceil(y + reach)) - top;
    this.picture = cropped(photo, left, top, width, height);
    if (this.scale < 0.5) { // shrinking further would alias
      const [newWidth, newHeight] = [width, height].map((side) =>
        Math.max(1, roundHalfEven(side * 2 * this.scale)),
      );
      this.picture = resized(this.picture, newWidth, newHeight, SEARCH_GAP);
    }
    // From px of the photo to px of the picture.
    this.ratio = [this.picture.width / width, this.picture.height / height];
    this.corner = [left, top];
    this.middle = [(x - left) * this.ratio[0], (y - top) * this.ratio[1]];
    if (brighten) this.picture = brightened(this.picture, (4 * this.ratio[0]) / this.scale);
  }

  /**
   * Return the view turned counterclockwise, and a function back to the photo.
   *
   * @param {number} angle in degrees
   * @param {number} scale of the picture, 1 for `LOOK_SIDE`
   * @returns {{picture: Picture, toPhoto: (x: number, y: number) => [number, number]}} takes px of
   *   the picture at scale 1
   */
  turned(angle, scale) {
    const zoom = this.scale / ((this.ratio[0] + this.ratio[1]) / 2);
    const cos = zoom * Math.cos((angle * Math.PI) / 180);
    const sin = zoom * Math.sin((angle * Math.PI) / 180);
    const [x, y] = this.middle;
    const half = LOOK_SIDE / 2;
    /** @type {Affine} */
    const matrix = [cos, sin, half - cos * x - sin * y, -sin, cos, half + sin * x - cos * y];
    const scaled = /** @type {Affine} */ (matrix.map((value) => scale * value));
    const picture = warped(this.picture, roundHalfEven(scale * LOOK_SIDE), inverted(scaled));
    const [a, b, c, d, e, f] = inverted(matrix);
    const toPhoto = (/** @type {number} */ u, /** @type {number} */ v) =>
      /** @type {[number, number]} */ ([
        (a * u + b * v + c) / this.ratio[0] + this.corner[0],
        (d * u + e * v + f) / this.ratio[1] + this.corner[1],
      ]);
    return { picture, toPhoto };
  }
}

/** @param {Affine} matrix @returns {Affine} */
function inverted([a, b, c, d, e, f]) {
  const determinant = a * e - b * d;
  const [p, q, r, s] = [e, -b, -d, a].map((value) => value / determinant);
  return [p, q, -(p * c + q * f), r, s, -(r * c + s * f)];
}

/** Return a square picture by an affine transform, interpolated between four px. Places are rounded to
 * 1/32 px; outside, the px of the border are repeated.
 * @param {Picture} picture @param {number} side @param {Affine} matrix from the result's px */
function warped(picture, side, [a, b, c, d, e, f]) {
  const { width, height } = picture;
  const data = bytesOf(picture);
  const levels = [0, 0, 0];
  const result = blank(side, side);
  const across = Array.from({ length: side }, (_, x) => [
    roundHalfEven(a * x * 1024),
    roundHalfEven(d * x * 1024),
  ]);
  const within = (/** @type {number} */ at, /** @type {number} */ size) =>
    at < 0 ? 0 : at >= size ? size - 1 : at;
  for (let y = 0, to = 0; y < side; y++) {
    const startX = roundHalfEven((b * y + c) * 1024) + 16;
    const startY = roundHalfEven((e * y + f) * 1024) + 16;
    for (let x = 0; x < side; x++, to++) {
      const placeX = (startX + across[x][0]) >> 5;
      const placeY = (startY + across[x][1]) >> 5;
      const right = placeX & 31;
      const down = placeY & 31;
      const x0 = 4 * within(placeX >> 5, width);
      const x1 = 4 * within((placeX >> 5) + 1, width);
      const y0 = 4 * width * within(placeY >> 5, height);
      const y1 = 4 * width * within((placeY >> 5) + 1, height);
      for (let channel = 0; channel < 3; channel++) {
        const upper = data[y0 + x0 + channel] * (32 - right) + data[y0 + x1 + channel] * right;
        const lower = data[y1 + x0 + channel] * (32 - right) + data[y1 + x1 + channel] * right;
        levels[channel] = (upper * (32 - down) + lower * down + 512) >> 10;
      }
      result.pixels[to] = packed(levels[0], levels[1], levels[2]);
    }
  }
  return result;
}

/**
 * Return a picture blurred and then scaled until its brightest part is white.
 *
 * @param {Picture} picture
 * @param {number} blur standard deviation in px
 * @returns {Picture}
 */
export function brightened(picture, blur) {
  const smooth = blurred(picture, blur);
  const counts = new Uint32Array(256);
  const data = bytesOf(smooth);
  for (let i = 0; i < data.length; i += 4) counts[Math.max(data[i], data[i + 1], data[i + 2])]++;
  const factor = 255 / Math.max(1, percentile(counts, PERCENTILE));
  const levels = Uint8Array.from({ length: 256 }, (_, i) => Math.min(255, roundHalfEven(i * factor)));
  for (let i = 0; i < data.length; i++) data[i] = levels[data[i]]; // opacity stays 255
  return smooth;
}

/** Blur a picture, mirrored at its borders.
 * @param {Picture} picture @param {number} deviation in px @returns {Picture} */
function blurred(picture, deviation) {
  const reach = (roundHalfEven(6 * deviation + 1) | 1) >> 1;
  const weights = Float64Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * deviation * deviation)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const kernel = weights.map((weight) => weight / sum);
  const { width, height } = picture;
  const across = blurredLines(Float32Array.from(bytesOf(picture)), kernel, height, 4 * width, width, 4);
  const down = blurredLines(across, kernel, width, 4, height, 4 * width);
  const level = (/** @type {number} */ value) => Math.min(255, Math.round(value));
  const result = blank(width, height);
  for (let place = 0; place < width * height; place++) {
    const [red, green, blue] = down.subarray(4 * place, 4 * place + 3);
    result.pixels[place] = packed(level(red), level(green), level(blue));
  }
  return result;
}

/** @param {Float32Array} values @param {Float64Array} kernel @param {number} lines
 * @param {number} betweenLines @param {number} length @param {number} step */
function blurredLines(values, kernel, lines, betweenLines, length, step) {
  const reach = kernel.length >> 1;
  const result = new Float32Array(values.length);
  const period = Math.max(1, 2 * (length - 1));
  const places = Int32Array.from({ length: length + 2 * reach }, (_, i) => {
    const within = (((i - reach) % period) + period) % period;
    return step * Math.min(within, period - within);
  });
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      for (let channel = 0; channel < 3; channel++) {
        const start = line * betweenLines + channel;
        let sum = 0;
        for (let k = 0; k < kernel.length; k++) sum += values[start + places[i + k]] * kernel[k];
        result[start + i * step] = sum;
      }
    }
  }
  return result;
}
