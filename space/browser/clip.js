/**
 * Steps through a clip with the browser's own player, which cannot run in a worker.
 */

const LOOKS_A_SECOND = 2;
const MIN_LOOKS = 8;
const MAX_LOOKS = 60;
const PEEK_SECONDS = 0.2; // between the frames that are compared to find cuts, in short clips
const MAX_PEEKS = 300; // in a long clip they are farther apart
const STAYS = 1 / LOOKS_A_SECOND; // s after which a frame that is still shown is counted again
const MAX_SECONDS = 300;
const MAX_WAIT = 20_000; // ms for the player to do one thing
const FRAME_WAIT = 300; // ms for a frame to be shown after seeking

/** A clip that cannot be judged. The message is a sentence for the visitor. */
export class ClipError extends Error {
  name = "ClipError";
}

const UNPLAYABLE =
  "The clip is damaged or in a format that this browser cannot play: save it as MP4 with H.264, or as WebM.";

export class Clip {
  #video;
  #address;

  /** @param {HTMLVideoElement} video @param {string} address @param {number} seconds */
  constructor(video, address, seconds) {
    this.#video = video;
    this.#address = address;
    this.seconds = seconds;
  }

  /**
   * Open a clip. The caller closes it.
   *
   * @param {Blob} file
   * @throws {ClipError} it is empty, cannot be played, has no picture, or is too long
   */
  static async open(file) {
    if (!file.size) throw new ClipError("The file is empty: choose another one.");
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    const address = URL.createObjectURL(file);
    const clip = new Clip(video, address, 0);
    try {
      const loaded = happened(video, "loadeddata");
      video.src = address;
      await loaded;
      if (!video.videoWidth) throw new ClipError("The file holds sound but no picture: choose a clip.");
      clip.seconds = await lengthOf(video);
      if (clip.seconds > MAX_SECONDS) {
        const minutes = (clip.seconds / 60).toFixed(1);
        throw new ClipError(
          `The clip lasts ${minutes} minutes: choose one of at most ${MAX_SECONDS / 60}, a part of it for instance.`,
        );
      }
      return clip;
    } catch (error) {
      clip.close();
      throw error;
    }
  }

  /**
   * Yield frames: evenly spaced ones, which are due to be judged, and frames in between, which reveal
   * cuts. `null` means that the previous frame is still shown and counts once more.
   *
   * @returns {AsyncGenerator<{frame: ImageBitmap | null, seconds: number, isDue: boolean}>}
   */
  async *frames() {
    const wanted = Math.round(LOOKS_A_SECOND * this.seconds);
    const looks = Math.min(Math.max(wanted, MIN_LOOKS), MAX_LOOKS);
    const peek = Math.max(PEEK_SECONDS, this.seconds / MAX_PEEKS);
    const parts = Math.ceil(this.seconds / looks / peek); // into which the time between two looks is divided
    let [shown, looked] = [-1, -1];
    for (let part = 0; part < looks * parts; part++) {
      const time = (part * this.seconds) / (looks * parts);
      const isDue = part % parts === 0;
      const seconds = await this.#goTo(time);
      if (seconds > shown || (isDue && seconds !== looked)) {
        yield { frame: await createImageBitmap(this.#video), seconds, isDue };
        shown = seconds;
        if (isDue) looked = seconds;
      } else if (isDue && time - shown > STAYS) {
        yield { frame: null, seconds: time, isDue };
      }
    }
  }

  /** Seek to a time; return the time of the frame shown there.
   * @param {number} seconds */
  async #goTo(seconds) {
    const video = this.#video;
    /** @type {Promise<number | null>} */
    const shown = new Promise((resolve) => {
      if (!("requestVideoFrameCallback" in video)) return resolve(null);
      video.requestVideoFrameCallback((_, { mediaTime }) => resolve(mediaTime));
    });
    const sought = happened(video, "seeked");
    video.currentTime = seconds;
    await sought;
    const late = new Promise((resolve) => setTimeout(resolve, FRAME_WAIT, null));
    const time = /** @type {number | null} */ (await Promise.race([shown, late]));
    return time ?? video.currentTime;
  }

  /** Free the clip. */
  close() {
    this.#video.removeAttribute("src");
    this.#video.load();
    URL.revokeObjectURL(this.#address);
  }
}

/** Return the length in s. Clips recorded by browsers reveal it only at their end.
 * @param {HTMLVideoElement} video */
async function lengthOf(video) {
  if (Number.isFinite(video.duration)) return video.duration;
  const ended = happened(video, "seeked");
  video.currentTime = Number.MAX_SAFE_INTEGER;
  await ended;
  return Number.isFinite(video.duration) ? video.duration : video.currentTime;
}

/** Wait for an event of a player.
 * @param {HTMLVideoElement} video @param {string} event @returns {Promise<void>} */
function happened(video, event) {
  return new Promise((resolve, reject) => {
    const controller = new AbortController();
    const fail = () => end(() => reject(new ClipError(UNPLAYABLE)));
    const timer = setTimeout(fail, MAX_WAIT);
    const end = (/** @type {() => void} */ settle) => {
      clearTimeout(timer);
      controller.abort();
      settle();
    };
    video.addEventListener(event, () => end(resolve), { signal: controller.signal });
    video.addEventListener("error", fail, { signal: controller.signal });
  });
}
