/**
 * Pillow's resampling, byte for byte, by WebAssembly compiled from `resample.wat`: four times as fast
 * as JavaScript in what used to be the longest step besides the networks.
 *
 * @import {Picture} from "./pictures.js"
 *
 * @typedef {object} Taps the px of a line that each px of the resampled line is a weighted sum of
 * @property {Int32Array} starts first px
 * @property {Int32Array} counts number of px, at least one
 * @property {Int32Array} factors weights in fixed point; those of new px `i` begin at `i * most`
 * @property {number} most
 *
 * @typedef {(...numbers: number[]) => void} Kernel see `resample.wat`
 */
import { fetched } from "./runtime.js";

export const PRECISION = 22; // fractional bits of Pillow's weights
const STRIP = 1 << 20; // px resampled at once, to limit the kernels' memory
const BLOCK = 16; // bytes read and written at once by the kernels
const PAGE = 1 << 16; // bytes of a page of WebAssembly's memory

/** @type {{memory: WebAssembly.Memory, across: Kernel, down: Kernel}} */
let kernels;

/** Load the kernels. Nothing can be resampled before.
 * @throws {Error} they cannot be loaded */
export async function loadResampling() {
  const content = await fetched(new URL("./resample.wasm", import.meta.url));
  const { instance } = await WebAssembly.instantiate(content);
  kernels = /** @type {any} */ (instance.exports);
}

/** Return the px of a picture, resampled to another width.
 * @param {Picture} picture @param {number} newWidth @param {Taps} taps */
export function resampledAcross({ pixels, width, height }, newWidth, { starts, counts, factors, most }) {
  const result = new Uint32Array(newWidth * height);
  const atOnce = Math.max(1, Math.floor(STRIP / Math.max(width, newWidth)));
  for (let top = 0; top < height; top += atOnce) {
    const rows = Math.min(atOnce, height - top);
    const strip = pixels.subarray(top * width, (top + rows) * width);
    const places = stored([starts, counts, factors, strip], 4 * newWidth * rows);
    const [atStarts, atCounts, atFactors, from, to] = places;
    kernels.across(from, width, rows, to, newWidth, atStarts, atCounts, atFactors, most);
    result.set(new Uint32Array(kernels.memory.buffer, to, newWidth * rows), top * newWidth);
  }
  return result;
}

/** Return the px of a picture, resampled to another height.
 * @param {Picture} picture @param {number} newHeight @param {Taps} taps */
export function resampledDown({ pixels, width, height }, newHeight, { starts, counts, factors, most }) {
  const result = new Uint32Array(width * newHeight);
  const perRow = width * Math.max(1, height / newHeight);
  const atOnce = Math.max(1, Math.floor(STRIP / perRow));
  for (let top = 0; top < newHeight; top += atOnce) {
    const end = Math.min(newHeight, top + atOnce);
    const first = starts[top];
    const strip = pixels.subarray(first * width, (starts[end - 1] + counts[end - 1]) * width);
    const [atFactors, from, to] = stored([factors, strip], 4 * width * (end - top));
    for (let y = top; y < end; y++) {
      const source = from + 4 * width * (starts[y] - first);
      const row = to + 4 * width * (y - top);
      kernels.down(source, 4 * width, row, atFactors + 4 * most * y, counts[y]);
    }
    result.set(new Uint32Array(kernels.memory.buffer, to, width * (end - top)), top * width);
  }
  return result;
}

/** Copy lists of 32-bit numbers into the kernels' memory. Return the address of each, and that of free
 * memory behind them.
 * @param {(Int32Array | Uint32Array)[]} lists @param {number} room bytes of free memory */
function stored(lists, room) {
  let end = 0;
  const places = lists.map(({ byteLength }) => {
    const place = end;
    end += BLOCK * (Math.ceil(byteLength / BLOCK) + 1); // the kernels read a little beyond the end
    return place;
  });
  const missing = end + room + BLOCK - kernels.memory.buffer.byteLength;
  if (missing > 0) kernels.memory.grow(Math.ceil(missing / PAGE));
  const memory = new Uint8Array(kernels.memory.buffer);
  for (const [number, { buffer, byteOffset, byteLength }] of lists.entries()) {
    memory.set(new Uint8Array(buffer, byteOffset, byteLength), places[number]);
  }
  return [...places, end];
}
