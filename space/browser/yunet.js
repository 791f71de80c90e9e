/**
 * The network YuNet, with the postprocessing of OpenCV's `FaceDetectorYN`.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Network, Outputs, Runtime} from "./runtime.js"
 *
 * @typedef {[left: number, top: number, width: number, height: number]} Box
 * @typedef {[x: number, y: number]} Point
 *
 * @typedef {object} Row what may be a face, in px of the picture
 * @property {Box} box
 * @property {Point[]} landmarks right eye, left eye, nose, right and left corner of the mouth
 * @property {number} score 0 to 1
 *
 * @typedef {object} ResizableGraph
 * @property {Uint8Array} content of the .tflite file
 * @property {[number, number, number, number, number][]} numbers for each number in it that depends
 *   on the size: offset, constant, and factors of height, of width and of both, in steps of 64 px
 */

const STEP = 64; // px: pictures are padded with black to multiples of this
const STRIDES = [8, 16, 32];
const KEPT_SIDE = 640; // px: graphs for larger pictures are not kept in memory,
const KEPT_NETWORKS = 12; // and at most so many of the others
const CANDIDATE_SCORE = 0.3;
const OVERLAP = 0.3; // intersection over union from which the less confident box is dropped

export class YuNet {
  /** @type {Map<string, Network>} the one that was used last at the end */
  #networks = new Map();
  #runtime;
  #graph;

  /**
   * @param {Runtime} runtime
   * @param {ResizableGraph} graph
   */
  constructor(runtime, graph) {
    this.#runtime = runtime;
    this.#graph = graph;
  }

  /** Number of graphs in memory. */
  get kept() {
    return this.#networks.size;
  }

  /**
   * Detect faces in a picture.
   *
   * @param {Picture} picture
   * @returns {Promise<Row[]>} surest first
   */
  async rows(picture) {
    const height = Math.ceil(picture.height / STEP);
    const width = Math.ceil(picture.width / STEP);
    const network = await this.#network(height, width);
    const outputs = await network.run(asInput(picture, height, width), height * STEP, width * STEP);
    return withoutOverlaps(decoded(outputs, height * STEP, width * STEP));
  }

  /** @param {number} height @param {number} width */
  async #network(height, width) {
    const isKept = Math.max(height, width) * STEP <= KEPT_SIDE;
    const key = isKept ? `${height}x${width}` : "large";
    let network = this.#networks.get(key);
    this.#networks.delete(key);
    if (network && !isKept) {
      network.delete();
      network = undefined;
    }
    network ??= await this.#runtime.compile(resizedGraph(this.#graph, height, width));
    this.#networks.set(key, network);
    const [oldest] = this.#networks.keys();
    if (this.#networks.size > KEPT_NETWORKS) {
      this.#networks.get(oldest)?.delete();
      this.#networks.delete(oldest);
    }
    return network;
  }
}

/**
 * Return a graph's file for pictures of another size.
 *
 * @param {ResizableGraph} graph
 * @param {number} height in steps
 * @param {number} width in steps
 */
function resizedGraph({ content, numbers }, height, width) {
  const result = content.slice();
  const view = new DataView(result.buffer);
  for (const [offset, constant, byHeight, byWidth, byArea] of numbers) {
    const value = constant + byHeight * height + byWidth * width + byArea * height * width;
    view.setInt32(offset, value, true);
  }
  return result;
}

/** Return a picture in BGR, padded with black.
 * @param {Picture} picture @param {number} height in steps @param {number} width in steps */
function asInput(picture, height, width) {
  const input = new Float32Array(3 * height * STEP * width * STEP);
  for (let y = 0, from = 0; y < picture.height; y++) {
    let to = 3 * y * width * STEP;
    for (const end = from + picture.width; from < end; from++, to += 3) {
      const pixel = picture.pixels[from];
      input[to] = (pixel >> 16) & 255;
      input[to + 1] = (pixel >> 8) & 255;
      input[to + 2] = pixel & 255;
    }
  }
  return input;
}

/** @param {number} value */
function clipped(value) {
  return Math.min(Math.max(value, 0), 1);
}

/** @param {Outputs} outputs @param {number} height in px @param {number} width in px */
function decoded(outputs, height, width) {
  /** @type {Row[]} */
  const rows = [];
  for (const stride of STRIDES) {
    const classes = outputs[`cls_${stride}`];
    const objects = outputs[`obj_${stride}`];
    const boxes = outputs[`bbox_${stride}`];
    const points = outputs[`kps_${stride}`];
    for (let place = 0; place < (height / stride) * (width / stride); place++) {
      const score = Math.sqrt(clipped(classes[place]) * clipped(objects[place]));
      if (!(score >= CANDIDATE_SCORE)) continue;
      const column = place % (width / stride);
      const line = Math.floor(place / (width / stride));
      const [x, y, logWidth, logHeight] = boxes.subarray(4 * place, 4 * place + 4);
      const boxWidth = Math.exp(logWidth) * stride;
      const boxHeight = Math.exp(logHeight) * stride;
      const left = (column + x) * stride - boxWidth / 2;
      const top = (line + y) * stride - boxHeight / 2;
      /** @type {Point[]} */
      const landmarks = [0, 2, 4, 6, 8].map((k) => [
        (points[10 * place + k] + column) * stride,
        (points[10 * place + k + 1] + line) * stride,
      ]);
      rows.push({ box: [left, top, boxWidth, boxHeight], landmarks, score });
    }
  }
  return rows;
}

/** Return the rows, most confident first, without those that overlap a more confident one. Boxes are
 * compared in whole px, as OpenCV does.
 * @param {Row[]} rows */
function withoutOverlaps(rows) {
  /** @type {{row: Row, whole: Box}[]} */
  const kept = [];
  for (const row of rows.sort((first, second) => second.score - first.score)) {
    const whole = /** @type {Box} */ (row.box.map(Math.trunc));
    if (kept.every((surer) => intersectionOverUnion(whole, surer.whole) <= OVERLAP)) {
      kept.push({ row, whole });
    }
  }
  return kept.map(({ row }) => row);
}

/** Return the area that two boxes share, in square px.
 * @param {Box} one @param {Box} other */
export function sharedArea([left, top, width, height], [left2, top2, width2, height2]) {
  const across = Math.min(left + width, left2 + width2) - Math.max(left, left2);
  const down = Math.min(top + height, top2 + height2) - Math.max(top, top2);
  return Math.max(0, across) * Math.max(0, down);
}

/** @param {Box} first @param {Box} second */
export function intersectionOverUnion(first, second) {
  const shared = sharedArea(first, second);
  return shared / (first[2] * first[3] + second[2] * second[3] - shared);
}
