"""What the page says about the model, and about what its scores mean."""

import dataclasses
import html
import re

import pytest

from space.about import KINDS, about_page, broken_promise, figures_table, in_short, share
from space.contract import ScoreBin
from space.detector import Detector, load_bundled
from space.score_meaning import meaning_of, pool, wilson_interval
from space.verdicts import explain
from tests.space.test_views import words

RISING = [ScoreBin(0, 0.3, 50, 0.1), ScoreBin(0.3, 0.7, 50, 0.5), ScoreBin(0.7, 1, 50, 0.9)]
JUMPING = [
    ScoreBin(0, 0.1, 40, 0.25),
    ScoreBin(0.1, 0.3, 60, 0.05),
    ScoreBin(0.3, 0.6, 50, 0.6),
    ScoreBin(0.6, 0.8, 50, 0.4),
    ScoreBin(0.8, 1, 40, 0.95),
]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_bundled()


def test_bins_that_rise_stay_as_they_are():
    assert pool(RISING) == RISING


def test_bins_that_fall_are_merged_with_what_they_hold():
    pooled = pool(JUMPING)
    assert [(score_bin.low, score_bin.high, score_bin.photos) for score_bin in pooled] == [
        (0, 0.3, 100),
        (0.3, 0.8, 100),
        (0.8, 1, 40),
    ]
    assert [score_bin.fake_share for score_bin in pooled] == pytest.approx([0.13, 0.5, 0.95])


@pytest.mark.parametrize("bins", [RISING, JUMPING, load_bundled().config.score_bins])
def test_a_higher_score_never_means_less(bins):
    shares = [meaning_of(score / 100, bins).fake_share for score in range(101)]
    assert shares == sorted(shares)
    for score in range(101):
        meaning = meaning_of(score / 100, bins)
        assert 0 <= meaning.low <= meaning.fake_share <= meaning.high <= 1


def test_nothing_measured_means_nothing():
    assert meaning_of(0.5, []) is None
    assert meaning_of(0.5, [ScoreBin(0, 1, 0, 0.0)]) is None


def test_interval_is_wilsons():
    # 3 of 10 photos: (0.108, 0.603) in Newcombe 1998, "Two-sided confidence intervals".
    assert wilson_interval(0.3, 10) == pytest.approx((0.108, 0.603), abs=1e-3)


@pytest.mark.parametrize(("verdict", "score"), [("real", 0.9), ("fake", 0.1)])
def test_a_meaning_that_speaks_against_the_verdict_is_not_said(detector, verdict, score):
    config = dataclasses.replace(detector.config, score_bins=RISING)
    assert "were fake" in words(explain(verdict, None, 1 - score, config))
    assert "were fake" not in words(explain(verdict, None, score, config))


def test_error_rates_are_those_of_the_model(detector):
    figures = detector.config.metrics["test"]
    text = words(figures_table(detector.config))
    assert f"Measured on {figures['photos']} photos" in text
    for name in ("fake_called_fake", "real_called_fake", "inconclusive"):
        figure = figures["verdicts"][name]
        assert f"{figure['value']:.0%} ({figure['low']:.0%} to {figure['high']:.0%})" in text
    for source in figures["by_source"].values():
        assert f" {source['photos']} " in text
    bare = dataclasses.replace(detector.config, metrics={})
    assert "comes without test figures" in words(figures_table(bare))


def test_the_first_sentences_say_how_often_it_is_right(detector):
    def tier(found, accused, left_open):
        names = ("fake_called_fake", "real_called_fake", "abstained")
        return {
            name: {"value": value}
            for name, value in zip(names, (found, accused, left_open), strict=True)
        }

    tiers = {"trained_kinds": tier(0.484, 0.001, 0.54), "unseen_kinds": tier(0, 0.1, None)}
    config = dataclasses.replace(detector.config, metrics={"test": {"tiers": tiers}})
    assert words(in_short(config)) == (
        "Of 100 fakes of the kinds it was trained on, it calls 48 fake; of 100 real photos tested "
        "with them, it accuses fewer than 1 wrongly; for 54 of 100 such photos, it gives no "
        "answer. Of 100 fakes of kinds it never saw, it calls 0 fake; of 100 real photos tested "
        "with them, it accuses 10 wrongly."
    )
    verdicts = detector.config.metrics["test"]["verdicts"]
    plain = dataclasses.replace(detector.config, metrics={"test": {"verdicts": verdicts}})
    number = f"{100 * verdicts['fake_called_fake']['value']:.0f}"
    assert words(in_short(plain)).startswith(f"Of 100 fakes, it calls {number} fake; of 100 real")
    assert in_short(dataclasses.replace(detector.config, metrics={})) == ""


def test_the_page_answers_its_question_first_and_lists_each_training_set_once(
    detector, monkeypatch
):
    config = dataclasses.replace(
        detector.config,
        sources=["dfdc", "web", "latent"],
        promise={"kept": False, "broken": ["In “mine”, 9 of 30 real photos are called fake."]},
    )
    monkeypatch.setattr(detector, "config", config)
    shown = about_page(detector, "")
    text = words(shown)
    assert text.startswith("How often is it right? Of 100 fakes")
    parts = ("What to do", "<li>In “mine”, 9 of 30", "<table", "Was an answer wrong", "<details>")
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    sets = re.findall("<li>(.*?)</li>", shown[places[-1] :])
    assert [label.lower() for label in sets] == [KINDS[name] for name in config.sources]


def test_training_sets_that_nobody_described_are_named_as_the_model_does(detector, monkeypatch):
    config = dataclasses.replace(
        detector.config, sources=["mine", "dfdc"], trained_on="photos of mine"
    )
    monkeypatch.setattr(detector, "config", config)
    shown = about_page(detector, "")
    assert "It was trained on photos of mine." in words(shown)


def test_a_promise_that_is_kept_needs_no_word(detector):
    assert broken_promise(dataclasses.replace(detector.config, promise={"kept": True})) == ""


def test_no_mistake_among_few_photos_is_no_proof_of_none():
    never = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert words(share(never, 33)) == "0% (0% to 10%)"
    assert words(share(never, None)) == "0% (0% to 0%)"
    assert words(share(None, 33)) == "not measured"


def test_a_set_without_fakes_has_no_share_of_them(detector):
    figure = {"value": 0.02, "low": 0.0, "high": 0.05}
    nothing = dict.fromkeys(("value", "low", "high"))
    web = {"photos": 77, "fake_called_fake": nothing, "real_called_fake": figure}
    test = detector.config.metrics["test"] | {"by_source": {"web": web}}
    text = words(figures_table(dataclasses.replace(detector.config, metrics={"test": test})))
    assert "Ordinary photos from the web 77 2% (0% to 5%) not measured not measured" in text


def test_a_wrong_answer_can_be_reported_where_the_model_is_from(detector, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert "discussions" not in about_page(detector, "")
    monkeypatch.setattr(detector, "name", "someone/detector @ 01234567")
    link = re.search(r'href="([^"]*discussions[^"]*)"', about_page(detector, ""))[1]
    assert html.unescape(link).startswith(
        "https://huggingface.co/someone/detector/discussions/new?title="
    )
    assert detector.config.sha256 in link
