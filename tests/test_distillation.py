import keras
import numpy as np
import pytest

from training.config import RECIPES, TrainConfig
from training.distillation import NETWORK, Distillation, load_teachers
from training.errors import UserError
from training.fit import read_config, repeat_run, train
from training.fit_pairs import build_trainer
from training.model import EVIDENCE, build_model

SIZE = 64
PAIRS = {"head": "evidence", "sampling": "pairs", "input_size": SIZE, "mask_weight": 1.0}


def network(seed: int, size: int = SIZE, head: str = "evidence") -> keras.Model:
    return build_model(
        backbone_weights="none", trainable_layers=20, head=head, input_size=size, seed=seed
    )


@pytest.fixture(scope="module")
def teachers(tmp_path_factory) -> list:
    """Folders of two networks whose verdicts are fixed: surely fake, and three to one for real."""
    folders = []
    for number, fake in enumerate((0.999, 0.25)):
        folders.append(tmp_path_factory.mktemp(f"teacher-{number}"))
        model = network(number)
        log_odds = np.log(fake / (1 - fake))
        model.get_layer("probabilities").set_weights([np.zeros((1, 2)), np.array([0, log_odds])])
        kernel = np.zeros(model.get_layer(EVIDENCE).get_weights()[0].shape)
        model.get_layer(EVIDENCE).set_weights([kernel, np.array([log_odds])])
        model.save(folders[-1] / NETWORK)
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
    verdicts, maps = answers.predict(np.zeros((2, SIZE, SIZE, 3)), verbose=0)
    np.testing.assert_allclose(verdicts, [[1 - 0.6245, 0.6245]] * 2, rtol=1e-3)
    np.testing.assert_allclose(maps, np.full((2, SIZE // 16, SIZE // 16, 1), 0.6245), rtol=1e-3)
    assert not answers.trainable_weights


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_student_comes_near_to_labels_or_teachers_by_their_share(teachers, share):
    student = network(3)
    settings = config(teachers[:1], teacher_share=share, learning_rate=0.01, weight_average=0.0)
    trainer = build_trainer(student, settings, steps=25)
    photos = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    labels = {"probabilities": np.array([[1, 0]] * 4), EVIDENCE: np.zeros((4, 4, 4, 1))}
    before = [layer.get_weights() for layer in trainer.layers if layer.name == "teacher_0"]
    trainer.fit(photos, labels, epochs=25, verbose=0)
    fake = trainer.predict(photos, verbose=0)["probabilities"][:, 1]
    assert (fake > 0.7).all() if share else (fake < 0.3).all()
    after = [layer.get_weights() for layer in trainer.layers if layer.name == "teacher_0"]
    assert len(after) == 1
    for one, other in zip(before[0], after[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_cannot_teach_is_one_sentence(teachers, tmp_path):
    photos = keras.Input((SIZE, SIZE, 3))
    with pytest.raises(UserError, match=r"holds no deepfake_cnn\.keras: finish it first"):
        load_teachers(config([tmp_path]), photos)
    with pytest.raises(UserError, match="sees photos of 64 px, not 96"):
        load_teachers(config(teachers, input_size=96), keras.Input((96, 96, 3)))
    network(0, head="pooled").save(tmp_path / NETWORK)
    with pytest.raises(UserError, match="has no map"):
        load_teachers(config([tmp_path]), photos)
    with pytest.raises(UserError, match="--teacher needs --head evidence"):
        config(teachers, head="pooled", mask_weight=0.0)
    with pytest.raises(UserError, match="--teacher needs --sampling pairs"):
        TrainConfig(teacher=("somewhere",), head="evidence")


def test_run_remembers_its_teachers(teachers, data, tmp_path):
    settings = RECIPES["short"][0] | PAIRS | {"epochs": 1, "epoch_photos": 8, "batch_size": 4}
    settings |= {"composites": 0.0, "backbone_weights": "none", "data": data}
    taught = TrainConfig(**settings, run=tmp_path / "run", teacher=tuple(map(str, teachers)))
    train(taught)
    names = [name.split()[0] for name in read_config(taught.run)["settings"]["teacher"]]
    assert names == [folder.name for folder in teachers]
    (taught.run / NETWORK).unlink()  # as if it were cut off
    with pytest.raises(UserError, match="has teachers: give them with --teacher"):
        train(TrainConfig(**settings, run=taught.run), resume=True)
    with pytest.raises(UserError, match="seen the photos of every fold"):
        repeat_run(taught.run, data, tmp_path / "fold", {}, None)
