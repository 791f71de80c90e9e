/**
 * LiteRT, compiled to WebAssembly with SIMD, single-threaded. It works in a window and in a classic
 * worker, as it loads its script with `importScripts`.
 *
 * @typedef {Record<string, Float32Array>} Outputs
 */

// The smallest module with a SIMD instruction: i8x16.splat, then i8x16.popcnt.
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15,
  253, 98, 11,
]);

const ZSTANDARD = [0x28, 0xb5, 0x2f, 0xfd]; // first bytes of a compressed file

/** Return what this browser lacks, in words; "" where it has all. */
export function missingFeature() {
  if (typeof WebAssembly !== "object") return "WebAssembly (it may be switched off or blocked)";
  if (!WebAssembly.validate(SIMD_PROBE)) return "WebAssembly with SIMD";
  if (typeof Worker === "undefined") return "web workers";
  if (typeof OffscreenCanvas === "undefined") return "OffscreenCanvas";
  return typeof createImageBitmap === "undefined" ? "createImageBitmap" : "";
}

/** @typedef {typeof import("@litertjs/core")} LiteRt */

export class Runtime {
  /** @param {LiteRt} litert */
  constructor(litert) {
    this.litert = litert;
  }

  /**
   * Load the build of the runtime that the processor supports, from the folder of this file.
   *
   * @throws {Error} it cannot be loaded
   */
  static async load() {
    const folder = new URL("./litert/", import.meta.url);
    /** @type {LiteRt} */
    const litert = await import(new URL("core.js", folder).href);
    const relaxed = await litert.supportsFeature("relaxedSimd");
    const name = relaxed ? "litert_wasm_internal" : "litert_wasm_compat_internal";
    const { buffer: wasmBinary } = await unpacked(new URL(`${name}.wasm.zst`, folder));
    const settings = { wasmBinary, print() {}, printErr() {} }; // it logs its start as an error
    Object.assign(globalThis, { Module: settings });
    await litert.loadLiteRt(new URL(`${name}.js`, folder).href);
    return new Runtime(litert);
  }

  /** Compile a graph.
   * @param {Uint8Array} content of a .tflite file */
  async compile(content) {
    return new Network(this.litert, await this.litert.loadAndCompile(content, { accelerator: "wasm" }));
  }
}

/** A compiled graph whose input `image` is one picture. */
export class Network {
  /**
   * @param {LiteRt} litert
   * @param {import("@litertjs/core").CompiledModel} model
   */
  constructor(litert, model) {
    this.litert = litert;
    this.model = model;
  }

  /**
   * Run the graph.
   *
   * @param {Float32Array} image values of the picture
   * @param {number} height
   * @param {number} width
   * @returns {Promise<Outputs>} by name; copies, which nobody has to free
   */
  async run(image, height, width) {
    const input = new this.litert.Tensor(image, [1, height, width, 3]);
    try {
      const outputs = Object.entries(await this.model.run({ image: input }));
      try {
        return Object.fromEntries(
          outputs.map(([name, tensor]) => [name, /** @type {Float32Array} */ (tensor.toTypedArray()).slice()]),
        );
      } finally {
        for (const [, tensor] of outputs) tensor.delete();
      }
    } finally {
      input.delete();
    }
  }

  /** Free its memory. */
  delete() {
    this.model.delete();
  }
}

/**
 * Fetch a file and decompress it. Zstandard makes the runtime a quarter smaller than gzip, which
 * browsers decompress themselves. Some servers decompress files before sending them.
 *
 * @param {URL} address
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} it cannot be fetched
 */
export async function unpacked(address) {
  const content = await fetched(address);
  if (!ZSTANDARD.every((byte, index) => content[index] === byte)) return content;
  /** @type {typeof import("fzstd")} */
  const { decompress } = await import(new URL("./litert/fzstd.js", import.meta.url).href);
  return decompress(content).slice(); // it is part of a larger buffer
}

/**
 * Fetch a file of the page.
 *
 * @param {URL | string} address
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 * @throws {Error} it cannot be fetched
 */
export async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${new URL(address).pathname} cannot be loaded (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}
