/**
 * Sends requests to the worker.
 *
 * @import {ClipAnswer, PhotoAnswer} from "./judge.js"
 * @import {DetectorConfig} from "./detector.js"
 */

/** An error in the worker. Its name tells whether its message is meant for visitors. */
class JudgeError extends Error {
  /** @param {{name: string, message: string}} error */
  constructor({ name, message }) {
    super(message);
    this.name = name;
  }
}

const GONE = { name: "WorkerGone", message: "The judging stopped, perhaps for want of memory: load the page anew." };

export class Client {
  #worker = new Worker(new URL("./worker.js", import.meta.url));
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();
  #number = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) call?.reject(new JudgeError(error));
      else call?.resolve(result);
    });
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      for (const { reject } of this.#waiting.values()) reject(new JudgeError(GONE));
      this.#waiting.clear();
    });
  }

  /** @param {string} verb @param {unknown[]} values @param {Transferable[]} moved
   * @returns {Promise<any>} */
  #ask(verb, values = [], moved = []) {
    const id = this.#number++;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#worker.postMessage({ id, verb, values }, moved);
    return answer;
  }

  /** Load the networks. @returns {Promise<DetectorConfig>} */
  load() {
    return this.#ask("load");
  }

  /** Judge the built-in picture; fails where the answer is wrong. @returns {Promise<void>} */
  test() {
    return this.#ask("test");
  }

  /** Judge a photo. @param {Blob} file @param {boolean} [whole] @returns {Promise<PhotoAnswer>} */
  photo(file, whole = false) {
    return this.#ask("photo", [file, whole]);
  }

  /** Begin with a clip. @param {number} seconds its length @returns {Promise<void>} */
  startClip(seconds) {
    return this.#ask("startClip", [seconds]);
  }

  /** Judge a frame if it is due or follows a cut. The frame is transferred.
   * @param {ImageBitmap | null} frame `null` for the one that was looked at last
   * @param {number} seconds @param {boolean} isDue @returns {Promise<void>} */
  frame(frame, seconds, isDue) {
    return this.#ask("frame", [frame, seconds, isDue], frame ? [frame] : []);
  }

  /** Return what the frames amount to. @returns {Promise<ClipAnswer>} */
  endClip() {
    return this.#ask("endClip");
  }
}
