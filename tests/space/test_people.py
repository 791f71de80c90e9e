import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from space.contract import DetectorConfig
from space.detector import BUNDLED
from space.faces import Face
from space.judgements import Judgement, Prediction
from space.people import Moment, People, Person, aggregate, choose_suspicious

CONFIG = DetectorConfig.load(BUNDLED)


def judgement(probability: float, face: Face) -> Judgement:
    prediction = Prediction(
        probability, CONFIG.verdict(probability), None, np.zeros((7, 7), np.float32)
    )
    return Judgement(face, Image.new("RGB", (64, 64)), None, prediction)


def moment(seconds: float, probability: float, side: float = 200.0) -> Moment:
    return Moment(seconds, judgement(probability, Face((0, 0, side, side), None, 1.0)))


def test_one_saturated_frame_does_not_decide():
    undecided = [moment(second, 0.5) for second in range(7)]
    for probability in (0.999999, 1.0, 1e-6, 0.0):
        answer = aggregate([*undecided, moment(7, probability)], CONFIG)
        assert CONFIG.verdict(answer) == "inconclusive"
        assert answer != pytest.approx(0.5)
    assert aggregate([moment(0, 1.0)] * 3, CONFIG) == pytest.approx(1 / (1 + math.exp(-3)))


def test_many_weak_answers_stay_weak():
    assert aggregate([moment(n, 0.6) for n in range(60)], CONFIG) == pytest.approx(0.6)


def test_small_faces_count_less_and_too_small_ones_not_at_all():
    full = CONFIG.input_size / CONFIG.crop_margin
    large = [moment(0, 0.8, full), moment(1, 0.8, 3 * full)]
    assert aggregate([*large, moment(2, 0.2, full)], CONFIG) > 0.5
    with_half = aggregate([moment(0, 0.8, full), moment(1, 0.2, full / 2)], CONFIG)
    assert 0.5 < with_half < 0.8
    assert aggregate([*large, *[moment(n, 0.01, 40) for n in range(20)]], CONFIG) == pytest.approx(
        0.8
    )
    assert aggregate([moment(0, 0.1, 40)], CONFIG) == pytest.approx(0.1)


def test_suspicious_moments_lie_apart():
    scores = {0.0: 0.5, 0.5: 0.9, 1.0: 0.8, 1.5: 0.85, 2.0: 0.3, 2.5: 0.7, 9.0: 0.1}
    moments = [moment(seconds, probability) for seconds, probability in scores.items()]
    chosen = choose_suspicious([*moments, moment(5, 0.99, side=40)])
    assert [suspicious.seconds for suspicious in chosen] == [0.5, 1.5, 2.5]
    assert choose_suspicious(moments[:2]) == [moments[1]]


def seen(probability: float, reason: str | None = None, confidence: float = 0.95) -> Judgement:
    """Return a judgement of a face at the left of a frame."""
    face = Face((0, 0, 200, 200), None, confidence)
    return replace(judgement(probability, face), reason=reason)


def stranger(probability: float, reason: str | None = None, confidence: float = 0.95) -> Judgement:
    """Return a judgement of a face that looks like nobody else's, at the right of a frame."""
    usual = seen(probability, reason, confidence)
    face = replace(usual.face, box=(1000, 0, 200, 200))
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    return replace(usual, face=face, crop=Image.fromarray(noise))


def people_of(*looks: list[Judgement]) -> tuple[list[Person], int]:
    people = People(CONFIG)
    for number, faces in enumerate(looks):
        people.add(number / 2, faces)
    return people.ranked()


@pytest.mark.parametrize(
    ("times", "looks", "is_enough"), [(1, 7, False), (2, 7, True), (2, 8, False), (3, 8, True)]
)
def test_a_verdict_needs_several_looks(times, looks, is_enough):
    (person,), others = people_of(*[[seen(1.0)]] * times, *[[]] * (looks - times))
    assert others == 0
    assert person.probability > 0.9
    assert person.verdict == ("fake" if is_enough else "inconclusive")
    assert person.reason == person.as_dict()["reason"]
    assert person.reason == (None if is_enough else "seen_too_little")


def test_who_is_seen_too_little_is_counted_beside_others():
    (person,), others = people_of([seen(0.0), stranger(1.0)], *[[seen(0.0)]] * 9)
    assert (person.verdict, others) == ("real", 1)


@pytest.mark.parametrize("doubt", [{"reason": "blurred"}, {"confidence": 0.8}])
def test_a_phantom_does_not_count(doubt):
    looks = [[seen(0.0)]] * 27
    (person,), others = people_of([seen(0.0), stranger(1.0, **doubt)], *looks)
    assert (person.verdict, others) == ("real", 0)
    (alone,), others = people_of([stranger(1.0, **doubt)], *[[]] * 27)
    assert (alone.verdict, others) == ("inconclusive", 0)


def test_reason_of_most_looks_is_the_reason_of_a_person():
    blurred = [[seen(1.0, "blurred")]] * 4
    (person,), _ = people_of(*blurred, [seen(1.0, "cut")], *[[seen(1.0)]] * 4)
    assert (person.verdict, person.reason) == ("inconclusive", "blurred")
    (person,), _ = people_of(*blurred, *[[seen(0.0)]] * 4)
    assert (person.verdict, person.reason) == ("real", None)
    # Looks with a reason do not move the answer if there are better ones.
    assert person.probability == pytest.approx(1 / (1 + math.exp(3)))
