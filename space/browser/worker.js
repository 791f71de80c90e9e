/**
 * Judges in a thread of its own, so that the page stays responsive. It is a classic worker, as the
 * runtime loads its script with `importScripts`.
 *
 * Takes `{id, verb, values}` and answers `{id, result}` or `{id, error: {name, message}}`.
 */
const loaded = import("./judge.js").then(({ Judge }) => Judge.load());
loaded.catch(() => undefined); // reported by the verb "load"

/** @type {Record<string, (judge: import("./judge.js").Judge, ...values: any[]) => unknown>} */
const verbs = {
  load: async (judge) => judge.detector.config,
  test: (judge) => judge.testItself(),
  photo: (judge, file, whole) => judge.photo(file, whole),
  startClip: (judge, seconds) => judge.startClip(seconds),
  frame: (judge, bitmap, seconds, isDue) =>
    bitmap ? judge.frame(bitmap, seconds, isDue) : judge.repeatFrame(seconds),
  endClip: (judge) => judge.endClip(),
};

/** @type {Promise<unknown>} one after the other, as they share the networks */
let last = Promise.resolve();

addEventListener("message", ({ data: { id, verb, values } }) => {
  last = last.then(async () => {
    try {
      postMessage({ id, result: await verbs[verb](await loaded, ...values) });
    } catch (error) {
      const { name, message } = error instanceof Error ? error : new Error(String(error));
      postMessage({ id, error: { name, message } });
    }
  });
});
