import base64
import csv
import dataclasses
import hashlib
import html
import io
import re

import numpy as np
import pytest
from PIL import Image

from space.batch_views import Row, as_csv, batch_answer
from space.crops import crop_face
from space.detector import Detector, load_bundled
from space.faces import Face
from space.judgements import Judgement
from space.pictures import photo_picture
from space.reports import download_link, report
from space.verdicts import WORDS, headline, zone_bar
from space.video_views import _clock
from space.views import MANY, answer, problem, summary
from tests.drawing import draw_face


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_bundled()


def judged(
    detector: Detector,
    verdict: str,
    *,
    side: float = 120,
    place: float = 10,
    reason: str | None = None,
    probability: float | None = None,
) -> Judgement:
    """Return the model's judgement of a drawn face, with a verdict of the test's choice."""
    (judgement,) = detector.judge_faces(
        draw_face(1, 300), [Face((place, 20, side, side), None, 0.9)]
    )
    thresholds = detector.config.thresholds
    middle = (thresholds["real"] + thresholds["fake"]) / 2
    if probability is None:
        probability = {"real": thresholds["real"] / 2, "inconclusive": middle, "fake": 0.99}[
            verdict
        ]
    heatmap = np.eye(10, dtype=np.float32)
    prediction = dataclasses.replace(
        judgement.prediction, verdict=verdict, probability=probability, heatmap=heatmap
    )
    return dataclasses.replace(judgement, prediction=prediction, reason=reason)


def words(text: str) -> str:
    """Return the text that a reader of some HTML sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_summary_counts_the_verdicts(detector):
    real, fake = judged(detector, "real"), judged(detector, "fake")
    assert summary([]) == "No face found."
    assert summary([fake]) == "One face: likely fake."
    assert summary([detector.judge_whole(draw_face(1, 300))]).startswith("The whole picture: ")
    assert summary([real, fake, real]) == "3 faces: 1 likely fake, 2 likely real."


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        (["fake"], "Signs of manipulation in this face"),
        (["real"], "No signs of manipulation in this face"),
        (["inconclusive"], "The model cannot tell about this face"),
        (["fake", "real", "fake"], "Signs of manipulation in 2 of 3 faces"),
        (["fake", "fake"], "Signs of manipulation in all 2 faces"),
        (["real", "real"], "No signs of manipulation in any of 2 faces"),
        (["inconclusive"] * 4, "The model cannot tell about any of 4 faces"),
        (
            ["real", "inconclusive", "real"],
            "No signs of manipulation in 2 of 3 faces; the model cannot tell about 1",
        ),
    ],
)
def test_headline_says_in_plain_words_what_was_found(verdicts, text):
    assert headline(verdicts) == text
    assert headline(["fake", "real"], "person") == "Signs of manipulation in 1 of 2 people"


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        (["inconclusive"] * 2, "The model cannot tell about any of 2 photos"),
        (["", "", ""], "None of 3 photos could be judged"),
        ([""], "This photo could not be judged"),
        (["real"], "No signs of manipulation in this photo"),
        (["fake", "fake"], "Signs of manipulation in all 2 photos"),
        (["real", ""], "No signs of manipulation in 1 of 2 photos; 1 could not be judged"),
        (
            ["inconclusive", "", "inconclusive"],
            "The model cannot tell about 2 of 3 photos; 1 could not be judged",
        ),
        (
            ["real", "fake", "", "inconclusive", ""],
            "Signs of manipulation in 1 of 5 photos; the model cannot tell about 1; 2 could not "
            "be judged",
        ),
    ],
)
def test_headline_of_several_photos_reassures_of_none_that_was_not_cleared(
    detector, verdicts, text
):
    rows = [
        Row(f"{number}.jpg", 1, 1, judged(detector, verdict))
        if verdict
        else Row(f"{number}.jpg", 0, problem="No face found.")
        for number, verdict in enumerate(verdicts)
    ]
    shown = batch_answer(rows, len(rows), len(rows), "a model")
    assert re.search(r"<h2[^>]*>(.*?)</h2>", shown)[1] == text


def test_most_suspicious_face_comes_first_and_its_box_has_the_same_number(detector):
    faces = [
        judged(detector, "real", place=10, side=90),
        judged(detector, "fake", place=150, side=100),
        judged(detector, "inconclusive", reason="too_small", place=100, side=40, probability=0.99),
        judged(detector, "inconclusive", place=60, side=80),
    ]
    shown = answer(draw_face(1, 300), faces, detector)
    order = re.findall(r'aria-label="Face (\d)">.*?class="badge (\w+)"', shown, re.DOTALL)
    assert order == [
        ("1", "fake"),
        ("2", "inconclusive"),
        ("3", "inconclusive"),
        ("4", "real"),
    ]
    first = re.search(r'<g class="fake"><rect x="(\d+)".*?>(\d) ', shown)
    assert first.groups() == ("150", "1")
    text = words(shown)
    assert text.startswith("Signs of manipulation in 1 of 4 faces This is not proof.")
    assert text.count("This is not proof.") == 1
    assert "The face has too few pixels. Try a larger copy" in text


def test_a_face_without_a_verdict_gets_its_reason_and_no_score_that_contradicts_it(detector):
    shown = answer(
        draw_face(1, 300),
        [judged(detector, "inconclusive", reason="blurred", probability=0.99)],
        detector,
    )
    assert "The face is too blurred." in words(shown)
    assert 'class="bar' not in shown
    assert "validation photos" not in shown
    assert "heat-switch" not in shown


def test_heat_is_shown_and_described_unless_there_are_no_signs(detector):
    suspected = answer(draw_face(1, 300), [judged(detector, "fake")], detector)
    assert "evidence for fake" in words(suspected)
    assert suspected.count('class="heat-switch"') == suspected.count("<image ") == 1
    cleared = answer(draw_face(1, 300), [judged(detector, "real")], detector)
    assert "evidence for fake" not in words(cleared)
    assert 'class="heat' not in cleared


@pytest.mark.parametrize("roll", [0.0, 40.0, -90.0])
def test_heat_lies_on_the_photo_where_its_crop_was_cut_out(detector, roll):
    turn = np.radians(roll)
    right = np.array([np.cos(turn), np.sin(turn)])
    down = np.array([-np.sin(turn), np.cos(turn)])
    middle = np.array([150.0, 140.0])
    landmarks = np.float32([middle - 20 * right, middle + 20 * right, *[middle + 20 * down] * 3])
    face = Face((100, 90, 100, 100), landmarks, 0.9)
    assert face.roll == pytest.approx(roll, abs=0.1)
    # The colour of each pixel encodes its position, so a crop's pixels tell where they are from.
    y, x = np.mgrid[:300, :300]
    photo = Image.fromarray(np.stack([x, y, 0 * x], axis=2).clip(0, 255).astype(np.uint8))
    margin = detector.config.crop_margin
    crop = np.asarray(crop_face(photo, face, margin)).astype(int)
    judgement = dataclasses.replace(judged(detector, "fake"), face=face)
    place = re.search(
        r"translate\(([\d.]+) ([\d.]+)\) rotate\(([-\d.]+)\) scale\((\d+)\)",
        photo_picture(photo, [judgement], margin),
    )
    left, top, degrees, side = map(float, place.groups())
    turned = np.radians(degrees)
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    for share in ((0.25, 0.25), (0.75, 0.3)):
        expected = np.array([left, top]) + side * rotation @ (np.array(share) - 0.5)
        column, row = (round(v * crop.shape[0]) for v in share)
        assert crop[row, column, :2] == pytest.approx(expected, abs=2.5)


def test_forty_faces_are_a_grid_with_all_else_behind_a_click(detector):
    faces = [judged(detector, "fake", place=n, side=30) for n in range(40)]
    shown = answer(draw_face(1, 300), faces, detector)
    assert shown.count('<details class="face">') == 40 > MANY
    assert "<article" not in shown
    assert len(shown) < 1_500_000


def test_no_face_says_what_to_do(detector):
    text = words(answer(draw_face(1, 300), [], detector, "Only the first frame."))
    assert text.startswith("No face found Is there one?")
    assert "Only the first frame." in text


def test_whole_picture_is_marked_as_such(detector):
    shown = answer(draw_face(1, 300), [detector.judge_whole(draw_face(1, 300))], detector)
    assert re.search(r"<h2[^>]*>[^<]* this picture</h2>", shown)
    assert "without looking for a face" in words(shown)
    assert "<rect" not in shown


def test_verdicts_differ_without_colours(detector):
    badges = [
        words(
            re.search(
                r'<span class="badge.*?</span> [^<]*', answer(draw_face(1), [judgement], detector)
            )[0]
        )
        for judgement in (judged(detector, verdict) for verdict in ("real", "fake", "inconclusive"))
    ]
    assert len({text[0] for text in badges}) == len({text[2:] for text in badges}) == 3


@pytest.mark.parametrize(
    ("probability", "zone", "low", "high"),
    [(0.01, "real", 0, 33.4), (0.5, "inconclusive", 33.3, 66.7), (0.99, "fake", 66.6, 100)],
)
def test_bar_marks_the_score_in_its_zone(probability, zone, low, high):
    bar = zone_bar(probability, {"real": 0.05, "fake": 0.9})
    assert low <= float(re.search(r"left:([\d.]+)%", bar)[1]) <= high
    assert re.search(rf'class="{zone} here"', bar)
    assert words(bar) == "no signs found cannot tell signs of manipulation"
    assert f"{WORDS[zone]}; probability of fake {probability:.2f}" in bar


def test_bar_stands_thresholds_at_the_ends():
    for thresholds in ({"real": 0.0, "fake": 0.0}, {"real": 1.0, "fake": 1.0}):
        for probability in (0.0, 0.5, 1.0):
            assert float(re.search(r"left:([\d.]+)%", zone_bar(probability, thresholds))[1]) >= 0


def test_problems_are_text():
    assert "&lt;b&gt;" in problem("Wrong", "<b>")


def test_report_can_be_handed_on(detector):
    shown = answer(draw_face(1, 300), [judged(detector, "fake")], detector)
    digest = hashlib.sha256(b"content").hexdigest()
    document = report(shown, [("<b>me</b>.jpg", digest)], detector, "YuNet")
    text = words(document)
    assert digest in text
    assert detector.config.sha256 in text
    assert "<b>me</b>.jpg" in text
    assert "<b>me</b>" not in document
    assert "Signs of manipulation" in text
    assert re.search(r"Date 20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
    assert not re.search(r"<script|<link|src=\"http|url\(| on\w+=", document)  # no requests
    assert "<details" not in document.replace("<details open", "")  # paper cannot be unfolded


def test_table_shows_the_most_suspicious_first_and_counts_for_its_filter(detector):
    rows = [
        Row("wall.png", 0, problem="No face found.", says="made by AI (signed)"),
        Row("real.jpg", 1, 1, judged(detector, "real"), says="unknown"),
        Row("<b>.jpg", 2, 1, judged(detector, "fake")),
        Row("<b>.jpg", 2, 2, judged(detector, "inconclusive", reason="cut")),
    ]
    shown = batch_answer(rows, 3, 3, "<model>")
    files = re.findall(r'<th scope="row">(.*?)</th>', shown)
    assert files == ["&lt;b&gt;.jpg", "&lt;b&gt;.jpg", "real.jpg", "wall.png"]
    text = words(shown)
    assert text.startswith("Signs of manipulation in 1 of 3 photos")
    assert "All (4) Signs of manipulation (1) Cannot tell (1) No signs found (1)" in text
    assert "Judged by: &lt;model&gt;." in shown
    assert shown.count("<p>120 x 120 px at 10, 20</p>") == 3
    assert "The file says it was" in text
    assert "made by AI (signed)" in text
    assert "unknown" not in text  # what is not said needs no word
    assert words(batch_answer(rows, 3, 9, "a model")).startswith("3 of 9 photos judged")
    alike = [Row("image.jpg", 1, 1, judged(detector, "fake"))] * 2  # as phones name them
    shown = batch_answer(alike, 2, 2, "a model")
    assert words(shown).startswith("Signs of manipulation in all 2 photos")


def test_csv_reads_back_and_holds_no_formulas():
    names = ["=cmd()", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"]  # noqa: RUF001
    rows = [{"file": name, "probability": -0.5} for name in names]
    rows.append({"file": 'a"b,c\n', "probability": ""})
    read_back = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
    assert [row["file"] for row in read_back] == [*(f"'{name}" for name in names), 'a"b,c\n']
    assert [row["probability"] for row in read_back] == [*["-0.5"] * len(names), ""]


def test_download_links_hold_their_content():
    link = download_link("Save", "a.csv", "grüße", "text/csv")
    data = re.search(r'href="(data:text/csv;base64,[^"]+)"', link)[1]
    assert base64.b64decode(data.split(",")[1]).decode() == "grüße"


def test_pictures_are_small(detector):
    large = Image.fromarray(np.zeros((3000, 4000, 3), np.uint8))
    shown = answer(large, [judged(detector, "fake")], detector)
    assert len(shown) < 300_000


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00.0"), (59.96, "1:00.0"), (83.2, "1:23.2")])
def test_times_are_shown_in_minutes_and_tenths_of_seconds(seconds, shown):
    assert _clock(seconds) == shown
