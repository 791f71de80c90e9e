from pathlib import Path

import numpy as np
import pytest

from training.data.rows import PARTS, Photo
from training.measure.answers import BETWEEN, NO_FACE, ORIGINAL, Answers
from training.measure.promise import broken_promises
from training.measure.rates import exact_bounds
from training.measure.stability import stability_figures
from training.measure.tier_figures import tier_figures
from training.measure.tier_tables import (
    accusations_table,
    found_table,
    reasons_sentences,
    stability_table,
    strengths_table,
    tiers_table,
)
from training.measure.tiers import ORDINARY, TRAINED, UNSEEN, assign_tiers


def photo(name: str, label: str = "real", source: str = "dfdc", group: str = "") -> Photo:
    unknown = dict.fromkeys(PARTS)
    return Photo(
        f"{name}.jpg", label, source, "", **unknown, group=group or name, face="",
        path=Path(f"{name}.jpg"),
    )  # fmt: skip


def answers(probabilities: list[float], reasons: dict[int, str] | None = None) -> Answers:
    """Return answers with thresholds of 0.3 and 0.7."""
    values = np.array(probabilities)
    verdicts = np.select([values >= 0.7, values < 0.3], ["fake", "real"], "inconclusive")
    explanations = np.where(verdicts == "inconclusive", BETWEEN, "").astype(object)
    for index, reason in (reasons or {}).items():
        verdicts[index], explanations[index] = "inconclusive", reason
    return Answers(values, verdicts, explanations.astype(str), np.ones(len(values), bool))


def test_kinds_that_lie_in_the_test_split_alone_were_never_seen():
    split = [
        photo("simswap-a__1", "fake", "methods"),
        photo("celebdf-b__1", "fake", "methods"),
        photo("one", "fake", "dfdc"),
        photo("two", "real", "web"),
        photo("three", "fake", "mine"),
    ]
    others = [photo("celebdf-c__7", "fake", "methods"), photo("simswap-x", "fake", "dfdc")]
    known = ["dfdc", "methods", "web"]
    assert assign_tiers(split, others, known) == [UNSEEN, TRAINED, TRAINED, ORDINARY, UNSEEN]
    assert assign_tiers(split, others, [])[-1] == TRAINED  # nobody knows what it was trained on
    assert assign_tiers(split, others, ["dfdc"])[1] == UNSEEN


@pytest.fixture
def measured():
    photos = [
        photo("a", group="v"), photo("b", group="v"), photo("c"), photo("d"),
        photo("e", "fake"), photo("f", "fake"), photo("g", source="web"), photo("h", source="web"),
    ]  # fmt: skip
    tiers = [TRAINED] * 6 + [ORDINARY] * 2
    original = answers([0.8, 0.1, 0.5, 0.9, 0.9, 0.2, 0.1, 0.75], {3: NO_FACE, 7: "blurred"})
    stored = answers([0.8, 0.8, 0.5, 0.1, 0.9, 0.2, 0.1, 0.9])
    return photos, tier_figures(photos, tiers, {ORIGINAL: original, "JPEG": stored}, samples=20)


def test_accusations_are_counted_by_tier_source_and_change(measured):
    _, tiers = measured
    assert list(tiers) == [TRAINED, ORDINARY]  # no tier without photos
    accused = tiers[TRAINED]["real_called_fake"]
    assert (accused["hits"], accused["photos"], accused["groups"]) == (1, 4, 3)
    assert (accused["low"], accused["high"]) == pytest.approx(exact_bounds(1, 4, 3))
    assert tiers[TRAINED]["changed"]["JPEG"]["real_called_fake"]["hits"] == 2
    assert tiers[TRAINED]["by_source"]["dfdc"]["real_called_fake"] == accused
    assert tiers[TRAINED]["fake_called_fake"]["hits"] == 1
    assert tiers[TRAINED]["fake_called_real"]["hits"] == 1
    assert tiers[ORDINARY]["real_called_fake"]["hits"] == 0  # 0.75, but blurred
    assert tiers[ORDINARY]["changed"]["JPEG"]["real_called_fake"]["hits"] == 1
    assert tiers[ORDINARY]["fake_called_fake"]["value"] is None


def test_abstentions_have_reasons(measured):
    _, tiers = measured
    assert tiers[TRAINED]["abstained"]["hits"] == 2
    assert tiers[TRAINED]["reasons"] == {BETWEEN: 1, NO_FACE: 1}
    assert tiers[ORDINARY]["reasons"] == {"blurred": 1}
    sentences = reasons_sentences({"tiers": tiers})
    assert "Of 2 photos (ordinary photos) 1 got no verdict (face too blurred 1)." in sentences


def test_photos_without_a_face_are_not_ranked(measured):
    _, tiers = measured  # the real photo at 0.9 has no face, and would lower it
    assert tiers[TRAINED]["roc_auc"]["value"] == pytest.approx(4 / 6)
    assert sum(tiers[TRAINED]["strengths"]["real"].values()) == 3
    assert tiers[ORDINARY]["roc_auc"]["value"] is None
    assert tiers[ORDINARY]["cllr"]["value"] is None


def test_a_tier_without_any_face_has_rates_alone():
    tiers = tier_figures([photo("a")], [ORDINARY], {ORIGINAL: answers([0.9], {0: NO_FACE})})
    assert tiers[ORDINARY]["abstained"]["value"] == 1
    assert "not defined" in tiers_table({"tiers": tiers})


def test_tables_lead_with_the_tier_and_then_its_sources(measured):
    _, tiers = measured
    lines = accusations_table({"tiers": tiers}).splitlines()
    assert lines[0] == "| real photos called fake | as they are | JPEG |"
    starts = [line.split(" | ")[0] for line in lines[2:]]
    assert starts == [
        "| **kinds it was trained on**", "| Deepfake Detection Challenge",
        "| **ordinary photos**", "| faces of the open web",
    ]  # fmt: skip
    assert "| 1 of 4 (25.0 %; " in lines[2]
    assert len(found_table({"tiers": tiers}).splitlines()) == 4  # ordinary photos hold no fakes
    assert tiers_table({"tiers": tiers}).splitlines()[2].startswith("| real photos called fake |")
    assert "moderate" not in strengths_table({"tiers": tiers})
    assert "| weak support for real | 1 | 1 | 1 |" in strengths_table({"tiers": tiers})
    tiers[ORDINARY]["by_source"]["web"]["trained_on"] = True
    assert "| faces of the open web; others trained on | " in accusations_table({"tiers": tiers})
    assert accusations_table({}) == tiers_table({}) == strengths_table({}) == ""


def test_a_change_that_changed_nothing_is_no_figure():
    same = answers([0.1, 0.2])
    same = Answers(same.probabilities, same.verdicts, same.reasons, np.zeros(2, bool))
    tiers = tier_figures([photo("a"), photo("b")], [TRAINED] * 2, {ORIGINAL: same, "512": same})
    assert "| none is larger |" in accusations_table({"tiers": tiers})


def test_promises_are_broken_by_more_than_chance():
    photos = [photo(f"{n}", source="web") for n in range(100)]
    photos += [photo(f"{n}", source="rmfd") for n in range(100)]
    scores = [0.9] * 12 + [0.1] * 88 + [0.9] * 3 + [0.1] * 97
    tiers = tier_figures(photos, [ORDINARY] * 200, {ORIGINAL: answers(scores)}, samples=2)
    (sentence,) = broken_promises(tiers)  # 3 of 100 may be 2 % plus bad luck
    assert sentence.startswith(
        "In “faces of the open web” (ordinary photos), 12 of 100 real photos "
    )
    assert "are called fake (12.0 %; at least 6.4 %), " in sentence
    assert sentence.endswith("where at most 2 % were promised.")


def test_nothing_was_promised_of_kinds_that_it_never_saw():
    photos = [photo(f"{n}", "fake") for n in range(30)]
    judged = {ORIGINAL: answers([0.1] * 30)}
    assert broken_promises(tier_figures(photos, [UNSEEN] * 30, judged, samples=2)) == []
    (sentence,) = broken_promises(tier_figures(photos, [TRAINED] * 30, judged, samples=2))
    assert "30 of 30 fakes are called real (100.0 %; at least " in sentence
    assert sentence.endswith("where at most 5 % of all fakes together were promised.")


def test_verdicts_that_harmless_changes_flip_are_counted():
    photos = [photo(name) for name in "abcde"]
    before = answers([0.9, 0.9, 0.1, 0.9, 0.9], {4: NO_FACE})
    after = answers([0.1, 0.5, 0.1, 0.9, 0.1], {3: NO_FACE})
    mirrored = stability_figures(photos, {ORIGINAL: before, "mirrored": after})["mirrored"]
    assert (mirrored["flipped"]["hits"], mirrored["flipped"]["photos"]) == (3, 4)
    assert mirrored["reversed"]["hits"] == 1
    assert mirrored["largest"] == pytest.approx(2 * np.log10(9))  # the lost face has no ratio
    assert mirrored["median"] == pytest.approx(np.log10(9))
    assert "| mirrored | 3 of 4 (75.0 %; " in stability_table({"stability": {"mirrored": mirrored}})
