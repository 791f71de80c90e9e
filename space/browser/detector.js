/**
 * Judges the faces of a photo as Python's `Detector` does, with the same model and contract.
 *
 * @import {Picture} from "./pictures.js"
 * @import {Point} from "./yunet.js"
 * @import {Face, FaceFinder} from "./faces.js"
 * @import {HeatMap} from "./heat.js"
 * @import {Network} from "./runtime.js"
 * @import {Reason} from "./quality.js"
 *
 * @typedef {"real" | "fake" | "inconclusive"} Verdict
 * @typedef {{low: number, high: number, photos: number, fake_share: number}} ScoreBin
 * @typedef {{mirrored: boolean, right: number, down: number}} Look
 *
 * @typedef {object} DetectorConfig what `detector.json` holds, as far as it is used here
 * @property {number} format_version
 * @property {string[]} labels
 * @property {number} input_size
 * @property {number} crop_margin
 * @property {{real: number, fake: number}} thresholds
 * @property {{method: string, slope: number, intercept: number}} calibration
 * @property {ScoreBin[]} [score_bins]
 * @property {{margin: number, looks: Look[]} | null} [second_look]
 * @property {number | null} [max_likelihood_ratio]
 * @property {{kept?: boolean, broken?: string[]}} [promise]
 * @property {Record<string, any>} metrics
 * @property {string} sha256
 * @property {string} variant
 * @property {string} trained_on
 *
 * @typedef {object} Judgement
 * @property {Face | null} face `null` where the whole picture was judged
 * @property {Picture} crop what was judged, upright, less than 896 px wide
 * @property {Point[] | null} landmarks in the crop, as shares of its side
 * @property {number} probability of fake, calibrated
 * @property {Verdict} verdict where there is a reason, `"inconclusive"`
 * @property {Reason | null} reason why the model is not to be trusted with the face
 * @property {ScoreBin | null} meaning of such a probability on the validation photos
 * @property {HeatMap} heat
 */
import { cropFace, cropLandmarks } from "./crops.js";
import { scaledFace, sideOf } from "./faces.js";
import { forSearch, MIN_SIDE } from "./photos.js";
import { findReason } from "./quality.js";
import { centredSquare, levelsOf, reduced, resized, squareOfSide } from "./pictures.js";

const FORMAT_VERSION = 1;
const SHOWN_SIDE = 448; // px: crops to be shown are reduced to between this and twice as many

/** Return the calibrated probability of fake for the network's output.
 * @param {DetectorConfig["calibration"]} calibration @param {number} probability */
export function calibrated({ method, slope, intercept }, probability) {
  if (method === "none") return probability;
  return 1 / (1 + Math.exp(-slope * logOdds(probability) - intercept));
}

/** Return the natural log-odds of a probability; finite even for 0 and 1.
 * @param {number} probability */
export function logOdds(probability) {
  const clipped = Math.min(Math.max(probability, 1e-6), 1 - 1e-6);
  return Math.log(clipped / (1 - clipped));
}

/** Return whether a probability is so close to a threshold that the face gets a second look.
 * @param {DetectorConfig} config @param {number} probability */
function isBorderline({ second_look: secondLook, thresholds }, probability) {
  const distances = Object.values(thresholds).map((threshold) =>
    Math.abs(logOdds(probability) - logOdds(threshold)),
  );
  return Boolean(secondLook) && Math.min(...distances) <= (secondLook?.margin ?? 0);
}

/** Return the network's input, mirrored and shifted for another look.
 * @param {Float32Array} input RGB, row by row @param {number} size @param {Look} look */
function changedInput(input, size, { mirrored, right, down }) {
  const inside = (/** @type {number} */ place) => Math.min(Math.max(place, 0), size - 1);
  const changed = new Float32Array(input.length);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const column = mirrored ? size - 1 - inside(x - right) : inside(x - right);
      const from = 3 * (inside(y - down) * size + column);
      const to = 3 * (y * size + x);
      changed[to] = input[from];
      changed[to + 1] = input[from + 1];
      changed[to + 2] = input[from + 2];
    }
  }
  return changed;
}

/** @param {DetectorConfig["thresholds"]} thresholds @param {number} probability @returns {Verdict} */
export function verdictOf({ real, fake }, probability) {
  if (probability >= fake) return "fake";
  return probability < real ? "real" : "inconclusive";
}

export class Detector {
  #network;

  /**
   * @param {DetectorConfig} config
   * @param {Network} network
   * @throws {Error} the description is of another format
   */
  constructor(config, network) {
    if (config.format_version !== FORMAT_VERSION || config.labels.join() !== "real,fake") {
      throw new Error("detector.json is of another format than this page reads: build the page anew.");
    }
    this.config = config;
    this.#network = network;
  }

  /**
   * Find the faces of a photo and judge each.
   *
   * @param {Picture} photo
   * @param {string} format of its file
   * @param {FaceFinder} finder
   * @returns {Promise<Judgement[]>} largest face first; none where there is no face
   */
  async judge(photo, format, finder) {
    const { small, scale } = forSearch(photo, format);
    const found = await finder.find(small);
    const faces = found.map((face) => scaledFace(face, scale));
    const { crop_margin: margin, input_size: size } = this.config;
    // With so many pixels, the full resolution would change neither score nor shown crop visibly.
    const enough = Math.max(2 * size, SHOWN_SIDE);
    if (found.every((face) => margin * sideOf(face) >= enough)) {
      const judgements = await this.judgeFaces(small, found);
      return judgements.map((judgement, index) => ({ ...judgement, face: faces[index] }));
    }
    return this.judgeFaces(photo, faces);
  }

  /** Judge faces of a photo, in their order.
   * @param {Picture} photo @param {Face[]} faces
   * @param {boolean} [secondLook] take one where the scores want it; not for the frames of a clip,
   *   whose scores are averaged */
  async judgeFaces(photo, faces, secondLook = true) {
    const judgements = [];
    for (const face of faces) {
      let crop = cropFace(photo, face, this.config.crop_margin);
      if (crop.width < MIN_SIDE) crop = resized(crop, MIN_SIDE, MIN_SIDE);
      const landmarks = cropLandmarks(photo, face, this.config.crop_margin);
      const reason = findReason(photo, face);
      judgements.push(await this.#judgeCrop(crop, face, landmarks, reason, secondLook && !reason));
    }
    return judgements;
  }

  /** Judge the centred square of a photo, whatever it shows.
   * @param {Picture} photo */
  async judgeWhole(photo) {
    return this.#judgeCrop(centredSquare(photo), null, null, null, true);
  }

  /** @param {Picture} crop @param {Face | null} face @param {Point[] | null} landmarks
   * @param {Reason | null} reason @param {boolean} secondLook @returns {Promise<Judgement>} */
  async #judgeCrop(crop, face, landmarks, reason, secondLook) {
    const { input_size: size, calibration, thresholds, score_bins: bins = [] } = this.config;
    const input = levelsOf(squareOfSide(crop, size));
    const { probabilities, heatmap } = await this.#network.run(input, size, size);
    let probability = calibrated(calibration, probabilities[1]);
    if (secondLook && isBorderline(this.config, probability)) {
      probability = await this.#meanOfLooks(input, probability);
    }
    const times = Math.floor(crop.width / SHOWN_SIDE);
    return {
      face,
      crop: times > 1 ? reduced(crop, times, times) : crop,
      landmarks,
      probability,
      verdict: reason ? "inconclusive" : verdictOf(thresholds, probability),
      reason,
      meaning: bins.findLast((bin) => probability >= bin.low) ?? null,
      heat: { values: scaledToOne(heatmap), side: Math.sqrt(heatmap.length) },
    };
  }

  /** Return the probability whose log-odds are the mean over all looks, the first among them.
   * @param {Float32Array} input @param {number} first */
  async #meanOfLooks(input, first) {
    const { input_size: size, calibration, second_look: secondLook } = this.config;
    const looks = secondLook?.looks ?? [];
    let sum = logOdds(first);
    for (const look of looks) {
      const { probabilities } = await this.#network.run(changedInput(input, size, look), size, size);
      sum += logOdds(calibrated(calibration, probabilities[1]));
    }
    return 1 / (1 + Math.exp(-sum / (looks.length + 1)));
  }
}

/** Return values divided by the largest; all zero where that is.
 * @param {Float32Array} values */
function scaledToOne(values) {
  const peak = values.reduce((largest, value) => Math.max(largest, value), 0);
  return values.map((value) => (peak > 0 ? value / peak : 0));
}
