/**
 * The worker's part: loads the networks, tests itself, judges photos and frames of clips.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Box} from "./yunet.js"
 * @import {Judgement, ScoreBin, Verdict} from "./detector.js"
 * @import {Person} from "./people.js"
 * @import {Reason} from "./quality.js"
 *
 * @typedef {object} FaceAnswer what the page shows of a face
 * @property {Box | null} box in px of the photo; `null` where the whole picture was judged
 * @property {number} side longer side of the box in px
 * @property {number} confidence of the face finder
 * @property {number} probability of fake
 * @property {Verdict} verdict
 * @property {Reason | null} reason why there is none but "inconclusive"
 * @property {ScoreBin | null} meaning
 * @property {string} evidence where most of it lies, in a sentence
 * @property {Blob} crop JPEG
 * @property {Blob} heat PNG, to be laid over the crop
 *
 * @typedef {object} PhotoAnswer
 * @property {number} width of the photo in px
 * @property {number} height
 * @property {Blob} shown the photo as a JPEG of at most 1024 px
 * @property {string} digest SHA-256 of the file
 * @property {string} note what else is to be said, in a sentence; "" where there is nothing
 * @property {FaceAnswer[]} faces
 *
 * @typedef {Omit<Person, "suspicious"> & {moments: {seconds: number, face: FaceAnswer}[]}} PersonAnswer
 * @typedef {{people: PersonAnswer[], others: number, looks: number, most: number}} ClipAnswer
 *
 * @typedef {object} ClipState the clip so far
 * @property {People} people
 * @property {number} seconds length of the clip
 * @property {Float64Array | null} before grey levels of the frame before
 * @property {number} looks
 * @property {number} most faces in a frame
 * @property {number} cutLooks of these, right after cuts and not due
 * @property {number} looked time of the frame that was looked at last
 * @property {Judgement[]} judgements of it
 *
 * @typedef {object} SelfTest what Python says about a picture
 * @property {string} picture its file
 * @property {Box} box of its only face
 * @property {number} probability
 */
import { Detector } from "./detector.js";
import { FaceFinder, MAX_FACES, sideOf } from "./faces.js";
import { describeHeat, heatLayer } from "./heat.js";
import { People, correlation, greyLevels } from "./people.js";
import { isAnimated, openPhoto, pixelsOf, preview, toFile } from "./photos.js";
import { bytesOf } from "./pictures.js";
import { loadResampling } from "./resample.js";
import { Runtime, fetched, unpacked } from "./runtime.js";
import { withWeights } from "./weights.js";
import { YuNet, intersectionOverUnion } from "./yunet.js";

const PHOTO_SIDE = 1024; // px of a photo that is shown
const ANIMATION = "Only the first of the file's pictures was looked at.";
const COARSE_PIXELS = 3_000_000; // of a frame, up to which the finder's coarser copies suffice
const MAX_CUT_LOOKS = 40; // looks after cuts, on top of those that are due
// At a cut, two frames hardly correlate and differ in most of their area.
const CUT = { width: 32, height: 18, correlation: 0.5, levels: 15, share: 0.4 };
const SELF_TEST = { overlap: 0.99, probability: 0.05 }; // largest difference from Python's answer

/** This browser gives another answer than Python. */
export class SelfTestError extends Error {
  name = "SelfTestError";
}

export class Judge {
  /** @type {ClipState | null} */
  #clip = null;

  /** @param {Detector} detector @param {FaceFinder} finder */
  constructor(detector, finder) {
    this.detector = detector;
    this.finder = finder;
  }

  /** Load the networks from beside this file.
   * @throws {Error} something cannot be loaded */
  static async load() {
    const folder = new URL("./model/", import.meta.url);
    const [runtime, config, graph, weights, kernels, faces, { sizes }] = await Promise.all([
      Runtime.load(),
      json(new URL("detector.json", folder)),
      unpacked(new URL("detector_graph.tflite.zst", folder)),
      unpacked(new URL("detector_weights.bin.zst", folder)),
      json(new URL("detector_weights.json", folder)),
      unpacked(new URL("face_finder.tflite.zst", folder)),
      json(new URL("face_finder.json", folder)),
      loadResampling(),
    ]);
    const yunet = new YuNet(runtime, { content: faces, numbers: sizes });
    const network = await runtime.compile(withWeights(graph, weights, kernels));
    return new Judge(new Detector(config, network), new FaceFinder(yunet));
  }

  /** Judge the built-in picture.
   * @throws {SelfTestError} the answer differs from Python's */
  async testItself() {
    /** @type {SelfTest} */
    const wanted = await json(new URL("./model/selftest.json", import.meta.url));
    const file = new Blob([await fetched(new URL(wanted.picture, import.meta.url))]);
    const { photo, format } = await openPhoto(file);
    const judgements = await this.detector.judge(photo, format, this.finder);
    const [{ face = null, probability = NaN } = {}] = judgements;
    const overlap = face ? intersectionOverUnion(face.box, wanted.box) : 0;
    const away = Math.abs(probability - wanted.probability);
    if (judgements.length === 1 && overlap >= SELF_TEST.overlap && away <= SELF_TEST.probability) return;
    throw new SelfTestError(
      `Of the built-in picture this browser says ${probability.toFixed(3)} where ` +
        `${wanted.probability.toFixed(3)} is right (${judgements.length} faces, overlap ` +
        `${overlap.toFixed(3)}): its answers cannot be trusted.`,
    );
  }

  /**
   * Judge a photo.
   *
   * @param {Blob} file
   * @param {boolean} wholePicture judge the centred square instead of the faces
   * @returns {Promise<PhotoAnswer>}
   * @throws {import("./photos.js").PhotoError} it cannot be judged
   */
  async photo(file, wholePicture) {
    const { photo, format, whole } = await openPhoto(file);
    // All but the last run on the browser's other threads, while the networks run on this one.
    const [shown, digest, animated, faces] = await Promise.all([
      preview(whole, PHOTO_SIDE),
      sha256(file),
      isAnimated(file, format),
      this.#faces(photo, format, wholePicture),
    ]);
    const { width, height } = photo;
    return { note: animated ? ANIMATION : "", width, height, shown, digest, faces };
  }

  /** @param {Picture} photo @param {string} format @param {boolean} wholePicture */
  async #faces(photo, format, wholePicture) {
    const judgements = wholePicture
      ? [await this.detector.judgeWhole(photo)]
      : await this.detector.judge(photo, format, this.finder);
    const faces = []; // one at a time, as there may be many and each needs a canvas
    for (const judgement of judgements) faces.push(await this.#faceAnswer(judgement));
    return faces;
  }

  /** Start a clip, and forget the previous one.
   * @param {number} seconds its length */
  startClip(seconds) {
    const people = new People(this.detector.config);
    this.#clip = { people, seconds, before: null, looks: 0, most: 0, cutLooks: 0, looked: -1, judgements: [] };
  }

  /**
   * Judge the faces in a frame of the clip if it is due or follows a cut.
   *
   * @param {ImageBitmap} bitmap
   * @param {number} seconds
   * @param {boolean} isDue
   */
  async frame(bitmap, seconds, isDue) {
    const clip = this.#started();
    const photo = taken(bitmap);
    const grey = greyLevels(photo, CUT.width, CUT.height);
    const followsCut = clip.before !== null && isCut(clip.before, grey);
    clip.before = grey;
    if (followsCut) clip.people.changeScene();
    if (seconds === clip.looked || !(isDue || (followsCut && mayLook(clip, seconds)))) return;
    if (!isDue) clip.cutLooks++;
    const isSmall = photo.width * photo.height <= COARSE_PIXELS;
    const faces = await this.finder.find(photo, isSmall);
    clip.most = Math.max(clip.most, faces.length);
    clip.judgements = await this.detector.judgeFaces(photo, faces.slice(0, MAX_FACES), false);
    clip.looked = seconds;
    this.repeatFrame(seconds);
  }

  /** Count the last judged frame again, as a picture that stays on the screen counts for its duration.
   * @param {number} seconds */
  repeatFrame(seconds) {
    const clip = this.#started();
    clip.people.add(seconds, clip.judgements);
    clip.looks++;
  }

  #started() {
    if (!this.#clip) throw new Error("No clip was started.");
    return this.#clip;
  }

  /** Return the answer about the clip.
   * @returns {Promise<ClipAnswer>} */
  async endClip() {
    const { people: known, looks, most } = this.#started();
    this.#clip = null;
    const { people, others } = known.ranked();
    const answers = [];
    for (const { suspicious, ...person } of people) {
      const moments = [];
      for (const { seconds, judgement } of suspicious) {
        moments.push({ seconds, face: await this.#faceAnswer(judgement) });
      }
      answers.push({ ...person, moments });
    }
    return { people: answers, others, looks, most };
  }

  /** @param {Judgement} judgement @returns {Promise<FaceAnswer>} */
  async #faceAnswer({ face, crop, landmarks, heat, ...judged }) {
    const [shown, layer] = await Promise.all([
      toFile(new ImageData(bytesOf(crop), crop.width, crop.height), "image/jpeg"),
      toFile(heatLayer(heat), "image/png"),
    ]);
    return {
      box: face && face.box,
      side: face ? sideOf(face) : 0,
      confidence: face ? face.confidence : 0,
      probability: judged.probability,
      verdict: judged.verdict,
      reason: judged.reason,
      meaning: judged.meaning,
      evidence: describeHeat(heat, landmarks),
      crop: shown,
      heat: layer,
    };
  }
}

/** Return the SHA-256 of a file in hexadecimal digits.
 * @param {Blob} file */
async function sha256(file) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return a frame's pixels and free the frame.
 * @param {ImageBitmap} bitmap */
function taken(bitmap) {
  try {
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

/** @param {URL} address */
async function json(address) {
  return JSON.parse(new TextDecoder().decode(await fetched(address)));
}

/** Return whether a look after a cut is left. Early cuts must not use up all looks.
 * @param {ClipState} clip @param {number} seconds */
function mayLook({ cutLooks, seconds: length }, seconds) {
  return cutLooks < 1 + MAX_CUT_LOOKS * Math.min(1, seconds / length);
}

/** @param {Float64Array} before @param {Float64Array} after grey levels */
function isCut(before, after) {
  const changed = after.filter((value, i) => Math.abs(value - before[i]) > CUT.levels).length;
  return changed > CUT.share * after.length && correlation(before, after) < CUT.correlation;
}
