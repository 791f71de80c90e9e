"""What `detector.json` holds, checked on load.

A model folder holds `detector.tflite` (LiteRT, one graph with two outputs: class probabilities and
heatmap) and `detector.json`, the contract that `DetectorConfig` describes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

CONFIG_FILE, MODEL_FILE = "detector.json", "detector.tflite"
# The face finder YuNet as a LiteRT graph, which a model folder may hold, and its description.
FINDER_FILE, FINDER_CONFIG_FILE = "face_finder.tflite", "face_finder.json"
FORMAT_VERSION = 1
# Why a face gets no verdict, whatever its probability: keys for programs, sentences for people. The
# first that applies, in this order, counts. `quality.py` finds them in photos; the last one is for
# people in clips. Each is also in `verdicts.ADVICE`, `programs.md`, `browser/quality.js` and, for
# photos, `training.measure.tier_tables`.
REASONS = {
    "cut": "The face is cut by the border of the picture.",
    "too_small": "The face has too few pixels.",
    "too_dark": "The face is too dark.",
    "blurred": "The face is too blurred.",
    "seen_too_little": "The person is seen in too few pictures of the clip.",
}
PRIOR = 0.5  # the share of fakes that the calibrated probability of fake assumes
# The smallest likelihood ratio, in either direction, of each strength of evidence: the verbal scale
# of the ENFSI Guideline for Evaluative Reporting in Forensic Science (2015), which has no word for
# 1 to 2.
STRENGTHS = (
    (1, "no support either way"),
    (2, "weak support"),
    (10, "moderate support"),
    (100, "moderately strong support"),
    (1_000, "strong support"),
    (10_000, "very strong support"),
    (1_000_000, "extremely strong support"),
)


class DetectorError(Exception):
    """A model that cannot be loaded; the text says in one sentence what was found and what to
    do."""


@dataclass(frozen=True)
class Calibration:
    """How the network's output becomes a probability: a line through the log-odds.

    Attributes:
        method: `"none"` for the bare softmax, `"temperature"` (Guo et al. 2017,
            https://arxiv.org/abs/1706.04599; the slope is 1 / temperature) or `"platt"` (Platt
            1999).
        slope: of the line.
        intercept: of the line.
    """

    method: str = "none"
    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, probability: float) -> float:
        """Return the calibrated probability of fake, given the network's own."""
        if self.method == "none":
            return probability
        return 1 / (1 + math.exp(-self.slope * log_odds(probability) - self.intercept))


@dataclass(frozen=True)
class ScoreBin:
    """What a range of probabilities meant on the validation photos.

    Attributes:
        low: the range's start, included.
        high: its end, excluded unless it is 1.
        photos: how many validation photos had such a probability.
        fake_share: share of fakes among them.
    """

    low: float
    high: float
    photos: int
    fake_share: float


@dataclass(frozen=True)
class Look:
    """How the network's input is changed for another look at it.

    Attributes:
        mirrored: whether left and right are swapped.
        right: shift to the right in px after that, with the border repeated; negative to the left.
        down: the same downwards.
    """

    mirrored: bool
    right: int
    down: int


@dataclass(frozen=True)
class SecondLook:
    """Which faces get a second look: those whose verdict a harmless change might flip.

    Attributes:
        margin: distance from a threshold in log-odds. A face whose first score lies within it gets
            the mean log-odds of all looks, including the first, as its score.
        looks: all looks but the first.
    """

    margin: float
    looks: list[Look]


@dataclass(frozen=True)
class DetectorConfig:
    """What `detector.json` holds: all that a program needs to know about the model file beside it.

    Attributes:
        labels: class names in the order of the probabilities.
        input_size: side in px of the RGB square that the model takes, values 0 to 255.
        crop_margin: side of that square divided by the longer side of the face's box in the
            training photos.
        thresholds: a probability of fake of at least `fake` is called fake, one below `real` real,
            and one between them inconclusive.
        calibration: how the network's output becomes a probability.
        score_bins: what the probabilities meant on the validation photos, from 0 to 1 without gaps;
            empty where not measured.
        metrics: figures of this model file, by split.
        sha256: of the model file.
        variant: numeric format of the model file.
        trained_on: one sentence about the training data, for the people who read the verdict.
        sources: names of the training datasets.
        versions: of the packages that made the model file.
        framing: what it was trained and measured on, `"face"` (the crop above) or `"photo"` (whole
            photos that are already framed like that).
        second_look: which faces get a second look; `None` for none.
        max_likelihood_ratio: the strongest evidence that the validation photos support: the number
            of groups with the rarer label, as n groups cannot show an event rarer than 1 in n;
            `None` where not counted.
        promise: whether error rates on the test photos stay within what the thresholds promise:
            `kept`, and `broken`, a sentence for each source where not; empty where not measured.
        format_version: of this description.
    """

    labels: list[str]
    input_size: int
    crop_margin: float
    thresholds: dict[str, float]
    calibration: Calibration
    metrics: dict[str, dict]
    sha256: str
    variant: str
    trained_on: str
    sources: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    score_bins: list[ScoreBin] = field(default_factory=list)
    framing: str = "face"
    second_look: SecondLook | None = None
    max_likelihood_ratio: float | None = None
    promise: dict = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise DetectorError(
                f"{CONFIG_FILE} has format {self.format_version} where this program reads "
                f"{FORMAT_VERSION}: use the program that belongs to the model."
            )
        if list(self.labels) != ["real", "fake"]:
            raise DetectorError(f"{CONFIG_FILE} has the labels {self.labels}, not real and fake.")
        if not isinstance(self.metrics, dict):
            raise DetectorError(f"{CONFIG_FILE} has no `metrics`, not even an empty object.")
        if self.framing not in ("face", "photo"):
            raise DetectorError(f"{CONFIG_FILE} has an unknown framing: {self.framing}.")
        if not 0 <= self.thresholds["real"] <= self.thresholds["fake"] <= 1:
            raise DetectorError(f"{CONFIG_FILE} has thresholds out of order: {self.thresholds}.")
        if self.calibration.method not in ("none", "temperature", "platt"):
            raise DetectorError(f"{CONFIG_FILE} has an unknown calibration: {self.calibration}.")
        numbers = [self.calibration.slope, self.calibration.intercept, self.crop_margin]
        numbers += [
            edge for score_bin in self.score_bins for edge in (score_bin.low, score_bin.high)
        ]
        if not all(isinstance(number, int | float) for number in numbers):
            raise DetectorError(f"{CONFIG_FILE} has text in place of numbers.")
        if self.second_look and not _is_sound(self.second_look, self.input_size):
            raise DetectorError(f"{CONFIG_FILE} has an unknown second look: {self.second_look}.")
        cap = self.max_likelihood_ratio
        if cap is not None and not (isinstance(cap, int | float) and cap >= 1):
            raise DetectorError(f"{CONFIG_FILE} has a largest likelihood ratio of {cap}, not >= 1.")
        if not isinstance(self.promise, dict):
            raise DetectorError(f"{CONFIG_FILE} has a `promise` that is no object: {self.promise}.")

    @classmethod
    def load(cls, folder: Path) -> DetectorConfig:
        """Read and check the description in a model folder.

        Raises:
            DetectorError: it is missing, not JSON, incomplete, or of another format.
        """
        path = Path(folder) / CONFIG_FILE
        known = {attribute.name for attribute in fields(cls)}
        try:
            values = json.loads(path.read_text())
            values["calibration"] = Calibration(**values["calibration"])
            values["score_bins"] = [ScoreBin(**entry) for entry in values.get("score_bins", [])]
            if second_look := values.get("second_look"):
                looks = [Look(**look) for look in second_look["looks"]]
                values["second_look"] = SecondLook(second_look["margin"], looks)
            # Keys that a later version adds without raising the format change nothing here.
            return cls(**{key: value for key, value in values.items() if key in known})
        except OSError as error:
            raise DetectorError(f"{path} cannot be read: name a folder that holds it.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DetectorError(f"{path} is not a detector's description ({error!r}).") from error

    def save(self, folder: Path) -> None:
        """Write the description into a model folder, atomically."""
        partial = Path(folder) / f".{CONFIG_FILE}.partial"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(Path(folder) / CONFIG_FILE)

    def verdict(self, probability: float) -> str:
        """Return `"fake"`, `"real"` or `"inconclusive"` for a probability of fake."""
        return verdict_at(probability, self.thresholds)

    def score_bin(self, probability: float) -> ScoreBin | None:
        """Return what a probability of fake meant on the validation photos, as far as known."""
        return next(
            (score_bin for score_bin in reversed(self.score_bins) if probability >= score_bin.low),
            None,
        )

    def is_borderline(self, probability: float) -> bool:
        """Return whether a probability of fake is near enough to a threshold for a second look."""
        if self.second_look is None:
            return False
        distances = [
            abs(log_odds(probability) - log_odds(threshold))
            for threshold in self.thresholds.values()
        ]
        return min(distances) <= self.second_look.margin

    @property
    def is_calibrated(self) -> bool:
        """Whether the test photos keep what the thresholds promise; true where not measured."""
        return self.promise.get("kept", True)

    @property
    def cost_of_unseen_kinds(self) -> float | None:
        """The cost in bits of its likelihood ratios (Cllr) on test photos with kinds of fakes that
        it never saw; `None` where not measured. From 1 on, the cost of saying nothing, its score is
        no evidence about them."""
        tiers = self.metrics.get("test", {}).get("tiers", {})
        return tiers.get("unseen_kinds", {}).get("cllr", {}).get("value")


def verdict_at(probability: float, thresholds: Mapping[str, float]) -> str:
    """Return `"fake"`, `"real"` or `"inconclusive"` for a probability of fake.

    Args:
        probability: of fake.
        thresholds: as in `DetectorConfig.thresholds`.
    """
    if probability >= thresholds["fake"]:
        return "fake"
    return "real" if probability < thresholds["real"] else "inconclusive"


def log_odds(probability: float) -> float:
    """Return the natural log-odds of a probability, clipped to stay finite at 0 and 1."""
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


def mean_probability(probabilities: Sequence[float]) -> float:
    """Return the probability whose log-odds are the mean of those of the given ones."""
    mean = sum(map(log_odds, probabilities)) / len(probabilities)
    return 1 / (1 + math.exp(-mean))


def likelihood_ratio(probability: float, most: float | None = None) -> float:
    """Return how many times more probable a score is for a fake than for a real photo.

    The odds after seeing the photo are the odds before times this ratio.

    Args:
        probability: of fake, calibrated, at a prior of `PRIOR`.
        most: the ratio is clipped to 1 / `most` to `most`: see
            `DetectorConfig.max_likelihood_ratio`.
    """
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    ratio = clipped / (1 - clipped) * (1 - PRIOR) / PRIOR
    return ratio if most is None else min(max(ratio, 1 / most), most)


def strength_of_evidence(probability: float, most: float | None = None) -> str:
    """Return the strength of the evidence in words, such as `"weak support for fake"`.

    Args:
        probability: of fake, calibrated, at a prior of `PRIOR`.
        most: as for `likelihood_ratio`.
    """
    ratio = likelihood_ratio(probability, most)
    strength = max(ratio, 1 / ratio) * (1 + 1e-9)  # 10 / 11 means 10, not 9.999
    *_, word = (word for least, word in STRENGTHS if strength >= least)
    if word == STRENGTHS[0][1]:
        return word
    return f"{word} for {'fake' if ratio > 1 else 'real'}"


def strength_names() -> list[str]:
    """Return all answers of `strength_of_evidence`, strongest for real first, for fake last."""
    words = [word for _, word in STRENGTHS]
    return [
        *(f"{word} for real" for word in reversed(words[1:])),
        words[0],
        *(f"{word} for fake" for word in words[1:]),
    ]


def _is_sound(again: SecondLook, side: int) -> bool:
    """Return whether a second look is valid for an input of `side` x `side` px."""
    shifts = [shift for look in again.looks for shift in (look.right, look.down)]
    return (
        isinstance(again.margin, int | float)
        and again.margin >= 0
        and bool(shifts)
        and all(isinstance(shift, int) and abs(shift) < side for shift in shifts)
    )
