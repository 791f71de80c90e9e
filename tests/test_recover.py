import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from space.detector import Detector
from space.photos import model_input
from tests.drawing import draw_face
from tests.serving import SPACE
from training import card
from training.compare import compare
from training.config import TrainConfig, read_config
from training.dataset import draw_inputs, read_report
from training.distillation import check_teachers
from training.errors import UserError
from training.fit import repeat_run, train, train_recipe
from training.hub import push
from training.recover import _normalise_photos, read_constants, recover
from training.saliency import with_heatmap

BUNDLED = SPACE / "model"


@pytest.fixture(scope="module")
def model(data, tmp_path_factory) -> Path:
    """The bundled model, as if it came from the drawn faces."""
    folder = Path(shutil.copytree(BUNDLED, tmp_path_factory.mktemp("served") / "model"))
    report = json.loads((folder / "export_report.json").read_text())
    report["data_fingerprint"] = read_report(data)["fingerprint"]
    (folder / "export_report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(scope="module")
def recovered(model, data, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.recover.MEASURED", 32)
        return recover(model, data, tmp_path_factory.mktemp("recovered") / "run")


@pytest.fixture(scope="module")
def network(recovered) -> keras.Model:
    return keras.models.load_model(recovered / "deepfake_cnn.keras")


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    return np.stack([model_input(draw_face(n, 160, tinted=bool(n % 2)), 160) for n in range(12)])


def test_recovered_network_judges_and_points_as_the_model_does(network, model, photos):
    probabilities, heatmaps = Detector(model).run(photos)
    np.testing.assert_allclose(network.predict(photos, verbose=0), probabilities, atol=0.06)
    own = with_heatmap(network).predict(photos, verbose=0)["heatmap"]
    assert np.corrcoef(own.ravel(), heatmaps.ravel())[0, 1] > 0.9
    assert np.ptp(probabilities[:, 1]) > 0.1  # or anything would agree


def test_activations_are_distributed_as_the_normalisations_say(network, data):
    norms = [one for one in network.layers if isinstance(one, keras.layers.BatchNormalization)]
    taps = keras.Model(network.input, [norm.input for norm in norms])
    assert len(norms) == 50
    measured = draw_inputs(data, 32, 160, Detector(BUNDLED).config.crop_margin)
    inputs = taps.predict(measured, verbose=0)
    for norm, values in zip(norms, inputs, strict=True):
        mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
        close = {"rtol": 1e-2, "atol": 1e-2}
        np.testing.assert_allclose(values.mean((0, 1, 2)), mean, **close)
        np.testing.assert_allclose(values.var((0, 1, 2)), variance, **close)


def test_run_can_be_learned_from_and_compared_but_not_repeated(recovered, model, data, tmp_path):
    pairs = {"head": "evidence", "sampling": "pairs", "mask_weight": 1.0, "crop_margin": 1.2}
    check_teachers(TrainConfig(data=data, teacher=(str(recovered),), input_size=160, **pairs))
    figures = compare([recovered, model], data, output=tmp_path / "out.json", samples=5)
    first, second = figures["recipes"]
    digest = Detector(model).config.sha256
    assert first["differs"] == {"model": f"recovered from {digest[:12]}"}
    assert second["differs"] == {"model": str(model)}
    assert read_config(recovered)["settings"]["recovered_from"] == digest
    with pytest.raises(UserError, match="saw the photos of all folds"):
        repeat_run(recovered, data, tmp_path / "again", {}, None)
    for resume in (False, True):
        with pytest.raises(UserError, match="go on from it with --start-from"):
            train_recipe("one-stage", {"run": recovered, "data": data}, resume=resume)
    with pytest.raises(UserError, match="no training"):
        push(recovered, "someone/detector", data=data)


def test_training_goes_on_from_it(recovered, network, data, photos, tmp_path, monkeypatch):
    monkeypatch.setattr("training.fit._fit", lambda model, *_: model.save(tmp_path / "began.keras"))
    monkeypatch.setattr("training.fit._finish", lambda run: None)
    settings = {"head": "evidence", "input_size": 160, "batch_size": 8}
    train(TrainConfig(data=data, run=tmp_path / "run", start_from=str(recovered), **settings))
    began = keras.models.load_model(tmp_path / "began.keras")
    expected = network.predict(photos, verbose=0)
    np.testing.assert_allclose(began.predict(photos, verbose=0), expected, atol=1e-5)
    assert "the network of an exported file" in _backbone_on_card(tmp_path / "run")


def _backbone_on_card(run: Path) -> str:
    (run / "history.csv").write_text("epoch\n0\n")
    return card._training(run)["backbone"]


def test_what_cannot_be_recovered_is_one_sentence(model, recovered, exported, data, tmp_path):
    with pytest.raises(UserError, match="holds a run already"):
        recover(model, data, recovered)
    with pytest.raises(UserError, match="has not the head `evidence`"):
        recover(exported, data, tmp_path / "run")
    with pytest.raises(UserError, match="is not the data"):
        recover(BUNDLED, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_network_is_not_passed_off_as_the_model(model, data, tmp_path, monkeypatch):
    def with_another_bias(graph: bytes) -> dict:
        found = read_constants(graph)
        kernel, bias = found["evidence"]
        return found | {"evidence": (kernel, bias + 1)}

    monkeypatch.setattr("training.recover.read_constants", with_another_bias)
    monkeypatch.setattr("training.recover._measure_activations", lambda *_: None)  # changes nothing
    with pytest.raises(UserError, match="does not judge as the model does"):
        recover(model, data, tmp_path / "run")


def test_normalised_photos_are_recovered(photos, tmp_path):
    """A network that began with ImageNet's weights subtracts their mean from photos."""
    mean, variance = np.array([0.485, 0.456, 0.406]), np.array([0.05, 0.06, 0.07])
    layers = keras.layers
    image = keras.Input((160, 160, 3))
    norm = layers.Normalization()
    normalised = norm(layers.Rescaling(1 / 255)(image))
    convolved = layers.Conv2D(4, 3, strides=2, name="stem_conv")(normalised)
    small = keras.Model(image, convolved, name="deepfake_cnn")
    norm.set_weights([mean, variance, np.array(0)])
    norm.finalize_state()
    signature = keras.InputSpec(shape=(None, 160, 160, 3), dtype="float32", name="image")
    path = tmp_path / "small.tflite"
    small.export(path, format="litert", input_signature=[signature], verbose=False)
    found = read_constants(path.read_bytes())
    factor, shift = found["photos"]
    expected = (photos / 255 - mean) / np.sqrt(variance)
    np.testing.assert_allclose(photos * factor + shift, expected, atol=1e-4)
    assert set(found) == {"photos", "stem_conv"}
    bare = layers.Normalization()
    other = keras.Model(image, bare(layers.Rescaling(1 / 255)(image)))
    _normalise_photos(other, factor, shift)
    np.testing.assert_allclose(other.predict(photos, verbose=0), expected, atol=1e-3)
