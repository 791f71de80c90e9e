import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from training import fit
from training.config import CONFIG, FINAL, RECIPES, TrainConfig, read_config
from training.dataset import read_report
from training.distillation import Distillation, check_teachers, load_teachers
from training.errors import UserError
from training.fit import read_history, repeat_run, train, train_recipe
from training.fit_pairs import build_trainer, evidence_loss
from training.model import EVIDENCE, build_model

SIZE = 64
PAIRS = {"head": "evidence", "sampling": "pairs", "input_size": SIZE, "mask_weight": 1.0}


def small_network(seed: int = 0) -> keras.Model:
    """Return a network with a map and a verdict like those of `training.model`, but quick."""
    layers = keras.layers
    photos = keras.Input((SIZE, SIZE, 3))
    scaled = layers.Rescaling(1 / 255)(photos)
    kernel = keras.initializers.GlorotUniform(seed)
    evidence = layers.Conv2D(1, 16, strides=16, kernel_initializer=kernel, name=EVIDENCE)(scaled)
    pooled = layers.GlobalAveragePooling2D()(evidence)
    return keras.Model(photos, layers.Dense(2, activation="softmax", name="probabilities")(pooled))


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory) -> list:
    """Runs of two networks whose verdicts are fixed: surely fake, and three to one for real."""
    folders = []
    for number, fake in enumerate((0.999, 0.25)):
        folders.append(tmp_path_factory.mktemp(f"teacher-{number}"))
        model = small_network()
        log_odds = np.log(fake / (1 - fake))
        model.get_layer("probabilities").set_weights([np.zeros((1, 2)), np.array([0, log_odds])])
        kernel = np.zeros(model.get_layer(EVIDENCE).get_weights()[0].shape)
        model.get_layer(EVIDENCE).set_weights([kernel, np.array([log_odds])])
        model.save(folders[-1] / FINAL)
        stored = {"settings": PAIRS, "data": read_report(data)}
        (folders[-1] / CONFIG).write_text(json.dumps(stored))
    return folders


def config(teachers, **changes) -> TrainConfig:
    return TrainConfig(**PAIRS | {"teacher": tuple(map(str, teachers))} | changes)


def test_loss_is_the_cross_entropy_with_the_teachers():
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    evidence = np.array([-2.0, 0.0], np.float32)[:, None, None, None] * np.ones((1, 3, 3, 1))
    wanted = np.array([[1.0, 0.0], [0.25, 0.75]], np.float32)
    places = np.full((2, 3, 3, 1), 0.25, np.float32)
    lesson = Distillation(0.5, 2.0)
    answer = lesson((probabilities, evidence.astype(np.float32)), (wanted, places))
    np.testing.assert_array_equal(answer, probabilities)
    verdicts = -np.mean([np.log(0.9), np.log(0.5)])
    likely = 1 / (1 + np.exp(-np.array([-2.0, 0.0])))
    maps = -np.mean(0.25 * np.log(likely) + 0.75 * np.log(1 - likely))
    (loss,) = lesson.losses
    assert float(loss) == pytest.approx(0.5 * verdicts + 2 * maps, rel=1e-4)


def test_teachers_answer_together(teachers):
    photos = keras.Input((SIZE, SIZE, 3))
    answers = keras.Model(photos, load_teachers(config(teachers), photos))
    verdicts, maps = answers(np.zeros((2, SIZE, SIZE, 3)), training=False)
    np.testing.assert_allclose(verdicts, [[1 - 0.6245, 0.6245]] * 2, rtol=1e-3)
    np.testing.assert_allclose(maps, np.full((2, SIZE // 16, SIZE // 16, 1), 0.6245), rtol=1e-3)
    assert not answers.trainable_weights


def test_teachers_drop_out_but_never_change(tmp_path):
    options = {"backbone_weights": "none", "trainable_layers": 20, "head": "evidence"}
    build_model(**options, input_size=SIZE, seed=5).save(tmp_path / FINAL)
    photos = keras.Input((SIZE, SIZE, 3))
    answers = keras.Model(photos, load_teachers(config([tmp_path]), photos))
    same = np.repeat(np.random.default_rng(0).uniform(0, 255, (1, SIZE, SIZE, 3)), 4, axis=0)
    before = [np.array(weights) for weights in answers.get_weights()]
    _, calm = answers(same, training=False)
    _, varied = answers(same, training=True)
    assert np.ptp(np.asarray(calm), axis=0).max() < 1e-5
    assert np.ptp(np.asarray(varied), axis=0).max() > 1e-5
    for one, other in zip(before, answers.get_weights(), strict=True):  # moving statistics as well
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_labels_and_teachers_share_what_is_learned(teachers, share):
    settings = config(teachers, teacher_share=share, mask_weight=2.0, label_smoothing=0.0)
    trainer = build_trainer(small_network(3), settings, steps=1)
    photos = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    labels = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    masks = np.random.default_rng(1).random((4, SIZE // 16, SIZE // 16, 1), np.float32)
    answers = trainer(photos, training=False)
    total = trainer.compute_loss(photos, {"probabilities": labels, EVIDENCE: masks}, answers)
    found, evidence = (np.asarray(answers[name]) for name in ("probabilities", EVIDENCE))
    likely = 1 / (1 + np.exp(-evidence))
    wanted = 0.6245  # the mean of the teachers, in verdict and map
    of_labels = -np.log(found[labels == 1]).mean()
    of_labels += 2 * float(np.mean(evidence_loss(masks, evidence)))
    of_teachers = -(np.log(found) * [1 - wanted, wanted]).sum(axis=1).mean()
    of_teachers -= 2 * np.mean(wanted * np.log(likely) + (1 - wanted) * np.log(1 - likely))
    assert float(total) == pytest.approx((1 - share) * of_labels + share * of_teachers, rel=1e-3)


def test_what_cannot_teach_is_one_sentence(teachers, data, tmp_path):
    stored = read_config(teachers[0])
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(UserError, match=r"holds no deepfake_cnn\.keras: finish it first"):
        check_teachers(config([tmp_path], data=data))
    for name, value in (("input_size", 96), ("crop_margin", 1.2)):
        with pytest.raises(UserError, match=f"trained with {name} = .*, not {value}"):
            check_teachers(config(teachers, data=data, **{name: value}))
    with pytest.raises(UserError, match="has seen archive, which is left out here"):
        check_teachers(config(teachers, data=data, leave_out="archive"))
    (tmp_path / FINAL).write_text("no network")
    check_teachers(config([tmp_path], data=data))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_teachers(config([tmp_path]), keras.Input((SIZE, SIZE, 3)))
    with pytest.raises(UserError, match="--teacher needs --mask-weight"):
        config(teachers, mask_weight=0.0)
    with pytest.raises(UserError, match="--teacher needs --sampling pairs"):
        config(teachers, sampling="photos")
    with pytest.raises(UserError, match="--teacher-share needs --teacher"):
        TrainConfig(teacher_share=0.5)


def test_teacher_that_left_the_same_source_out_may_teach(teachers, data, tmp_path, caplog):
    shutil.copy(teachers[0] / FINAL, tmp_path)
    stored = read_config(teachers[0])
    stored["settings"] |= {"leave_out": "archive", "start_from": {"leave_out": "archive"}}
    stored["data"]["fingerprint"] = "other"
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    check_teachers(config([tmp_path], data=data, leave_out="archive"))
    assert "it may know photos of its validation or test split" in caplog.text
    stored["settings"]["start_from"]["leave_out"] = ""
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(UserError, match="has seen archive"):
        check_teachers(config([tmp_path], data=data, leave_out="archive"))


def test_stages_of_other_sizes_want_other_teachers_and_say_so_at_once(teachers, data, tmp_path):
    flags = {"data": data, "run": tmp_path / "run", "teacher": [str(teachers[0])]}
    with pytest.raises(UserError, match="trained with input_size = 64, not 160"):
        train_recipe("two-stage", flags)
    assert not (tmp_path / "run").exists()


def test_run_remembers_its_teachers_and_goes_on_with_them(teachers, data, tmp_path, monkeypatch):
    settings = RECIPES["short"][0] | PAIRS | {"epochs": 2, "epoch_photos": 8, "batch_size": 4}
    settings |= {"composites": 0.0, "crop_margin": 0.0, "backbone_weights": "none", "data": data}
    names = tuple(map(str, teachers))
    monkeypatch.setattr(fit, "_build", lambda config: small_network())
    taught = TrainConfig(**settings, run=tmp_path / "run", teacher=names)
    with monkeypatch.context() as patched:
        patched.setattr(fit, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(replace(taught, epochs=1))
    stored = read_config(taught.run)
    assert [name.split()[0] for name in stored["settings"]["teacher"]] == [
        folder.name for folder in teachers
    ]
    stored["settings"]["epochs"] = 2  # as if it had been cut off between two epochs
    (taught.run / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(UserError, match="has teachers: give them with --teacher"):
        train(replace(taught, teacher=()), resume=True)
    with pytest.raises(UserError, match=r"was started with teacher = \['teacher-0"):
        train(replace(taught, teacher=names[:1]), resume=True, given=frozenset({"teacher"}))
    train(taught, resume=True, given=frozenset({"teacher"}))
    assert len(read_history(taught.run)) == 2
    for settings in (stored["settings"], PAIRS | {"start_from": stored["settings"]}):
        (taught.run / CONFIG).write_text(json.dumps(stored | {"settings": settings}))
        with pytest.raises(UserError, match="cannot be repeated: they saw the photos of all folds"):
            repeat_run(taught.run, data, tmp_path / "fold", {}, "none")


def interrupt(run) -> None:
    raise KeyboardInterrupt
