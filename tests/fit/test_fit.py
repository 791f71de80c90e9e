import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY
from tests.drawing import edit_rows
from training.config import CONFIG, GONE, RECIPES, TrainConfig
from training.data.rows import read_split
from training.errors import UserError
from training.fit import train as fit
from training.fit.callbacks import FakeAUC, Replay
from training.fit.history import read_history
from training.fit.progress import Progress
from training.fit.train import read_config, train, train_recipe
from training.fit.train_pairs import training_batches
from training.folders import write_json


@pytest.fixture
def small_network(monkeypatch) -> None:
    """Replace EfficientNetB0 with a network that compiles in no time."""

    def build(*, input_size: int, seed: int, **settings) -> keras.Model:
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        photos = keras.Input((input_size, input_size, 3))
        normalised = layers.Normalization()(layers.Rescaling(1 / 255)(photos))
        features = layers.Conv2D(4, 16, strides=16, activation="relu")(normalised)
        evidence = layers.Conv2D(1, 1, name="evidence")(features)
        pooled = layers.GlobalAveragePooling2D()(evidence)
        return keras.Model(photos, layers.Dense(2, activation="softmax")(pooled))

    monkeypatch.setattr(fit, "build_model", build)


def test_run_holds_what_it_should(run, data):
    assert {path.name for path in run.iterdir()} == {
        "best_model.keras",
        "deepfake_cnn.keras",
        "deepfake_cnn.h5",
        "data.txt",
        "history.csv",
        "curves.png",
        "config.json",
    }
    assert Image.open(run / "curves.png").width > 500
    history = read_history(run)
    assert len(history) == 2
    assert {"accuracy", "loss", "auc", "val_accuracy", "val_loss", "val_auc"} <= history[0].keys()
    config = read_config(run)
    assert config["settings"]["seed"] == 7
    assert config["settings"]["learning_rate"] == 1e-3
    assert config["data"]["fingerprint"] == fit.read_report(data)["fingerprint"]
    assert config["versions"]["keras"] == keras.__version__


def test_files_hold_the_best_epoch_without_augmentation(run):
    models = [
        keras.models.load_model(run / name, compile=False)
        for name in ("best_model.keras", "deepfake_cnn.keras", "deepfake_cnn.h5")
    ]
    photo = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3))
    outputs = [np.asarray(model(photo)) for model in models]
    assert np.allclose(outputs[0], outputs[1])
    assert np.allclose(outputs[0], outputs[2])
    assert not any("random" in layer.name for layer in models[0].layers)


def test_auc_is_that_of_the_probability_of_fake():
    metric = FakeAUC()
    metric.update_state(np.eye(2)[[0, 1, 1]], np.array([[0.9, 0.1], [0.2, 0.8], [0.95, 0.05]]))
    assert float(metric.result()) == pytest.approx(0.5, abs=0.01)


def interrupt(callback, epoch, logs=None):
    """Stop training before its second epoch."""
    if epoch == 1:
        raise KeyboardInterrupt


def test_interrupted_run_goes_on_where_it_was(data, tmp_path, monkeypatch, small_network):
    config = TrainConfig(data=data, run=tmp_path / "run", epochs=3, **TINY)

    def cut_off(run):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Replay, "on_epoch_begin", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    assert not (config.run / "deepfake_cnn.keras").exists()
    before = read_history(config.run)
    assert len(before) == 1
    with (config.run / "history.csv").open("a") as file:  # logged, but killed before its backup
        file.write((config.run / "history.csv").read_text().splitlines()[-1] + "\n")

    rates = []
    monkeypatch.setattr(
        Replay,
        "on_epoch_begin",
        lambda self, epoch, logs=None: rates.append((epoch, int(self.model.optimizer.iterations))),
    )
    # The settings come from the run, not from these defaults.
    defaults = TrainConfig(data=data, run=config.run)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_finish", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(defaults, resume=True)
    assert not (config.run / "deepfake_cnn.keras").exists()
    train(defaults, resume=True)  # no epoch is trained again
    steps = len(
        fit.PhotoBatches(read_split(data, "train"), batch_size=8, input_size=64, shuffle_seed=7)
    )
    assert rates == [(1, steps), (2, 2 * steps)]
    history = read_history(config.run)
    assert [epoch["epoch"] for epoch in history] == [0, 1, 2]
    assert history[0] == before[0]
    assert (config.run / "deepfake_cnn.keras").exists()
    assert not (config.run / "backup").exists()


def test_patience_goes_on_where_it_was():
    stop = keras.callbacks.EarlyStopping("val_auc", mode="max", patience=2)
    trainer = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    trainer.compile("sgd", "mse")
    history = [{"val_auc": 0.8}, {"val_auc": 0.7}]
    replay = Replay(history, [stop])
    log = {"x": np.zeros((2, 1)), "y": np.zeros((2, 1)), "verbose": 0}
    worse = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(val_auc=0.6)
    )
    fitted = trainer.fit(**log, epochs=5, initial_epoch=2, callbacks=[replay, worse, stop])
    # `stop` began after the replay, so its patience started over.
    assert fitted.epoch == [2, 3, 4]
    fitted = trainer.fit(**log, epochs=5, initial_epoch=2, callbacks=[worse, stop, replay])
    assert fitted.epoch == [2]


def test_progress_is_shown_in_photos_and_epochs(capsys):
    trainer = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    trainer.compile("sgd", "mse")
    points = np.zeros((8, 1))
    progress = Progress(epochs=3, steps=2, batch_size=4)
    options = {"batch_size": 4, "verbose": 0, "callbacks": [progress]}
    trainer.fit(points, points, initial_epoch=1, epochs=3, **options)
    shown = capsys.readouterr().err
    assert "| 8/24 [" in shown  # where an earlier process stopped
    assert "| 24/24 [" in shown
    assert "photos/s" in shown
    assert "Epoch 3 of 3: loss 0.000" in shown
    trainer.fit(points[4:], points[4:], epochs=1, **options)
    assert "| 4/24 [" in capsys.readouterr().err  # within an epoch


@pytest.mark.parametrize(("late", "share"), [(True, "90.0%"), (False, "0.0%")])
def test_waiting_for_batches_is_told(late, share, monkeypatch, capsys):
    clock = iter([100.0, 110.0, 120.0])  # the epoch begins, a batch ends, another ends
    ticking = SimpleNamespace(monotonic=lambda: next(clock))
    monkeypatch.setattr("training.fit.progress.time", ticking)
    progress = Progress(1, 2, 4, {0: 109.0, 1: 119.0} if late else {0: 90.0, 1: 105.0})
    progress.set_params({"steps": 2})
    progress.on_epoch_begin(0)
    for batch in range(2):
        progress.on_train_batch_end(batch)
    progress.on_epoch_end(0, {})
    progress.on_train_end()
    assert f"waited for photos {share} of the time" in capsys.readouterr().err


def test_finished_run_is_left_alone(run, data):
    before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
    assert train(TrainConfig(data=data, run=run), resume=True) == run
    assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_run_older_than_a_setting_had_its_default(run, data, tmp_path):
    stored = read_config(run)
    del stored["settings"]["dropout"]
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    config = TrainConfig(data=data, run=tmp_path, dropout=0.1)
    with pytest.raises(UserError, match=r"started with dropout = 0\.4, not 0\.1"):
        train(config, resume=True, given=frozenset({"dropout"}))


def test_settings_whose_code_is_gone_stop_a_run_only_where_they_were_on(run, data, tmp_path):
    stored = read_config(run)
    config = TrainConfig(data=data, run=tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps(stored | {"settings": stored["settings"] | GONE}))
    shutil.copy(run / "deepfake_cnn.keras", tmp_path)
    assert train(config, resume=True) == tmp_path
    settings = stored["settings"] | GONE | {"mixup": 0.5}
    (tmp_path / CONFIG).write_text(json.dumps(stored | {"settings": settings}))
    message = "was started with mixup, which is not a setting any more: train"
    with pytest.raises(UserError, match=message):
        train(config, resume=True)
    with pytest.raises(UserError, match=message):
        fit.repeat_run(tmp_path, data, tmp_path / "fold", {}, None)


def test_conflicts_are_one_sentence(run, data, source, tmp_path):
    config = TrainConfig(data=data, run=run, epochs=2, **TINY)
    with pytest.raises(UserError, match="add --resume"):
        train(config)
    with pytest.raises(UserError, match=r"learning_rate = 0\.001, not 0\.5"):
        train(replace(config, learning_rate=0.5), resume=True, given=frozenset({"learning_rate"}))
    with pytest.raises(UserError, match=r"holds no config\.json"):
        train(replace(config, run=tmp_path / "none"), resume=True)
    with pytest.raises(UserError, match="was not written by prepare"):
        train(replace(config, run=tmp_path / "none", data=source))
    other_data = Path(shutil.copytree(data, tmp_path / "other"))
    report = json.loads((other_data / "prepare_report.json").read_text())
    (other_data / "prepare_report.json").write_text(json.dumps(report | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="is not the data"):
        train(replace(config, data=other_data), resume=True)


def test_weights_file_is_noted_by_its_hash(tmp_path, data):
    path = tmp_path / "b0.weights.h5"
    path.write_bytes(b"weights")
    settings = fit._settings(TrainConfig(data=data, backbone_weights=str(path)))
    assert settings["backbone_weights"]["file"] == "b0.weights.h5"
    assert len(settings["backbone_weights"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(settings)


def test_rarer_class_weighs_more():
    weights = fit._class_weights(np.array([0, 0, 0, 1]))
    assert weights == {0: pytest.approx(2 / 3), 1: pytest.approx(2)}


PAIRED = {**TINY, "epochs": 1, "epoch_photos": 16}


@pytest.mark.slow
def test_a_recipe_s_run_of_pairs_goes_on_after_an_interruption(
    data, tmp_path, monkeypatch, small_network
):
    run = tmp_path / "run"
    weights = tmp_path / "begin.weights.h5"
    weights.write_bytes(b"which this network does not read")
    flags = {"data": data, "run": run, **PAIRED, "epochs": 2, "backbone_weights": str(weights)}

    with monkeypatch.context() as patch:
        patch.setattr(fit.Validation, "on_epoch_begin", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_recipe("one-stage", flags)
    before = read_history(run)
    assert len(before) == 1
    with pytest.raises(UserError, match="add --resume"):
        train_recipe("one-stage", flags)
    del flags["backbone_weights"]  # no longer needed
    begun_with = read_config(run)["settings"]["backbone_weights"]
    assert begun_with["file"] == weights.name
    assert train_recipe("one-stage", flags, resume=True) == run
    assert read_config(run)["settings"]["backbone_weights"] == begun_with
    history = read_history(run)
    assert [epoch["epoch"] for epoch in history] == [0, 1]
    assert history[0] == before[0]
    expected = {"accuracy", "loss", "val_accuracy", "val_loss", "val_auc", "evidence_loss"}
    assert expected <= set(history[1])
    settings = read_config(run)["settings"]
    assert (settings["head"], settings["sampling"]) == ("evidence", "pairs")
    assert settings["learning_rate"] == TINY["learning_rate"]  # a flag overrides the recipe
    assert settings["crop_margin"] == RECIPES["one-stage"]["crop_margin"]


@pytest.mark.slow
def test_a_run_that_was_killed_within_an_epoch_ends_like_one_that_was_not(
    data, tmp_path, monkeypatch, small_network
):
    monkeypatch.setattr(fit, "BACKUP_STEPS", 2)
    flags = {"data": data, **PAIRED, "epochs": 2, "epoch_photos": 48}
    runs = [tmp_path / name for name in ("whole", "killed")]
    train_recipe("one-stage", {**flags, "run": runs[0]})
    seen = []

    def count(self, batch, logs=None):
        seen.append(batch)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit.Validation, "on_train_batch_begin", count)
        with pytest.raises(KeyboardInterrupt):
            train_recipe("one-stage", {**flags, "run": runs[1]})
        train_recipe("one-stage", {**flags, "run": runs[1]}, resume=True)
    steps = 48 // PAIRED["batch_size"]
    assert len(seen) < 4 + 2 * steps  # it did not start over
    assert len(read_history(runs[1])) == 2
    whole, killed = (keras.models.load_model(run / "deepfake_cnn.keras") for run in runs)
    for expected, weights in zip(whole.get_weights(), killed.get_weights(), strict=True):
        np.testing.assert_allclose(expected, weights, rtol=1e-3, atol=1e-4)


def test_a_run_draws_other_pairs_than_the_one_that_made_its_start(data, tmp_path):
    config = TrainConfig(data=data, run=tmp_path, sampling="pairs", **PAIRED)
    first, same, different = ({"file": "a.keras", "sha256": 64 * digit} for digit in "112")
    drawn = []
    for weights in ("none", first, same, different):
        write_json(tmp_path / CONFIG, {"settings": {"backbone_weights": weights}})
        drawn.append(training_batches(config, read_split(data, "train"))[0][0])
    assert (drawn[1] == drawn[2]).all()
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[1] != drawn[3]).any()


def test_the_last_batch_of_an_epoch_is_backed_up_with_its_validation(tmp_path, monkeypatch):
    backup = fit.StepBackup(tmp_path / "backup", every=2, first_step=4)
    backup.set_params({"steps": 4})
    saved = []
    monkeypatch.setattr(
        backup,
        "_save_model",
        lambda: saved.append((backup._current_epoch, backup._last_batch_seen)),
    )
    backup.on_epoch_begin(3)
    for batch in range(4):
        backup.on_train_batch_end(batch)
    assert saved[-1] == (3, 6)  # of batches 4 to 7
    backup.on_epoch_end(3)
    assert saved[-1] == (4, 0)


def test_an_unknown_recipe_is_one_sentence(data, tmp_path):
    with pytest.raises(UserError, match="--recipe long is none of plain, one-stage, short"):
        train_recipe("long", {"data": data, "run": tmp_path / "run"})


def test_start_weights_of_another_head_leave_no_run_behind(run, data, tmp_path):
    config = TrainConfig(
        data=data,
        run=tmp_path / "run",
        **PAIRED | {"backbone_weights": str(run / "deepfake_cnn.keras")},
        sampling="pairs",
        head="evidence",
    )
    with pytest.raises(UserError, match="is a network of another kind"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_photos_of_a_source_can_be_left_out(data):
    with pytest.raises(UserError, match="holds only archive"):
        fit._read_photos(TrainConfig(data=data, leave_out="archive"), "train")
    with pytest.raises(UserError, match="no training photos of unknown, but of archive"):
        fit._read_photos(TrainConfig(data=data, leave_out="unknown"), "train")
    validation = read_split(data, "validation")
    assert fit._read_photos(TrainConfig(data=data, leave_out="unknown"), "validation") == validation


def test_photos_of_several_sources_can_be_left_out(data, tmp_path):
    folder = Path(shutil.copytree(data, tmp_path / "data"))

    def edit(rows):
        first, second, *others = rows
        return [{**first, "source": "utk"}, {**second, "source": "latent"}, *others]

    for split in ("train", "validation"):
        edit_rows(folder, split, edit)
        config = TrainConfig(data=folder, leave_out="utk,latent")
        kept = fit._read_photos(config, split)
        assert {photo.source for photo in kept} == {"archive"}
        assert len(kept) == len(read_split(data, split)) - 2


def test_a_share_of_the_training_groups_is_used(data):
    whole = fit._read_photos(TrainConfig(data=data), "train")
    half, quarter = (
        {
            photo.path
            for photo in fit._read_photos(TrainConfig(data=data, train_share=share), "train")
        }
        for share in (0.5, 0.25)
    )
    assert quarter < half < {photo.path for photo in whole}
    used = {photo.group for photo in whole if photo.path in half}
    assert half == {photo.path for photo in whole if photo.group in used}
    groups = {photo.group for photo in whole}
    assert len(used) == (len(groups) + 1) // 2
    validation = fit._read_photos(TrainConfig(data=data, train_share=0.25), "validation")
    assert validation == read_split(data, "validation")


def test_the_share_is_of_each_source(data):
    photos = read_split(data, "train")
    rare = {photo.group for photo in photos[:3]}
    photos = [replace(photo, source="rare") if photo.group in rare else photo for photo in photos]
    kept = fit._share(photos, TrainConfig(data=data, train_share=0.25))
    for source in ("rare", "archive"):
        groups = {photo.group for photo in photos if photo.source == source}
        used = {photo.group for photo in kept if photo.source == source}
        assert len(used) == -(-len(groups) // 4)
