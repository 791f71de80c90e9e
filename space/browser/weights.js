/**
 * Joins a graph and its weights, as Python's `FloatGraph.whole` does, which explains why they are
 * shipped apart.
 *
 * @typedef {object} Kernel
 * @property {number} values how many weights a layer has
 * @property {number} scales how many scales; 0: its weights are float16, otherwise int8
 * @property {number} run weights in a row that share a scale; after the last one the first follows
 */

/**
 * Return a graph's file with its weights appended in float32.
 *
 * @param {Uint8Array} graph a .tflite file
 * @param {Uint8Array<ArrayBuffer>} stored of each kernel its scales and its weights, filled up to four bytes
 * @param {Kernel[]} kernels
 */
export function withWeights(graph, stored, kernels) {
  const number = kernels.reduce((sum, { values }) => sum + values, 0);
  const file = new Uint8Array(graph.length + 4 * number);
  file.set(graph);
  const floats = new Float32Array(file.buffer, graph.length);
  let [from, to] = [0, 0];
  for (const { values, scales, run } of kernels) {
    const weights = floats.subarray(to, (to += values));
    if (scales) {
      const factors = new Float32Array(stored.buffer, from, scales);
      const levels = new Int8Array(stored.buffer, from + 4 * scales, values);
      for (let i = 0; i < values; i++) weights[i] = levels[i] * factors[Math.floor(i / run) % scales];
      from += 4 * scales + filledUp(values);
    } else {
      const halves = new Uint16Array(stored.buffer, from, values);
      for (let i = 0; i < values; i++) weights[i] = fromHalf(halves[i]);
      from += filledUp(2 * values);
    }
  }
  return file;
}

/** @param {number} size in bytes */
function filledUp(size) {
  return 4 * Math.ceil(size / 4);
}

/** Return the value of a finite float16, given its bits.
 * @param {number} bits */
function fromHalf(bits) {
  const exponent = (bits >> 10) & 31;
  const size = exponent ? 2 ** (exponent - 25) * (1024 + (bits & 1023)) : 2 ** -24 * (bits & 1023);
  return bits & 0x8000 ? -size : size;
}
