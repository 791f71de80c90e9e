/**
 * Pictures as plain pixels, with Pillow's operations: crop, turn, reduce, resize, transform. Results
 * equal those of Pillow 12 byte for byte, so that the networks see the same pixels as in Python.
 *
 * @typedef {object} Picture
 * @property {Uint32Array<ArrayBuffer>} pixels row by row: red in the lowest byte, green, blue, and 255 for opaque
 * @property {number} width in px
 * @property {number} height in px
 */
import { PRECISION, resampledAcross, resampledDown } from "./resample.js";

/** Return an opaque px of three levels, integers from 0 to 255.
 * @param {number} red @param {number} green @param {number} blue */
export function packed(red, green, blue) {
  return red | (green << 8) | (blue << 16) | (255 << 24);
}

/** Return a view of a picture's bytes: red, green, blue and 255 for each px.
 * @param {Picture} picture */
export function bytesOf({ pixels }) {
  return new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, pixels.byteLength);
}

/** Round as Python does: halves go to the even neighbour.
 * @param {number} value */
export function roundHalfEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Return a picture as a network's input: red, green and blue of each px, 0 to 255.
 * @param {Picture} picture */
export function levelsOf({ pixels }) {
  const levels = new Float32Array(3 * pixels.length);
  for (let from = 0, to = 0; from < pixels.length; from++, to += 3) {
    const pixel = pixels[from];
    levels[to] = pixel & 255;
    levels[to + 1] = (pixel >> 8) & 255;
    levels[to + 2] = (pixel >> 16) & 255;
  }
  return levels;
}

/** Return a new picture, all of whose px must be set.
 * @param {number} width
 * @param {number} height
 * @returns {Picture} */
export function blank(width, height) {
  return { pixels: new Uint32Array(width * height), width, height };
}

/** Cut a rectangle out of a picture. It must lie inside.
 * @param {Picture} picture
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 * @returns {Picture} */
export function cropped(picture, left, top, width, height) {
  const result = blank(width, height);
  for (let y = 0; y < height; y++) {
    const start = (top + y) * picture.width + left;
    result.pixels.set(picture.pixels.subarray(start, start + width), width * y);
  }
  return result;
}

/** Cut the largest centred square out of a picture.
 * @param {Picture} picture */
export function centredSquare(picture) {
  const side = Math.min(picture.width, picture.height);
  const left = Math.floor((picture.width - side) / 2);
  const top = Math.floor((picture.height - side) / 2);
  return cropped(picture, left, top, side, side);
}

/** Turn a picture counterclockwise by quarter turns.
 * @param {Picture} picture
 * @param {number} quarters
 * @returns {Picture} */
export function turnedByQuarters(picture, quarters) {
  const turns = ((quarters % 4) + 4) % 4;
  if (turns === 0) return picture;
  const { pixels, width, height } = picture;
  const result = turns === 2 ? blank(width, height) : blank(height, width);
  for (let y = 0, to = 0; y < result.height; y++) {
    for (let x = 0; x < result.width; x++, to++) {
      const fromX = turns === 1 ? width - 1 - y : turns === 2 ? width - 1 - x : y;
      const fromY = turns === 1 ? x : turns === 2 ? height - 1 - y : height - 1 - x;
      result.pixels[to] = pixels[fromY * width + fromX];
    }
  }
  return result;
}

/** @param {number} x */
function bicubic(x) {
  const a = -0.5;
  const far = Math.abs(x);
  if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
  return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
}

/** @param {number} x */
function triangle(x) {
  return Math.max(0, 1 - Math.abs(x));
}

const FILTERS = {
  bicubic: { weight: bicubic, support: 2 },
  bilinear: { weight: triangle, support: 1 },
};

/**
 * Return the px of a line that each px of the resampled line is computed from, and their weights.
 *
 * @param {number} size of the line
 * @param {[start: number, end: number]} part of it that is resampled
 * @param {number} newSize
 * @param {keyof typeof FILTERS} filter
 * @returns {{starts: Int32Array, counts: Int32Array, weights: Float64Array, most: number}}
 *   the weights of new px `i` begin at `i * most`
 */
function resamplingWeights(size, part, newSize, filter) {
  const { weight, support } = FILTERS[filter];
  const [from, to] = part.map(Math.fround); // Pillow keeps the box in single precision
  const scale = Math.fround(to - from) / newSize;
  const spread = Math.max(scale, 1);
  const reach = support * spread;
  const most = 2 * Math.ceil(reach) + 1;
  const starts = new Int32Array(newSize);
  const counts = new Int32Array(newSize);
  const weights = new Float64Array(newSize * most);
  for (let i = 0; i < newSize; i++) {
    const centre = from + (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(size, Math.trunc(centre + reach + 0.5)) - start;
    const own = weights.subarray(i * most, i * most + count);
    let sum = 0;
    for (let k = 0; k < count; k++) {
      own[k] = weight((start + k - centre + 0.5) * (1 / spread));
      sum += own[k];
    }
    if (sum !== 0) for (let k = 0; k < count; k++) own[k] /= sum;
    starts[i] = start;
    counts[i] = count;
  }
  return { starts, counts, weights, most };
}

/** Return the bicubic weights of `resamplingWeights` as Pillow rounds them.
 * @param {number} size @param {[number, number]} part @param {number} newSize
 * @returns {import("./resample.js").Taps} */
function taps(size, part, newSize) {
  const { starts, counts, weights, most } = resamplingWeights(size, part, newSize, "bicubic");
  const factors = Int32Array.from(weights, (weight) =>
    Math.trunc(weight * 2 ** PRECISION + (weight < 0 ? -0.5 : 0.5)),
  );
  return { starts, counts, factors, most };
}

/**
 * Average blocks of px, as `Image.reduce` does. Blocks at the right and lower border may be smaller.
 *
 * @param {Picture} picture
 * @param {number} across px of a block
 * @param {number} down px of a block
 * @returns {Picture}
 */
export function reduced(picture, across, down) {
  const { pixels, width, height } = picture;
  const result = blank(Math.ceil(width / across), Math.ceil(height / down));
  for (let y = 0, to = 0; y < result.height; y++) {
    const bottom = Math.min(height, (y + 1) * down);
    for (let x = 0; x < result.width; x++, to++) {
      const right = Math.min(width, (x + 1) * across);
      const count = (right - x * across) * (bottom - y * down);
      let red = count >> 1;
      let green = red;
      let blue = red;
      for (let v = y * down; v < bottom; v++) {
        for (let from = v * width + x * across, end = v * width + right; from < end; from++) {
          const pixel = pixels[from];
          red += pixel & 255;
          green += (pixel >> 8) & 255;
          blue += (pixel >> 16) & 255;
        }
      }
      const factor = Math.trunc(Math.fround(2 ** 24 / count)); // as Pillow divides
      const mean = (/** @type {number} */ sum) => Math.floor((sum * factor) / 2 ** 24);
      result.pixels[to] = packed(mean(red), mean(green), mean(blue));
    }
  }
  return result;
}

/**
 * Resize a picture by antialiased bicubic interpolation.
 *
 * @param {Picture} picture
 * @param {number} width
 * @param {number} height
 * @param {number} [gap] Pillow's `reducing_gap`: whole blocks are averaged as far as the rest is
 *   still to be shrunk by this factor
 */
export function resized(picture, width, height, gap) {
  return resizedBox(picture, [0, 0, picture.width, picture.height], width, height, gap);
}

/**
 * Resize a part of a picture, as `resized` does.
 *
 * @param {Picture} picture
 * @param {[left: number, top: number, right: number, bottom: number]} box need not be whole px
 * @param {number} width
 * @param {number} height
 * @param {number} [gap]
 */
export function resizedBox(picture, [left, top, right, bottom], width, height, gap) {
  let source = picture;
  let across = /** @type {[number, number]} */ ([left, right]);
  let down = /** @type {[number, number]} */ ([top, bottom]);
  const columns = (gap && Math.trunc((right - left) / width / gap)) || 1;
  const rows = (gap && Math.trunc((bottom - top) / height / gap)) || 1;
  if (columns > 1 || rows > 1) {
    const [x, x2] = withSupport(across, width, picture.width);
    const [y, y2] = withSupport(down, height, picture.height);
    source = reduced(cropped(picture, x, y, x2 - x, y2 - y), columns, rows);
    across = [(left - x) / columns, (right - x) / columns];
    down = [(top - y) / rows, (bottom - y) / rows];
  }
  if (width !== source.width || across[0] || across[1] !== source.width) {
    const pixels = resampledAcross(source, width, taps(source.width, across, width));
    source = { pixels, width, height: source.height };
  }
  if (height !== source.height || down[0] || down[1] !== source.height) {
    const pixels = resampledDown(source, height, taps(source.height, down, height));
    source = { pixels, width, height };
  }
  return source;
}

/** Return the range of whole px that a part of a line is resampled from.
 * @param {[number, number]} part @param {number} newSize @param {number} size of the line */
function withSupport([start, end], newSize, size) {
  const support = (FILTERS.bicubic.support - 0.5) * ((end - start) / newSize);
  return [Math.max(0, Math.trunc(start - support)), Math.min(size, Math.ceil(end + support))];
}

/**
 * Resize a square of numbers, as Pillow does in its mode "F".
 *
 * @param {Float32Array} values row by row
 * @param {number} size of its side
 * @param {number} side of the result
 * @param {keyof typeof FILTERS} filter
 */
export function resizedValues(values, size, side, filter) {
  const { starts, counts, weights, most } = resamplingWeights(size, [0, size], side, filter);
  const across = new Float32Array(size * side);
  const result = new Float32Array(side * side);
  for (let i = 0; i < side; i++) {
    for (let y = 0; y < size; y++) {
      const from = y * size + starts[i];
      let sum = 0;
      for (let k = 0; k < counts[i]; k++) sum += weights[i * most + k] * values[from + k];
      across[y * side + i] = sum;
    }
  }
  for (let i = 0; i < side; i++) {
    for (let x = 0; x < side; x++) {
      const from = starts[i] * side + x;
      let sum = 0;
      for (let k = 0; k < counts[i]; k++) sum += weights[i * most + k] * across[from + k * side];
      result[i * side + x] = sum;
    }
  }
  return result;
}

/** Return a percentile of counted values, interpolated between two of them.
 * @param {Uint32Array} counts of the values 0, 1, ... @param {number} share */
export function percentile(counts, share) {
  const position = share * (counts.reduce((sum, count) => sum + count, 0) - 1);
  const valueAt = (/** @type {number} */ rank) => {
    let below = 0;
    return counts.findIndex((count) => (below += count) > rank);
  };
  const low = valueAt(Math.floor(position));
  return low + (position % 1) * (valueAt(Math.ceil(position)) - low);
}

/** Return the centred square of a picture at another size.
 * @param {Picture} picture
 * @param {number} side in px */
export function squareOfSide(picture, side) {
  const square = picture.width === picture.height ? picture : centredSquare(picture);
  return square.width === side ? square : resized(square, side, side);
}

/**
 * Cut a rectangle out of a picture. Outside, the picture is mirrored.
 *
 * @param {Picture} picture
 * @param {number} left
 * @param {number} top
 * @param {number} width
 * @param {number} height
 */
export function croppedMirrored(picture, left, top, width, height) {
  const columns = Array.from({ length: width }, (_, x) => mirrored(left + x, picture.width));
  const result = blank(width, height);
  for (let y = 0, to = 0; y < height; y++) {
    const row = mirrored(top + y, picture.height) * picture.width;
    for (let x = 0; x < width; x++, to++) result.pixels[to] = picture.pixels[row + columns[x]];
  }
  return result;
}

/** @param {number} index @param {number} size */
function mirrored(index, size) {
  const within = ((index % (2 * size)) + 2 * size) % (2 * size);
  return within < size ? within : 2 * size - 1 - within;
}

/**
 * Return a square picture by an affine transform, interpolated as Pillow's `transform(AFFINE, BICUBIC)`
 * does.
 *
 * @param {Picture} picture must reach 2 px beyond all places
 * @param {number} side of the result in px
 * @param {readonly number[]} matrix `[a, b, c, d, e, f]`: place = (a x + b y + c, d x + e y + f)
 */
export function transformed(picture, side, matrix) {
  const [a, b, c, d, e, f] = matrix;
  const result = blank(side, side);
  const data = bytesOf(picture);
  const stride = 4 * picture.width;
  const rows = [0, 0, 0, 0];
  const levels = [0, 0, 0];
  for (let y = 0, to = 0; y < side; y++) {
    for (let x = 0; x < side; x++, to++) {
      const placeX = a * (x + 0.5) + b * (y + 0.5) + c - 0.5;
      const placeY = d * (x + 0.5) + e * (y + 0.5) + f - 0.5;
      const left = Math.floor(placeX);
      const top = Math.floor(placeY);
      for (let channel = 0; channel < 3; channel++) {
        let from = (top - 1) * stride + 4 * (left - 1) + channel;
        for (let k = 0; k < 4; k++, from += stride) {
          rows[k] = cubic(data[from], data[from + 4], data[from + 8], data[from + 12], placeX - left);
        }
        const value = cubic(rows[0], rows[1], rows[2], rows[3], placeY - top);
        levels[channel] = value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
      }
      result.pixels[to] = packed(levels[0], levels[1], levels[2]);
    }
  }
  return result;
}

/** Interpolate between the middle two of four values.
 * @param {number} v1 @param {number} v2 @param {number} v3 @param {number} v4
 * @param {number} share from the second to the third */
function cubic(v1, v2, v3, v4, share) {
  const p2 = -v1 + v3;
  const p3 = 2 * (v1 - v2) + v3 - v4;
  const p4 = -v1 + v2 - v3 + v4;
  return v2 + share * (p2 + share * (p3 + share * p4));
}
