/**
 * Tells the people of a clip apart and sums up the scores of each, as Python's `people.py` does, which
 * explains the numbers.
 *
 * @import {Picture} from "./pictures.js"
 * @import {DetectorConfig, Judgement, Verdict} from "./detector.js"
 * @import {Reason} from "./quality.js"
 *
 * @typedef {object} Moment
 * @property {number} seconds time of the frame in the clip
 * @property {Judgement} judgement
 *
 * @typedef {object} Person
 * @property {number} number from 1, in the order of appearance
 * @property {number} probability of fake, 0 to 1
 * @property {Verdict} verdict
 * @property {Reason | null} reason why there is no verdict but "inconclusive"
 * @property {{seconds: number, probability: number, verdict: Verdict}[]} scores in order of time
 * @property {Moment[]} suspicious the moments with the highest probabilities, highest first
 */
import { MIN_FACE, centreOf, sideOf } from "./faces.js";
import { blank, bytesOf, resized } from "./pictures.js";
import { logOdds, verdictOf } from "./detector.js";

const SIMILAR_AGAIN = 0.75; // to be the same person anywhere
const SIMILAR_NEARBY = 0.6; // to be the same person, near where that person is expected
const SHADES_SHARE = 0.35; // of the shape in the similarity; the rest is colours
const NEEDED_LOOKS = 3; // that a person must be seen in to get a verdict,
const NEEDED_OF_FEW = 2; // or in a clip with fewer looks
const FEW_LOOKS = 8; // than these
const GAP_LOOKS = 3; // looks after which a person is expected nowhere
const REACH = 1; // largest distance of a face from its expected place, in face sizes,
const STOPPED = 0.25; // and what is added if it stayed where it was
const APPEARANCES = 8; // kept of a person
const MAX_TRACKED = 30;
const MAX_PEOPLE = 6; // reported
const MAX_LOG_ODDS = 3;
const SUSPICIOUS = 3; // moments,
const APART = 1; // s between them,
const CANDIDATES = 8; // and those from which they are chosen
const WEAK_SHARE = 0.95; // of the finder's usual confidence; below it, a face may be a false detection
const GREY_SIDE = 16;
const COLOUR_SIDE = 64;

/** @param {Moment} moment */
function isTooSmall({ judgement: { face } }) {
  return face !== null && sideOf(face) < MIN_FACE;
}

/** Return whether there is a reason not to trust a moment's face.
 * @param {Moment} moment */
function isMarked({ judgement: { reason } }) {
  return reason !== null;
}

/** @param {Moment[]} moments */
function trusted(moments) {
  const good = moments.filter((moment) => !isMarked(moment));
  return good.length ? good : [...moments];
}

/** Return the most frequent reason among a person's moments; `null` unless more than half of them have
 * one.
 * @param {Moment[]} moments */
function commonReason(moments) {
  /** @type {Map<Reason, number>} */
  const counts = new Map();
  for (const { judgement } of moments.filter(isMarked)) {
    const reason = /** @type {Reason} */ (judgement.reason);
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  const ranked = [...counts].sort((first, second) => second[1] - first[1]);
  const marked = ranked.reduce((sum, [, count]) => sum + count, 0);
  return 2 * marked <= moments.length ? null : ranked[0][0];
}

/** Return the share of the network's input that a face fills.
 * @param {Moment} moment @param {DetectorConfig} config */
function weightOf({ judgement: { face } }, { input_size: size, crop_margin: margin }) {
  return face ? Math.min(1, sideOf(face) / (size / margin)) : 1;
}

/**
 * Return a person's probability of fake: the mean log-odds of all moments, each capped at 3 either way
 * and weighted by the size of the face.
 *
 * @param {Moment[]} moments at least one
 * @param {DetectorConfig} config
 */
export function aggregate(moments, config) {
  let sum = 0;
  let weights = 0;
  for (const moment of trusted(moments)) {
    const weight = weightOf(moment, config);
    const capped = Math.min(Math.max(logOdds(moment.judgement.probability), -MAX_LOG_ODDS), MAX_LOG_ODDS);
    sum += weight * capped;
    weights += weight;
  }
  return 1 / (1 + Math.exp(-sum / weights));
}

/** Return the moments with the highest probabilities, at least 1 s apart.
 * @param {Moment[]} moments */
function chooseSuspicious(moments) {
  /** @type {Moment[]} */
  const chosen = [];
  for (const moment of trusted(moments).sort(byProbability)) {
    const isApart = (/** @type {Moment} */ other) =>
      Math.abs(moment.seconds - other.seconds) > APART - 1e-3;
    if (chosen.every(isApart)) chosen.push(moment);
  }
  return chosen.slice(0, SUSPICIOUS);
}

/** @param {Moment} first @param {Moment} second */
function byProbability(first, second) {
  return second.judgement.probability - first.judgement.probability;
}

/** Return the correlation of two lists of grey levels; near 0 for uniform ones.
 * @param {Float64Array} first @param {Float64Array} second */
export function correlation(first, second) {
  const mean = (/** @type {Float64Array} */ values) => values.reduce((a, b) => a + b, 0) / values.length;
  const x = first.map((value) => value - mean(first));
  const y = second.map((value) => value - mean(second));
  const dot = (/** @type {Float64Array} */ a, /** @type {Float64Array} */ b) =>
    a.reduce((sum, value, i) => sum + value * b[i], 0) / a.length;
  const noise = 16; // variance in squared levels
  return dot(x, y) / Math.sqrt((dot(x, x) + noise) * (dot(y, y) + noise));
}

/** Return a picture's grey levels at a small size.
 * @param {Picture} picture @param {number} width @param {number} height */
export function greyLevels(picture, width, height) {
  const data = bytesOf(resized(picture, width, height, 2));
  return Float64Array.from({ length: width * height }, (_, i) =>
    0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2],
  );
}

/** What a face looks like: its shape as grey levels, skin and hair as colours. */
class Appearance {
  /** @param {Picture} crop */
  constructor(crop) {
    const small = resized(crop, COLOUR_SIDE, COLOUR_SIDE, 2);
    this.shades = greyLevels(small, GREY_SIDE, GREY_SIDE);
    this.colours = colourShares(small);
  }

  /** Return the similarity of two faces: 1 if they look the same, about 0.4 for strangers.
   * @param {Appearance} other */
  similarity(other) {
    const alike = this.colours.reduce((sum, value, i) => sum + value * other.colours[i], 0);
    return SHADES_SHARE * correlation(this.shades, other.shades) + (1 - SHADES_SHARE) * alike;
  }
}

/** Return the square roots of a histogram of 8 x 4 x 4 hues, saturations and brightnesses of each
 * quarter.
 * @param {Picture} picture */
function colourShares(picture) {
  const { width, height } = picture;
  const data = bytesOf(picture);
  const counts = new Float64Array(4 * 8 * 4 * 4);
  for (let place = 0; place < width * height; place++) {
    const [red, green, blue] = data.subarray(4 * place, 4 * place + 3);
    const value = Math.max(red, green, blue);
    const range = value - Math.min(red, green, blue);
    let hue = 0; // 0 to 6
    if (range > 0) {
      if (value === red) hue = ((green - blue) / range + 6) % 6;
      else if (value === green) hue = (blue - red) / range + 2;
      else hue = (red - green) / range + 4;
    }
    const saturation = value > 0 ? range / value : 0;
    const bins = [
      Math.min(7, Math.floor((8 * hue) / 6)),
      Math.min(3, Math.floor(4 * saturation)),
      Math.min(3, Math.floor((4 * value) / 256)),
    ];
    const quarter =
      2 * Number(place >= (width * height) / 2) + Number(place % width >= width / 2);
    counts[((quarter * 8 + bins[0]) * 4 + bins[1]) * 4 + bins[2]]++;
  }
  return counts.map((count) => Math.sqrt(count / (width * height)));
}

/** Centre and size of a judged face. @typedef {[x: number, y: number, size: number]} Place */

/** What is known of a person so far. */
class Track {
  /** @type {Moment[]} without pixels */
  moments = [];
  /** @type {Moment[]} the most suspicious of them, with pixels */
  candidates = [];
  /** @type {Appearance[]} */
  appearances = [];
  /** @type {{seconds: number, place: Place}[]} the last two of the scene */
  places = [];
  scene = 0;
  look = 0;
  presence = 0;

  /** Add a sighting.
   * @param {Moment} moment @param {Appearance} appearance @param {number} scene @param {number} look */
  add(moment, appearance, scene, look) {
    if (scene !== this.scene) this.places = [];
    this.places = [...this.places.slice(-1), { seconds: moment.seconds, place: placeOf(moment.judgement) }];
    if (this.appearances.length === APPEARANCES) {
      const similarities = this.appearances.map((known) => appearance.similarity(known));
      this.appearances.splice(similarities.indexOf(Math.max(...similarities)), 1);
    }
    this.appearances.push(appearance);
    this.scene = scene;
    this.look = look;
    const nothing = blank(0, 0);
    this.moments.push({ ...moment, judgement: { ...moment.judgement, crop: nothing } });
    this.candidates = [...this.candidates, moment]
      .sort((first, second) => Number(isMarked(first)) - Number(isMarked(second)) || byProbability(first, second))
      .slice(0, CANDIDATES);
  }

  get isSmall() {
    return this.moments.every(isTooSmall);
  }

  /** Return whether this is probably a false detection: seen only once, and then with a reason against
   * it or with less than this confidence.
   * @param {number} confidence */
  isDoubtful(confidence) {
    if (this.moments.length > 1) return false;
    const { face } = this.moments[0].judgement;
    return isMarked(this.moments[0]) || (face !== null && face.confidence < confidence);
  }

  /** Return the distance of a place from where the person is expected at a time, in face sizes.
   * @param {number} seconds @param {Place} place */
  distance(seconds, place) {
    const [before, then] = [this.places[0], this.places[this.places.length - 1]];
    const last = then.place;
    const share =
      then.seconds > before.seconds
        ? Math.min(1, (seconds - then.seconds) / (then.seconds - before.seconds))
        : 0;
    const away = (/** @type {number} */ going) =>
      Math.hypot(
        place[0] - last[0] - going * (last[0] - before.place[0]),
        place[1] - last[1] - going * (last[1] - before.place[1]),
      ) + Math.abs(place[2] - last[2]);
    const size = Math.min(last[2], place[2]);
    return Math.min(away(share) / size, away(0) / size + STOPPED);
  }
}

/** @param {number[]} values */
function median(values) {
  const sorted = values.toSorted((first, second) => first - second);
  const middle = (sorted.length - 1) / 2;
  return (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
}

/** @param {Judgement} judgement @returns {Place} */
function placeOf({ face }) {
  return face ? [...centreOf(face), sideOf(face)] : [0, 0, 1];
}

/**
 * Tells the people of a clip apart. A face belongs to the person who is expected there if it looks
 * similar, and otherwise, for example after a cut, to a person it resembles closely.
 */
export class People {
  /** @type {Track[]} */
  #tracks = [];
  #scene = 0;
  #look = 0;
  #forgotten = 0;
  #config;

  /** @param {DetectorConfig} config */
  constructor(config) {
    this.#config = config;
  }

  /** Expect nobody at their last place any more. */
  changeScene() {
    this.#scene++;
  }

  /** Add the faces of a frame.
   * @param {number} seconds @param {Judgement[]} judgements */
  add(seconds, judgements) {
    this.#look++;
    const sightings = judgements.map((judgement) => ({
      moment: { seconds, judgement },
      appearance: new Appearance(judgement.crop),
    }));
    const known = this.#paired(seconds, sightings);
    // Known people first, so that none is dropped for a new one.
    const ordered = sightings.toSorted((first, second) => Number(known.has(second)) - Number(known.has(first)));
    for (const sighting of ordered) {
      const track = known.get(sighting) ?? this.#newTrack();
      track.presence += weightOf(sighting.moment, this.#config);
      track.add(sighting.moment, sighting.appearance, this.#scene, this.#look);
    }
  }

  /** Return the known person for each sighting that has one.
   * @template {{moment: Moment, appearance: Appearance}} T
   * @param {number} seconds @param {T[]} sightings */
  #paired(seconds, sightings) {
    const scored = this.#tracks.flatMap((track) =>
      sightings.map((sighting) => ({ track, sighting, score: this.#score(track, seconds, sighting) })),
    );
    /** @type {Map<T, Track>} */
    const pairs = new Map();
    const taken = new Set();
    for (const { track, sighting, score } of scored.sort((first, second) => second.score - first.score)) {
      if (score > 0 && !pairs.has(sighting) && !taken.has(track)) {
        pairs.set(sighting, track);
        taken.add(track);
      }
    }
    return pairs;
  }

  /** Return how well a face matches a person; 0 for no match.
   * @param {Track} track @param {number} seconds
   * @param {{moment: Moment, appearance: Appearance}} sighting */
  #score(track, seconds, { moment, appearance }) {
    const similarity = Math.max(...track.appearances.map((known) => appearance.similarity(known)));
    if (track.scene === this.#scene && this.#look - track.look <= GAP_LOOKS) {
      const distance = track.distance(seconds, placeOf(moment.judgement));
      if (distance < REACH && similarity >= SIMILAR_NEARBY) return 1 + similarity - distance;
    }
    return similarity >= SIMILAR_AGAIN ? similarity : 0;
  }

  #newTrack() {
    if (this.#tracks.length === MAX_TRACKED) {
      const gone = this.#tracks.filter((track) => track.look < this.#look);
      const least = gone.reduce((rarest, track) => (track.presence < rarest.presence ? track : rarest));
      this.#tracks.splice(this.#tracks.indexOf(least), 1);
      this.#forgotten += Number(!least.isDoubtful(this.#weakConfidence()));
    }
    const track = new Track();
    this.#tracks.push(track);
    return track;
  }

  /** Number of looks that a person must be seen in to get a verdict. */
  get #needed() {
    return this.#look < FEW_LOOKS ? NEEDED_OF_FEW : NEEDED_LOOKS;
  }

  /** Return the confidence below which a face that is seen once may be a false detection; 0 if nobody is
   * seen often. */
  #weakConfidence() {
    const often = this.#tracks
      .filter(({ moments }) => moments.length >= this.#needed)
      .flatMap(({ moments }) => moments.map(({ judgement }) => judgement.face?.confidence ?? 0));
    return often.length ? WEAK_SHARE * median(often) : 0;
  }

  /** Return the people who are seen most and largest, in order of appearance, and the number of others.
   * People seen too little for a verdict are returned only if there are no others. */
  ranked() {
    const orAll = (/** @type {Track[]} */ some, /** @type {Track[]} */ all) => (some.length ? some : all);
    const weak = this.#weakConfidence();
    const known = orAll(this.#tracks.filter((track) => !track.isDoubtful(weak)), this.#tracks);
    const often = orAll(known.filter(({ moments }) => moments.length >= this.#needed), known);
    const large = orAll(often.filter((track) => !track.isSmall), often);
    const shown = large
      .toSorted((first, second) => second.presence - first.presence)
      .slice(0, MAX_PEOPLE)
      .sort((first, second) => first.moments[0].seconds - second.moments[0].seconds);
    return {
      people: shown.map((track, index) => this.#person(track, index + 1)),
      others: known.length - shown.length + this.#forgotten,
    };
  }

  /** @param {Track} track @param {number} number @returns {Person} */
  #person(track, number) {
    const probability = aggregate(track.moments, this.#config);
    const isSeen = track.moments.length >= this.#needed;
    const reason = isSeen ? commonReason(track.moments) : "seen_too_little";
    return {
      number,
      probability,
      verdict: reason ? "inconclusive" : verdictOf(this.#config.thresholds, probability),
      reason,
      scores: track.moments.map(({ seconds, judgement }) => ({
        seconds,
        probability: judgement.probability,
        verdict: judgement.verdict,
      })),
      suspicious: chooseSuspicious(track.candidates),
    };
  }
}
