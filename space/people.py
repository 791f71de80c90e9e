"""Tell the people of a clip apart, and make one answer of all that was said about a person."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from PIL import Image

if __package__:
    from .contract import DetectorConfig
    from .faces import Face
    from .judgements import Judgement
else:
    from contract import DetectorConfig
    from faces import Face
    from judgements import Judgement

# Who is who. Measured on the four sample clips and on crops of 400 strangers: any two sightings of
# a person in a clip are alike by 0.75 in 95 % of the cases (half a second apart by 0.8 in all), and
# so are 0.3 % of pairs of strangers, or 2 % if the colours of one are made to match the other's.
SIMILAR_AGAIN = 0.75  # to be the same person anywhere
SIMILAR_NEARBY = 0.6  # to be the same person about where that one must be now
SHADES_SHARE = 0.35  # of the shape in the likeness; the rest is colours
GAP_LOOKS = 3  # looks after which nobody is expected anywhere
REACH = 1.0  # farthest that a face is from where it is expected, in face sizes,
STOPPED = 0.25  # and what is added where it should have moved on
APPEARANCES = 8  # kept of a person
MAX_TRACKED = 30  # people in memory at a time, more than in a frame
MAX_PEOPLE = 6  # reported

# What the answers about a person become.
MAX_LOG_ODDS = 3.0
SUSPICIOUS, APART = 3, 1.0  # moments, and s between them
CANDIDATES = 8  # for these: more than can lie within 1 s of two others
STRIP_SIDE = 64  # px of the crops of all other moments


@dataclass(frozen=True)
class Moment:
    """A person in one frame.

    Attributes:
        seconds: time of the frame in the clip, by the container.
        judgement: of the person's face; the box is in px of the frame.
    """

    seconds: float
    judgement: Judgement

    @property
    def probability(self) -> float:
        """Probability of fake, 0 to 1."""
        return self.judgement.prediction.probability

    @property
    def too_small(self) -> bool:
        """Whether the face has too few pixels for its verdict to be trusted."""
        return self.judgement.face is not None and self.judgement.face.too_small

    def as_dict(self) -> dict:
        """Return it in the types that JSON has, without the pixels."""
        return {"seconds": round(self.seconds, 3), **self.judgement.as_dict()}


@dataclass(frozen=True)
class Person:
    """What the model says about one person of a clip.

    Attributes:
        number: from 1, in the order of appearance.
        moments: all that were judged, in the order of time; their crops are at most 64 px wide, as
            memory must hold them all.
        probability: of fake, 0 to 1: see `aggregate`.
        verdict: `"real"`, `"fake"` or `"inconclusive"`.
        suspicious: the moments with the highest probabilities, highest first: at most 3, at least
            1 s apart, with crops as the detector keeps them.
    """

    number: int
    moments: list[Moment]
    probability: float
    verdict: str
    suspicious: list[Moment]

    @property
    def too_small(self) -> bool:
        """Whether the face has too few pixels in every frame."""
        return all(moment.too_small for moment in self.moments)

    def as_dict(self) -> dict:
        """Return it in the types that JSON has, without the pixels."""
        scores = [[round(one.seconds, 3), round(one.probability, 4)] for one in self.moments]
        return {
            "number": self.number,
            "probability": self.probability,
            "verdict": self.verdict,
            "too_small": self.too_small,
            "first_seen": scores[0][0],
            "last_seen": scores[-1][0],
            "scores": scores,
            "moments": [moment.as_dict() for moment in self.suspicious],
        }


def aggregate(moments: Sequence[Moment], config: DetectorConfig) -> float:
    """Return the probability of fake that the moments of one person amount to.

    It is the mean of their log-odds, and a probability again. Log-odds, because that is the scale
    on which evidence adds and on which the detector is calibrated. The mean and not the sum,
    because frames of one clip show the same face in the same light: they are no independent
    witnesses, and many of them must not make a weak answer a sure one. Each is capped at 3 either
    way (0.05 and 0.95), so that a frame on which the network saturates counts as little more than
    a frame of which it is sure: beside seven undecided ones it moves the answer to 0.59.

    A frame weighs as much as its face has pixels, until the face fills the network's input. Faces
    that are too small to trust count only where there are no others.

    Args:
        moments: at least one.
        config: of the detector that judged them.
    """
    trusted = [moment for moment in moments if not moment.too_small] or moments
    weights = [_weight(moment, config) for moment in trusted]
    log_odds = [_capped_log_odds(moment.probability) for moment in trusted]
    return 1 / (1 + math.exp(-float(np.average(log_odds, weights=weights))))


def choose_suspicious(moments: Sequence[Moment]) -> list[Moment]:
    """Return the moments with the highest probabilities, highest first: at most 3, at least 1 s
    apart, and of faces that are too small only where there are no others."""
    trusted = [moment for moment in moments if not moment.too_small] or moments
    chosen: list[Moment] = []
    for moment in sorted(trusted, key=lambda one: -one.probability):
        # Times are multiples of a frame, so that 1 s may come out a little shorter.
        if all(abs(moment.seconds - one.seconds) > APART - 1e-3 for one in chosen):
            chosen.append(moment)
    return chosen[:SUSPICIOUS]


def _weight(moment: Moment, config: DetectorConfig) -> float:
    face = moment.judgement.face
    full = config.input_size / config.crop_margin
    return 1.0 if face is None else min(1.0, face.side / full)


def _capped_log_odds(probability: float) -> float:
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return min(max(math.log(clipped / (1 - clipped)), -MAX_LOG_ODDS), MAX_LOG_ODDS)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two arrays of grey levels; plain ones correlate with nothing."""
    first, second = first - first.mean(), second - second.mean()
    noise = 16.0  # variance in squared levels
    scale = math.sqrt((first.var() + noise) * (second.var() + noise))
    return float((first * second).mean()) / scale


@dataclass(frozen=True, eq=False)
class _Appearance:
    """How a face looks, to be compared.

    Attributes:
        shades: `float32` `[256]`: 16 x 16 grey levels of the crop, for the shape of the head.
        colours: `float32` `[512]`: roots of the shares of 8 x 4 x 4 hues, saturations and
            brightnesses in each quarter of the crop, for skin, hair and what is behind.
    """

    shades: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(cls, crop: Image.Image) -> _Appearance:
        """Describe an RGB crop."""
        small = cv2.resize(np.asarray(crop), (64, 64), interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
        grey = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
        return cls(grey.astype(np.float32).ravel(), _colours(hsv))

    def similarity(self, other: _Appearance) -> float:
        """Compare two faces: 1 where they look the same, about 0.4 for strangers."""
        shades = correlation(self.shades, other.shades)
        return SHADES_SHARE * shades + (1 - SHADES_SHARE) * float(self.colours @ other.colours)


def _colours(hsv: np.ndarray) -> np.ndarray:
    half = len(hsv) // 2
    quarters = [hsv[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    counts = [
        cv2.calcHist([quarter], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256])
        for quarter in quarters
    ]
    return np.sqrt(np.concatenate(counts, axis=None) / (4 * half * half))


@dataclass(eq=False)
class _Track:
    """A person, as far as the clip has been seen.

    Attributes:
        moments: with small crops.
        candidates: the most suspicious of them, with the crops that the detector keeps.
        appearances: of a few sightings that differ.
        places: the last two of the scene, with their times: `[centre x, centre y, size]` in px.
        scene: number of the scene of the last sighting.
        look: number of the look of the last sighting.
        presence: sum of the moments' weights.
    """

    moments: list[Moment] = field(default_factory=list)
    candidates: list[Moment] = field(default_factory=list)
    appearances: list[_Appearance] = field(default_factory=list)
    places: deque[tuple[float, np.ndarray]] = field(default_factory=lambda: deque(maxlen=2))
    scene: int = 0
    look: int = 0
    presence: float = 0.0

    def add(self, moment: Moment, appearance: _Appearance, scene: int, look: int) -> None:
        """Add a sighting."""
        judgement = moment.judgement
        if scene != self.scene:
            self.places.clear()
        self.places.append((moment.seconds, _place(judgement.face)))
        if len(self.appearances) == APPEARANCES:
            self.appearances.remove(max(self.appearances, key=appearance.similarity))
        self.appearances.append(appearance)
        self.scene, self.look = scene, look
        best = sorted([*self.candidates, moment], key=lambda one: (one.too_small, -one.probability))
        self.candidates = best[:CANDIDATES]
        strip = judgement.crop.copy()
        strip.thumbnail((STRIP_SIDE, STRIP_SIDE))
        self.moments.append(replace(moment, judgement=replace(judgement, crop=strip)))

    @property
    def is_small(self) -> bool:
        """Whether the face has too few pixels in every frame."""
        return all(moment.too_small for moment in self.moments)

    @property
    def is_doubtful(self) -> bool:
        """Whether it is more likely a mistake of the finder, an ear for instance: small, and seen
        only once."""
        return self.is_small and len(self.moments) == 1

    def distance(self, seconds: float, place: np.ndarray) -> float:
        """Return how far a place is from where the person should be at a time, in face sizes.

        Who moved should go on, for no longer than the time between the last two sightings; who is
        still about where they were has stopped, which counts for a little less.
        """
        (before, first), (then, last) = self.places[0], self.places[-1]
        ahead = last.copy()
        if then > before:
            ahead[:2] += (last - first)[:2] * min(1.0, (seconds - then) / (then - before))
        moved, stayed = (
            float(np.hypot(*(place - at)[:2]) + abs(place - at)[2]) for at in (ahead, last)
        )
        size = min(last[2], place[2])
        return min(moved / size, stayed / size + STOPPED)


def _place(face: Face) -> np.ndarray:
    return np.array([*face.centre, face.side])


class People:
    """Tells the people of a clip apart.

    A face belongs to the person who should be about there by now, if it looks somewhat alike, or
    else to whoever it resembles closely, as after a cut. Of all pairs of a person and a face of
    one frame the best are taken first, and each only once: nobody is in a frame twice. A face that
    fits nobody is somebody new.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self._tracks: list[_Track] = []
        self._scene = self._look = self._forgotten = 0

    def change_scene(self) -> None:
        """Expect nobody where they were."""
        self._scene += 1

    def add(self, seconds: float, judgements: list[Judgement]) -> None:
        """Add the faces of a frame."""
        self._look += 1
        appearances = [_Appearance.of(judgement.crop) for judgement in judgements]
        pairs = self._pair(seconds, judgements, appearances)
        # The known ones first, so that none of them makes room for a new one.
        for number in sorted(range(len(judgements)), key=lambda number: number not in pairs):
            track = pairs.get(number) or self._new_track()
            moment = Moment(seconds, judgements[number])
            track.presence += _weight(moment, self._config)
            track.add(moment, appearances[number], self._scene, self._look)

    def _pair(
        self, seconds: float, judgements: list[Judgement], appearances: list[_Appearance]
    ) -> dict[int, _Track]:
        """Return the known person for each face that has one, by the number of the face."""
        scored = [
            (self._score(track, seconds, judgement.face, appearance), number, track)
            for track in self._tracks
            for number, (judgement, appearance) in enumerate(
                zip(judgements, appearances, strict=True)
            )
        ]
        pairs: dict[int, _Track] = {}
        for score, number, track in sorted(scored, key=lambda one: -one[0]):
            if score > 0 and number not in pairs and track not in pairs.values():
                pairs[number] = track
        return pairs

    def _score(self, track: _Track, seconds: float, face: Face, appearance: _Appearance) -> float:
        """Return how well a face fits to a person; 0 where it does not."""
        similarity = max(appearance.similarity(one) for one in track.appearances)
        if track.scene == self._scene and self._look - track.look <= GAP_LOOKS:
            distance = track.distance(seconds, _place(face))
            if distance < REACH and similarity >= SIMILAR_NEARBY:
                return 1 + similarity - distance
        return similarity if similarity >= SIMILAR_AGAIN else 0.0

    def _new_track(self) -> _Track:
        if len(self._tracks) == MAX_TRACKED:
            gone = [track for track in self._tracks if track.look < self._look]
            least = min(gone, key=lambda track: track.presence)
            self._tracks.remove(least)
            self._forgotten += not least.is_doubtful
        self._tracks.append(_Track())
        return self._tracks[-1]

    def ranked(self) -> tuple[list[Person], int]:
        """Return those who are seen most and largest, in the order of appearance, and how many
        others were told apart."""
        known = [track for track in self._tracks if not track.is_doubtful] or self._tracks
        large = [track for track in known if not track.is_small] or known
        ranked = sorted(large, key=lambda track: -track.presence)[:MAX_PEOPLE]
        ranked.sort(key=lambda track: track.moments[0].seconds)
        people = [self._person(number, track) for number, track in enumerate(ranked, start=1)]
        return people, len(known) - len(people) + self._forgotten

    def _person(self, number: int, track: _Track) -> Person:
        probability = aggregate(track.moments, self._config)
        return Person(
            number,
            track.moments,
            probability,
            self._config.verdict(probability),
            choose_suspicious(track.candidates),
        )
