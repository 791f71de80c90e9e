import io
from dataclasses import replace

import pytest

from tests.drawing import draw_face
from training.errors import UserError
from training.score.inputs import Chunk, Photo
from training.score.rows import Scorer, ScorerConfig, to_table
from training.score.workers import ScorerProcess

with io.BytesIO() as file:
    draw_face(0, 64).save(file, "PNG")
    CONTENT = file.getvalue()


@pytest.fixture(scope="module")
def config() -> ScorerConfig:
    return ScorerConfig.read(None, whole_picture=True)


def test_row_of_a_dataset_without_a_photo_is_an_error(config):
    (row,) = Scorer(config).rows(Photo("train[0]", None))
    assert row["error"] == "The row holds no photo."


def test_names_that_are_no_text_can_be_written(config):
    rows = Scorer(config).rows(Photo("caf\udce9 \u00e9.jpg", CONTENT))
    assert to_table(rows)["file"].to_pylist() == ["caf\\xe9 \u00e9.jpg"]


def test_what_nobody_expected_is_an_error_of_one_photo(config, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("out of luck")

    scorer = Scorer(config)
    with monkeypatch.context() as patch:
        patch.setattr("space.detector.Detector.judge_whole", fail)
        (row,) = scorer.rows(Photo("a.png", CONTENT))
    assert "RuntimeError('out of luck')" in row["error"]
    assert scorer.rows(Photo("a.png", CONTENT))[0]["verdict"]


def test_process_with_another_model_or_finder_scores_nothing(config, tmp_path):
    changed = replace(config, description=replace(config.description, crop_margin=9.0))
    with pytest.raises(UserError, match="other than the main process"):
        Scorer(changed)
    with pytest.raises(UserError, match="other than the main process"):
        Scorer(replace(config, finder="another"))
    process = ScorerProcess(replace(config, model=str(tmp_path)))
    with pytest.raises(UserError, match=r"detector.json cannot be read"):
        process.score(Chunk(0, [Photo("a.png", CONTENT)]))
    process.stop()
