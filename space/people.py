"""Tell the people of a clip apart, and combine the judgements of each into one answer."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

if __package__:
    from .appearance import Appearance
    from .contract import DetectorConfig, log_odds
    from .faces import Face
    from .judgements import Judgement
else:
    from appearance import Appearance
    from contract import DetectorConfig, log_odds
    from faces import Face
    from judgements import Judgement

# Who is who. Measured on the four sample clips and on crops of 400 strangers: any two sightings of
# a person in a clip have a similarity of at least 0.75 in 95 % of the cases (half a second apart,
# at least 0.8 in all). Of pairs of strangers, 0.3 % reach 0.75, or 2 % if the colours of one are
# made to match the other's.
SIMILAR_AGAIN = 0.75  # to be the same person anywhere
SIMILAR_NEARBY = 0.6  # to be the same person near where that person is expected
GAP_LOOKS = 3  # looks without a sighting, after which a person is not expected anywhere
REACH = 1.0  # greatest distance of a face from where it is expected, in face sizes,
STOPPED = 0.25  # and what is added for a person who stopped moving
APPEARANCES = 8  # kept per person
MAX_TRACKED = 30  # people in memory at once, more than in a frame
MAX_PEOPLE = 6  # reported

# Who gets a verdict. False detections of a finder come only now and then.
NEEDED_LOOKS = 3  # in which a person must be seen,
NEEDED_OF_FEW, FEW_LOOKS = 2, 8  # or this many in a clip with fewer looks
SEEN_TOO_LITTLE = "seen_too_little"  # the reason of a person who is seen in fewer
WEAK_SHARE = 0.95  # of the finder's usual confidence in a clip; less may be a false detection

# How the judgements of a person become one.
MAX_LOG_ODDS = 3.0
SUSPICIOUS, APART = 3, 1.0  # moments, and s between them
CANDIDATES = 8  # for these: more than can lie within 1 s of two others
STRIP_SIDE = 64  # px of the crops of all other moments


@dataclass(frozen=True)
class Moment:
    """A person in one frame.

    Attributes:
        seconds: time of the look in the clip, as the container counts it.
        judgement: of the person's face, with the box in px of the frame.
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

    @property
    def reason(self) -> str | None:
        """Why the face gets no verdict of its own; `None` if it gets one."""
        return self.judgement.reason

    @property
    def is_marked(self) -> bool:
        """Whether the score cannot be trusted: the face has a reason or is too small."""
        return self.too_small or self.reason is not None

    def as_dict(self) -> dict:
        """Return the moment in JSON types, without the pixels."""
        return {"seconds": round(self.seconds, 3), **self.judgement.as_dict()}


@dataclass(frozen=True)
class Person:
    """What the model says about one person of a clip.

    Attributes:
        number: from 1, in the order of appearance.
        moments: all that were judged, in the order of time; their crops are at most 64 px wide, as
            all of them are kept in memory.
        probability: of fake, 0 to 1: see `aggregate`.
        verdict: `"real"`, `"fake"` or `"inconclusive"`.
        suspicious: the moments with the highest probabilities, highest first: at most 3, at least
            1 s apart, with crops as the detector keeps them.
        reason: why the verdict can only be `"inconclusive"`: `"seen_too_little"`, or the reason of
            most moments; `None` if the probability decides.
    """

    number: int
    moments: list[Moment]
    probability: float
    verdict: str
    suspicious: list[Moment]
    reason: str | None = None

    @property
    def too_small(self) -> bool:
        """Whether the face has too few pixels in every frame."""
        return _all_too_small(self.moments)

    def as_dict(self) -> dict:
        """Return the person in JSON types, without the pixels."""
        scores = [
            [round(moment.seconds, 3), round(moment.probability, 4)] for moment in self.moments
        ]
        return {
            "number": self.number,
            "probability": self.probability,
            "verdict": self.verdict,
            "reason": self.reason,
            "too_small": self.too_small,
            "first_seen": scores[0][0],
            "last_seen": scores[-1][0],
            "scores": scores,
            "moments": [moment.as_dict() for moment in self.suspicious],
        }


def aggregate(moments: Sequence[Moment], config: DetectorConfig) -> float:
    """Return the probability of fake for a person, given that person's moments.

    It is the mean of their log-odds, turned back into a probability. Log-odds are the scale on
    which evidence adds and on which the detector is calibrated. The mean, not the sum, because
    frames of one clip show the same face in the same light: they are not independent, and many of
    them must not turn weak evidence into certainty. The log-odds are capped at 3 either way (0.05
    and 0.95), so that a frame that saturates the network counts little more than a confident one:
    beside seven frames at 0.5 it moves the answer to 0.59.

    A frame is weighted by the size of its face, up to the size that fills the network's input.
    Faces that cannot be trusted count only if there are no others.

    Args:
        moments: at least one.
        config: of the detector that judged them.
    """
    trusted = _trusted(moments)
    weights = [_weight(moment, config) for moment in trusted]
    capped = [_capped_log_odds(moment.probability) for moment in trusted]
    return 1 / (1 + math.exp(-float(np.average(capped, weights=weights))))


def choose_suspicious(moments: Sequence[Moment]) -> list[Moment]:
    """Return the moments with the highest probabilities, highest first.

    They are at most 3, at least 1 s apart. Faces that cannot be trusted are among them only if
    there are no others.
    """
    chosen: list[Moment] = []
    for moment in sorted(_trusted(moments), key=lambda moment: -moment.probability):
        # Times are multiples of the frame duration, so 1 s may come out a little shorter.
        if all(abs(moment.seconds - earlier.seconds) > APART - 1e-3 for earlier in chosen):
            chosen.append(moment)
    return chosen[:SUSPICIOUS]


def common_reason(moments: Sequence[Moment]) -> str | None:
    """Return the most frequent reason among the moments of one person.

    `None` unless more than half of them have a reason.
    """
    reasons = Counter(moment.reason for moment in moments if moment.reason)
    if 2 * reasons.total() <= len(moments):
        return None
    return reasons.most_common(1)[0][0]


def _all_too_small(moments: Sequence[Moment]) -> bool:
    return all(moment.too_small for moment in moments)


def _trusted(moments: Sequence[Moment]) -> Sequence[Moment]:
    return [moment for moment in moments if not moment.is_marked] or moments


def _weight(moment: Moment, config: DetectorConfig) -> float:
    face = moment.judgement.face
    full = config.input_size / config.crop_margin
    return 1.0 if face is None else min(1.0, face.side / full)


def _capped_log_odds(probability: float) -> float:
    return min(max(log_odds(probability), -MAX_LOG_ODDS), MAX_LOG_ODDS)


def in_words(reason: str) -> str:
    """Return the key of a reason as words."""
    return reason.replace("_", " ")


@dataclass(eq=False)
class _Track:
    """A person in the part of the clip seen so far.

    Attributes:
        moments: with small crops.
        candidates: the most suspicious moments, with crops as the detector keeps them.
        appearances: of a few sightings that differ.
        places: the last two in the scene, each with its time: `[centre x, centre y, size]` in px.
        scene: number of the scene of the last sighting.
        look: number of the look of the last sighting.
        presence: sum of the moments' weights.
    """

    moments: list[Moment] = field(default_factory=list)
    candidates: list[Moment] = field(default_factory=list)
    appearances: list[Appearance] = field(default_factory=list)
    places: deque[tuple[float, np.ndarray]] = field(default_factory=lambda: deque(maxlen=2))
    scene: int = 0
    look: int = 0
    presence: float = 0.0

    def add(self, moment: Moment, appearance: Appearance, scene: int, look: int) -> None:
        """Add a sighting."""
        judgement = moment.judgement
        if scene != self.scene:
            self.places.clear()
        self.places.append((moment.seconds, _place(judgement.face)))
        if len(self.appearances) == APPEARANCES:
            self.appearances.remove(max(self.appearances, key=appearance.similarity))
        self.appearances.append(appearance)
        self.scene, self.look = scene, look
        ranked = sorted(
            [*self.candidates, moment],
            key=lambda candidate: (candidate.is_marked, -candidate.probability),
        )
        self.candidates = ranked[:CANDIDATES]
        small_crop = judgement.crop.copy()
        small_crop.thumbnail((STRIP_SIDE, STRIP_SIDE))
        self.moments.append(replace(moment, judgement=replace(judgement, crop=small_crop)))

    def is_doubtful(self, confidence: float) -> bool:
        """Return whether this is probably a false detection, of an ear for instance.

        It is if it was seen only once, and marked or found with less than this confidence.
        """
        if len(self.moments) > 1:
            return False
        (moment,) = self.moments
        face = moment.judgement.face
        return moment.is_marked or (face is not None and face.confidence < confidence)

    def distance(self, seconds: float, place: np.ndarray) -> float:
        """Return how far a place is from where the person should be at a time, in face sizes.

        A person who moved is expected to move on, for no longer than the time between the last two
        sightings. A person near the last place has stopped, which adds `STOPPED` to the distance.
        """
        (earlier, first), (later, last) = self.places[0], self.places[-1]
        ahead = last.copy()
        if later > earlier:
            ahead[:2] += (last - first)[:2] * min(1.0, (seconds - later) / (later - earlier))
        moved, stayed = (
            float(np.hypot(*(place - expected)[:2]) + abs(place - expected)[2])
            for expected in (ahead, last)
        )
        size = min(last[2], place[2])
        return min(moved / size, stayed / size + STOPPED)


def _place(face: Face) -> np.ndarray:
    return np.array([*face.centre, face.side])


class People:
    """Tells the people of a clip apart.

    A face belongs to the person expected near its place, if the two look somewhat alike, or else
    to anybody whom it resembles closely, as after a cut. The best pairs of a person and a face of a
    frame are matched first, and each person only once: nobody is in a frame twice. A face that
    matches nobody starts a new person.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._config = config
        self._tracks: list[_Track] = []
        self._scene = self._look = self._forgotten = 0

    def change_scene(self) -> None:
        """Start a new scene: nobody is expected where they were."""
        self._scene += 1

    def add(self, seconds: float, judgements: list[Judgement]) -> None:
        """Add the faces of a frame."""
        self._look += 1
        appearances = [Appearance.of(judgement.crop) for judgement in judgements]
        pairs = self._pair(seconds, judgements, appearances)
        # Known people first, so that none of them makes room for a new one.
        for number in sorted(range(len(judgements)), key=lambda number: number not in pairs):
            track = pairs.get(number) or self._new_track()
            moment = Moment(seconds, judgements[number])
            track.presence += _weight(moment, self._config)
            track.add(moment, appearances[number], self._scene, self._look)

    def _pair(
        self, seconds: float, judgements: list[Judgement], appearances: list[Appearance]
    ) -> dict[int, _Track]:
        """Return the known person of each face that has one, by the index of the face."""
        scored = [
            (self._score(track, seconds, judgement.face, appearance), number, track)
            for track in self._tracks
            for number, (judgement, appearance) in enumerate(
                zip(judgements, appearances, strict=True)
            )
        ]
        pairs: dict[int, _Track] = {}
        for score, number, track in sorted(scored, key=lambda match: -match[0]):
            if score > 0 and number not in pairs and track not in pairs.values():
                pairs[number] = track
        return pairs

    def _score(self, track: _Track, seconds: float, face: Face, appearance: Appearance) -> float:
        """Return how well a face fits a person; 0 if it does not."""
        similarity = max(appearance.similarity(known) for known in track.appearances)
        if track.scene == self._scene and self._look - track.look <= GAP_LOOKS:
            distance = track.distance(seconds, _place(face))
            if distance < REACH and similarity >= SIMILAR_NEARBY:
                return 1 + similarity - distance
        return similarity if similarity >= SIMILAR_AGAIN else 0.0

    def _new_track(self) -> _Track:
        if len(self._tracks) == MAX_TRACKED:
            absent = [track for track in self._tracks if track.look < self._look]
            least = min(absent, key=lambda track: track.presence)
            self._tracks.remove(least)
            self._forgotten += not least.is_doubtful(self._weak_confidence())
        self._tracks.append(_Track())
        return self._tracks[-1]

    @property
    def needed(self) -> int:
        """Number of looks in which a person must be seen to get a verdict."""
        return NEEDED_OF_FEW if self._look < FEW_LOOKS else NEEDED_LOOKS

    def _weak_confidence(self) -> float:
        """Return the confidence below which a face may be a false detection.

        It is a share of the finder's confidence in people who are seen often; 0 if there are none.
        """
        confidences = [
            moment.judgement.face.confidence
            for track in self._tracks
            if len(track.moments) >= self.needed
            for moment in track.moments
            if moment.judgement.face is not None
        ]
        return WEAK_SHARE * float(np.median(confidences)) if confidences else 0.0

    def ranked(self) -> tuple[list[Person], int]:
        """Return the people seen most and largest, and the number of all others.

        They are in the order of appearance. People seen too little for a verdict are among them
        only if there are no others.
        """
        weak = self._weak_confidence()
        known = [track for track in self._tracks if not track.is_doubtful(weak)] or self._tracks
        frequent = [track for track in known if len(track.moments) >= self.needed] or known
        large = [track for track in frequent if not _all_too_small(track.moments)] or frequent
        ranked = sorted(large, key=lambda track: -track.presence)[:MAX_PEOPLE]
        ranked.sort(key=lambda track: track.moments[0].seconds)
        people = [self._person(number, track) for number, track in enumerate(ranked, start=1)]
        return people, len(known) - len(people) + self._forgotten

    def _person(self, number: int, track: _Track) -> Person:
        moments = track.moments
        is_seen = len(moments) >= self.needed
        reason = common_reason(moments) if is_seen else SEEN_TOO_LITTLE
        probability = aggregate(moments, self._config)
        verdict = "inconclusive" if reason else self._config.verdict(probability)
        suspicious = choose_suspicious(track.candidates)
        return Person(number, moments, probability, verdict, suspicious, reason)
