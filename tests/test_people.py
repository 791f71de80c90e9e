import math

import numpy as np
import pytest
from PIL import Image

from space.contract import DetectorConfig
from space.detector import BUNDLED
from space.faces import Face
from space.judgements import Judgement, Prediction
from space.people import Moment, aggregate, choose_suspicious

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
    assert [one.seconds for one in chosen] == [0.5, 1.5, 2.5]
    assert choose_suspicious(moments[:2]) == [moments[1]]
