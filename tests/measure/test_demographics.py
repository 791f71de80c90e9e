import json

import pytest

from tests.measure.test_tiers import answers
from training.measure.demographics import (
    MIN_PHOTOS,
    apparent_traits,
    by_whom,
    holm,
    read_by_whom,
)
from training.measure.tier_tables import whom_sentences, whom_table


def test_names_of_utkface_tell_who_is_shown():
    assert apparent_traits("26_1_3_20170116160253328.jpg.chip.jpg") == {
        "apparent age": "18 to 39",
        "apparent sex": "female",
        "apparent ethnicity": "Indian",
    }
    assert apparent_traits("100_0_0_20170112213500903.jpg")["apparent age"] == "60 and older"
    for name in ("61_1_20170109150557335.jpg", "IMG_0001.jpg", "26_1_7_2017.jpg"):
        assert apparent_traits(name) == {}


def test_holm_multiplies_the_smallest_most_and_keeps_the_order():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    assert holm([]) == []


def test_differences_between_people_are_found_and_told():
    number = 60
    scores = [0.9] * 30 + [0.1] * 30 + [0.1] * number  # half of one sex, none of the other
    traits = {
        "apparent sex": ["female"] * number + ["male"] * number,
        "apparent age": ["18 to 39", "40 to 59"] * number,
        "hair": ["red"] * (MIN_PHOTOS - 1) + [""] * (2 * number - MIN_PHOTOS + 1),
    }
    groups = [str(index) for index in range(2 * number)]
    by_trait = by_whom(traits, groups, answers(scores))
    assert list(by_trait) == ["apparent sex", "apparent age"]  # too few photos of known hair
    women = by_trait["apparent sex"]["values"]["female"]
    assert (women["called_fake"]["hits"], women["called_fake"]["photos"]) == (30, 60)
    tests = by_trait["apparent sex"]["tests"]
    assert tests["called_fake"]["corrected"] < 0.01
    assert tests["called_fake"]["corrected"] > tests["called_fake"]["p"]
    assert tests["abstained"]["p"] == 1  # every photo got a verdict
    assert by_trait["apparent age"]["tests"]["called_fake"]["corrected"] == 1
    sentences = whom_sentences({"by_whom": by_trait})
    assert "By apparent sex, real photos are called fake more often for some than for" in sentences
    assert "By apparent age, real photos are called fake about as often" in sentences
    assert "| apparent sex | female | 30 of 60 (50.0 %; " in whom_table({"by_whom": by_trait})


def test_nearly_equal_shares_are_not_told_apart():
    scores = [0.9 if index % 40 < 5 else 0.1 for index in range(200)]
    traits = {"x": ["a", "b", "c", "d"] * 50}  # 10 of 50 in a, 5 of 50 in each other group
    by_trait = by_whom(traits, [str(index) for index in range(200)], answers(scores))
    assert by_trait["x"]["tests"]["called_fake"]["p"] > 0.05
    assert by_whom({}, [], answers([])) == {}
    assert whom_table({}) == whom_sentences({}) == ""


def test_answers_of_another_network_are_called_that(tmp_path):
    path = tmp_path / "by-whom.json"
    assert read_by_whom("same", path) == {}
    traits = {"x": ["a", "b"] * MIN_PHOTOS}
    groups = [str(index) for index in range(2 * MIN_PHOTOS)]
    network = {"photos": 3000, "input_size": 96, "left_out": ["utk", "latent"]}
    figures = {"by_whom": by_whom(traits, groups, answers([0.1] * 2 * MIN_PHOTOS))}
    figures["by_whom_network"] = network
    path.write_text(json.dumps({"data_fingerprint": "same", "figures": figures}))
    assert read_by_whom("other", path) == {}
    assert read_by_whom("same", path) == figures
    sentences = whom_sentences(figures)
    assert sentences.startswith(
        "The model itself learned from these photos, so these are the answers"
    )
    assert "on 3000 photos at 96 px. By x, real photos are called fake about as often" in sentences


def test_photos_that_training_saw_compare_nobody():
    sentences = whom_sentences({"by_whom": {}, "by_whom_trained_on": 1019})
    assert sentences.startswith("Not measured: all 1019 photos that tell whom they show")
