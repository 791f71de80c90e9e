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

from space.detector import Detector, load_bundled
from space.faces import Face
from space.judgements import Judgement
from space.views import answer, as_csv, caution, download_link, probability_bar, report, summary
from tests.drawing import draw_face


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_bundled()


def judged(detector: Detector, verdict: str, *, side: float = 120, place: float = 10) -> Judgement:
    """What the model says about a drawn face, with a verdict of the test's choice."""
    (judgement,) = detector.judge_faces(
        draw_face(1, 300), [Face((place, 20, side, side), None, 0.9)]
    )
    probability = {"real": 0.05, "inconclusive": 0.5, "fake": 0.95}[verdict]
    prediction = dataclasses.replace(judgement.prediction, verdict=verdict, probability=probability)
    return dataclasses.replace(judgement, prediction=prediction)


def words(text: str) -> str:
    """What a reader sees of some HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_summary_counts_the_verdicts(detector):
    real, fake = judged(detector, "real"), judged(detector, "fake")
    assert summary([]) == "No face found."
    assert summary([fake]) == "One face: likely fake."
    assert summary([detector.judge_whole(draw_face(1, 300))]).startswith("The whole picture: ")
    assert summary([real, fake, real]) == "3 faces: 1 likely fake, 2 likely real."


def test_each_face_has_a_box_a_card_and_its_meaning(detector):
    judgements = [judged(detector, "fake"), judged(detector, "real", side=40, place=200)]
    shown = answer(draw_face(1, 300), judgements, detector, "YuNet")
    assert shown.count("<rect") == shown.count("<article") == 2
    text = words(shown)
    assert "Face 1: Likely fake" in text
    assert "Face 2: Likely real" in text
    meaning = judgements[0].prediction.meaning
    assert f"Of the {meaning.photos} validation photos with a probability like this one" in text
    assert text.count("No verdict: The face has too few pixels. It is 40 px wide.") == 1
    assert text.count("This is not proof.") == 2
    assert "It need not be where a photo was changed." in text


def test_no_face_says_what_to_do(detector):
    text = words(answer(draw_face(1, 300), [], detector, "Haar cascade"))
    assert text.startswith("No face found. Haar cascade looked for faces")


def test_whole_picture_is_marked_as_such(detector):
    shown = answer(draw_face(1, 300), [detector.judge_whole(draw_face(1, 300))], detector, "YuNet")
    assert "without looking for a face" in words(shown)
    assert "<rect" not in shown


def test_verdicts_differ_without_colours(detector):
    headings = [
        re.search(r"<h3.*?</h3>", answer(draw_face(1), [judged(detector, v)], detector, ""))[0]
        for v in ("real", "fake", "inconclusive")
    ]
    assert len({words(heading)[0] for heading in headings}) == 3


def test_bar_marks_probability_and_thresholds():
    bar = probability_bar(0.83, {"real": 0.25, "fake": 0.7})
    assert 'style="left:83.0%"' in bar
    assert [f'style="left:{at}%"' in bar for at in ("25.0", "70.0")] == [True, True]
    assert "Probability of fake 0.83; likely real below 0.25, likely fake from 0.70" in bar


def test_caution_names_error_rates_by_kind_of_fake(detector):
    figures = detector.config.metrics["test"]
    text = words(caution(detector.config))
    called = figures["verdicts"]["real_called_fake"]["value"]
    assert f"it called {called:.0%} of the real ones fake" in text
    for kind, of in figures["by_difficulty"].items():
        assert f"{kind}: {of['called_fake']['value']:.0%} of {of['fakes']}" in text
    bare = dataclasses.replace(detector.config, metrics={})
    assert "comes without test figures" in words(caution(bare))


def test_report_can_be_handed_on(detector):
    photo = draw_face(1, 300)
    shown = answer(photo, [judged(detector, "fake")], detector, "YuNet")
    document = report(shown, "<b>me</b>.jpg", b"content", detector, "YuNet")
    text = words(document)
    assert hashlib.sha256(b"content").hexdigest() in text
    assert detector.config.sha256 in text
    assert "<b>me</b>.jpg" in text
    assert "<b>me</b>" not in document
    assert "Likely fake" in text
    assert re.search(r"Date 20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
    assert not re.search(r"<script|<link|src=\"http|url\(", document)  # one file, no requests


def test_csv_reads_back_and_holds_no_formulas():
    names = ["=cmd()", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"]  # noqa: RUF001
    rows = [{"file": name, "probability": -0.5} for name in names]
    rows.append({"file": 'a"b,c\n', "probability": ""})
    back = list(csv.DictReader(io.StringIO(as_csv(rows), newline="")))
    assert [row["file"] for row in back] == [*(f"'{name}" for name in names), 'a"b,c\n']
    assert [row["probability"] for row in back] == [*["-0.5"] * len(names), ""]


def test_download_links_hold_their_content():
    link = download_link("Save", "a.csv", "grüße", "text/csv")
    data = re.search(r'href="(data:text/csv;base64,[^"]+)"', link)[1]
    assert base64.b64decode(data.split(",")[1]).decode() == "grüße"


def test_pictures_are_small(detector):
    large = Image.fromarray(np.zeros((3000, 4000, 3), np.uint8))
    shown = answer(large, [judged(detector, "fake")], detector, "YuNet")
    assert len(shown) < 300_000
