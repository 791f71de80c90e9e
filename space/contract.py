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
# The face finder YuNet as a LiteRT graph, which a model folder may hold, and what it was made from.
FINDER_FILE, FINDER_CONFIG_FILE = "face_finder.tflite", "face_finder.json"
FORMAT_VERSION = 1
# Why a face gets no verdict, whatever its probability; programs are told the keys, people the
# sentences. A face has the first that holds, in this order. `quality.py` finds them in a photo; the
# last one is for the people of clips. Each also stands in `verdicts.ADVICE`, `programs.md`,
# `browser/quality.js` and, of photos, `training.measure.tier_tables`.
REASONS = {
    "cut": "The face is cut by the border of the picture.",
    "too_small": "The face has too few pixels.",
    "too_dark": "The face is too dark.",
    "blurred": "The face is too blurred.",
    "seen_too_little": "The person is seen in too few pictures of the clip.",
}
PRIOR = 0.5  # the share of fakes that the calibrated probability of fake assumes
# From which likelihood ratio on, whichever way it points, evidence has which strength: the verbal
# scale of the ENFSI Guideline for Evaluative Reporting in Forensic Science (2015), which leaves
# 1 to 2 without a word.
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
        """Return the calibrated probability of fake for the network's."""
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
    """How what the network is shown is changed for another look at it.

    Attributes:
        mirrored: left and right are swapped.
        right: px by which it is then moved to the right, its border repeated; negative to the left.
        down: the same downwards.
    """

    mirrored: bool
    right: int
    down: int


@dataclass(frozen=True)
class SecondLook:
    """Which faces are looked at again: those whose verdict a harmless change might flip.

    Attributes:
        margin: in log-odds. A face whose first score lies no further from a threshold gets the mean
            of the log-odds of all looks, the first among them, for its score.
        looks: the further ones.
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
        thresholds: a probability of fake from `fake` upwards is called fake, one below `real` is
            called real, and what lies between is inconclusive.
        calibration: how the network's output becomes a probability.
        score_bins: what the probabilities meant on the validation photos, from 0 to 1 without gaps;
            empty where nobody measured it.
        metrics: figures of this very file, by split.
        sha256: of the model file.
        variant: numeric format of the model file.
        trained_on: one sentence about the training data, for the people who read the verdict.
        sources: names of the sets of photos that it was trained on.
        versions: of the packages that made the model file.
        framing: what it was trained and measured on, `"face"` (the crop above) or `"photo"` (whole
            photos that were framed like that already).
        second_look: which faces are looked at again; `None` for none.
        max_likelihood_ratio: the strongest evidence that the validation photos support: the number
            of groups with the rarer label, as n groups cannot show an event rarer than 1 in n;
            `None` where nobody counted them.
        promise: whether the test photos keep what the thresholds promise: `kept`, and `broken`, a
            sentence for each source that does not; empty where nobody measured it.
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
            raise DetectorError(f"{CONFIG_FILE} has no metrics, not even an empty list of them.")
        if self.framing not in ("face", "photo"):
            raise DetectorError(f"{CONFIG_FILE} has an unknown framing: {self.framing}.")
        if not 0 <= self.thresholds["real"] <= self.thresholds["fake"] <= 1:
            raise DetectorError(f"{CONFIG_FILE} has thresholds out of order: {self.thresholds}.")
        if self.calibration.method not in ("none", "temperature", "platt"):
            raise DetectorError(f"{CONFIG_FILE} has an unknown calibration: {self.calibration}.")
        numbers = [self.calibration.slope, self.calibration.intercept, self.crop_margin]
        numbers += [value for one in self.score_bins for value in (one.low, one.high)]
        if not all(isinstance(number, int | float) for number in numbers):
            raise DetectorError(f"{CONFIG_FILE} has text where numbers belong.")
        if self.second_look and not _is_sound(self.second_look, self.input_size):
            raise DetectorError(f"{CONFIG_FILE} has an unknown second look: {self.second_look}.")
        cap = self.max_likelihood_ratio
        if cap is not None and not (isinstance(cap, int | float) and cap >= 1):
            raise DetectorError(f"{CONFIG_FILE} has a largest likelihood ratio of {cap}, not >= 1.")
        if not isinstance(self.promise, dict):
            raise DetectorError(f"{CONFIG_FILE} has a promise that is no object: {self.promise}.")

    @classmethod
    def load(cls, folder: Path) -> DetectorConfig:
        """Read and check the description in a model folder.

        Raises:
            DetectorError: it is missing, no JSON, incomplete, or of another format.
        """
        path = Path(folder) / CONFIG_FILE
        known = {column.name for column in fields(cls)}
        try:
            values = json.loads(path.read_text())
            values["calibration"] = Calibration(**values["calibration"])
            values["score_bins"] = [ScoreBin(**one) for one in values.get("score_bins", [])]
            if again := values.get("second_look"):
                looks = [Look(**one) for one in again["looks"]]
                values["second_look"] = SecondLook(again["margin"], looks)
            # Keys that a later version adds without raising the format change nothing here.
            return cls(**{key: value for key, value in values.items() if key in known})
        except OSError as error:
            raise DetectorError(f"{path} cannot be read: name a folder that holds it.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DetectorError(f"{path} is not a detector's description ({error!r}).") from error

    def save(self, folder: Path) -> None:
        """Write the description into a model folder, all at once."""
        partial = Path(folder) / f".{CONFIG_FILE}.partial"
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.replace(Path(folder) / CONFIG_FILE)

    def verdict(self, probability: float) -> str:
        """Return `"fake"`, `"real"` or `"inconclusive"` for a probability of fake."""
        return verdict_at(probability, self.thresholds)

    def score_bin(self, probability: float) -> ScoreBin | None:
        """Return what a probability of fake meant on the validation photos, as far as known."""
        return next((one for one in reversed(self.score_bins) if probability >= one.low), None)

    def is_borderline(self, probability: float) -> bool:
        """Return whether a probability of fake lies so near to a threshold that it takes a second
        look."""
        if self.second_look is None:
            return False
        away = [abs(log_odds(probability) - log_odds(one)) for one in self.thresholds.values()]
        return min(away) <= self.second_look.margin

    @property
    def is_calibrated(self) -> bool:
        """Whether the test photos keep what the thresholds promise, as far as anybody measured."""
        return self.promise.get("kept", True)

    @property
    def cost_of_unseen_kinds(self) -> float | None:
        """The cost in bits of its likelihood ratios (Cllr) on test photos whose kinds of fakes it
        never saw: from 1 on, what saying nothing costs, its score is no evidence about such. `None`
        where nobody measured it."""
        tiers = self.metrics.get("test", {}).get("tiers", {})
        return tiers.get("unseen_kinds", {}).get("cllr", {}).get("value")


def verdict_at(probability: float, thresholds: Mapping[str, float]) -> str:
    """Return `"fake"`, `"real"` or `"inconclusive"` for a probability of fake.

    Args:
        probability: of fake.
        thresholds: `fake`, from which on it is fake, and `real`, below which it is real.
    """
    if probability >= thresholds["fake"]:
        return "fake"
    return "real" if probability < thresholds["real"] else "inconclusive"


def log_odds(probability: float) -> float:
    """Return the natural log-odds of a probability, which certainty leaves finite."""
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(clipped / (1 - clipped))


def mean_probability(probabilities: Sequence[float]) -> float:
    """Return the probability whose log-odds are the mean of those of others."""
    mean = sum(map(log_odds, probabilities)) / len(probabilities)
    return 1 / (1 + math.exp(-mean))


def likelihood_ratio(probability: float, most: float | None = None) -> float:
    """Return how many times more probable a score is for a fake than for a real photo.

    Odds after seeing the photo are odds before times this ratio.

    Args:
        probability: of fake, calibrated, at a prior of `PRIOR`.
        most: the ratio is not above this, nor below 1 / this: see
            `DetectorConfig.max_likelihood_ratio`.
    """
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    ratio = clipped / (1 - clipped) * (1 - PRIOR) / PRIOR
    return ratio if most is None else min(max(ratio, 1 / most), most)


def strength_of_evidence(probability: float, most: float | None = None) -> str:
    """Return the strength of the evidence in words, say `"weak support for fake"`.

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
    """Return all that `strength_of_evidence` can say, from the strongest for real to the strongest
    for fake."""
    words = [word for _, word in STRENGTHS]
    return [
        *(f"{word} for real" for word in reversed(words[1:])),
        words[0],
        *(f"{word} for fake" for word in words[1:]),
    ]


def _is_sound(again: SecondLook, side: int) -> bool:
    """Return whether a second look can be taken at an input of so many px."""
    shifts = [shift for look in again.looks for shift in (look.right, look.down)]
    return (
        isinstance(again.margin, int | float)
        and again.margin >= 0
        and bool(shifts)
        and all(isinstance(shift, int) and abs(shift) < side for shift in shifts)
    )
