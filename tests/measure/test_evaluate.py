import json
from types import SimpleNamespace

import pytest
from sklearn.metrics import roc_auc_score

from tests.drawing import quick_search
from tests.networks import small_networks
from training.config import PrepareConfig
from training.data.prepare import prepare
from training.data.rows import read_all, read_report, read_split
from training.errors import UserError
from training.fit.train import read_config, repeat_run
from training.measure.evaluate import evaluate, evaluate_folds, made_with, read_fold_scores
from training.measure.scores import scores
from training.run import Run

REPORT_FILES = {"metrics.json", "report.md", "confusion.png", "roc.png"}
REPORT_FILES |= {"reliability.png", "scores.png", "mistakes.png"}


def test_run_is_measured_with_keras(run, data, tmp_path):
    figures = evaluate(run, data, "test", tmp_path, samples=20)
    assert {path.name for path in tmp_path.iterdir()} == REPORT_FILES
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    photos = read_split(data, "test")
    labels = [photo.is_fake for photo in photos]
    assert figures["roc_auc"]["value"] == pytest.approx(
        roc_auc_score(labels, scores(Run.open(run), photos))
    )
    assert figures["split"] == "test"
    assert figures["faces"] is False  # the run is of whole photos
    assert figures["data_fingerprint"] == read_report(data)["fingerprint"]


def test_a_model_was_not_made_with_sources_that_training_left_out(data):
    others = [*read_split(data, "train"), *read_split(data, "validation")]
    for sources, made_of in ((["archive"], others), (["dfdc"], []), ([], others)):
        detector = SimpleNamespace(config=SimpleNamespace(sources=sources))
        assert made_with(detector, data, "test") == made_of


def test_what_is_no_model_is_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match="train or export first"):
        evaluate(tmp_path, data)
    with pytest.raises(UserError, match="give --output"):
        evaluate(tmp_path / "missing", data)


def test_other_data_than_the_runs_is_pointed_out(run, source, tmp_path, caplog):
    config = PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=64, seed=8)
    with quick_search():
        other_data = prepare(config)
    evaluate(run, other_data, "test", tmp_path / "out", samples=20)
    assert "may have been trained on photos" in caplog.text


@pytest.mark.slow
def test_folds_test_every_photo_once_and_go_on_where_they_were(run, data, tmp_path):
    copy = tmp_path / "run"  # folds are written into the run
    copy.mkdir()
    stored = read_config(run)
    stored["settings"]["epochs"] = 1
    (copy / "config.json").write_text(json.dumps(stored))
    with small_networks():
        figures = evaluate_folds(copy, data, 2, samples=20)
    photos = read_all(data)
    assert figures["photos"] == len(photos)
    assert figures["split"] == "2 folds"
    folders = sorted(path for path in (copy / "folds").iterdir() if path.is_dir())
    assert [folder.name for folder in folders] == ["1-of-2", "2-of-2"]
    written = {path: path.stat().st_mtime_ns for path in (copy / "folds").rglob("*.keras")}
    assert len(written) == 4
    for folder in folders:
        repeat_run(copy, data, folder, {}, backbone_weights=None)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    truth = [photo.is_fake for photo in photos]
    folds, judged = read_fold_scores(copy, data, photos)
    assert folds == 2
    assert roc_auc_score(truth, judged) == pytest.approx(figures["roc_auc"]["value"])
    assert read_fold_scores(copy, data, photos[::-1])[1].tolist() == judged[::-1].tolist()
    with pytest.raises(UserError, match="does not belong to the photos"):
        read_fold_scores(copy, data, photos[1:])


@pytest.mark.parametrize("part", [{"leave_out": "archive"}, {"train_share": 0.5}])
def test_folds_are_of_all_photos(run, data, tmp_path, part):
    stored = read_config(run)
    stored["settings"] |= part
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="part of the photos cannot be repeated"):
        evaluate_folds(tmp_path, data, 2)


def test_folds_need_the_weights_of_the_run_and_its_data(run, data, tmp_path):
    stored = read_config(run)
    stored["settings"]["backbone_weights"] = {"file": "b0.weights.h5", "sha256": "0" * 64}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"trained from b0\.weights\.h5: give its path"):
        evaluate_folds(tmp_path, data, 2)
    stored["data"]["fingerprint"] = "other"
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="is not the data"):
        evaluate_folds(tmp_path, data, 2)
