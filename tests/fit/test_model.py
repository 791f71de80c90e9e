import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import keras.src.applications.efficientnet as efficientnet
import numpy as np
import pytest

from tests.networks import small_backbone, small_networks
from training.errors import UserError
from training.fit.network import build_model, copy_weights, photo_normalization
from training.lab.benchmark_network import flops
from training.ship.quantize import FLOAT_BLOCKS

SMALL = {"input_size": 64, "hidden_units": 16}


@pytest.fixture
def small():
    with small_networks():
        yield


@pytest.mark.slow
def test_layout_is_efficientnet_b0_and_a_head(tmp_path):
    backbone = keras.applications.EfficientNetB0(include_top=False, weights=None)
    path = tmp_path / "b0.weights.h5"
    backbone.save_weights(path)
    model = build_model(backbone_weights=str(path), trainable_layers=20)
    assert model.input_shape == (None, 224, 224, 3)
    assert model.output_shape == (None, 2)
    head = [type(layer).__name__ for layer in model.layers[-5:]]
    assert head == ["GlobalAveragePooling2D", "Dense", "BatchNormalization", "Dropout", "Dense"]
    assert model.get_layer("hidden").units == 256
    assert model.get_layer("hidden").kernel_regularizer is not None
    assert model.get_layer("pooled").input.shape == (None, 7, 7, 1280)
    kernel = model.get_layer("block3a_expand_conv").kernel
    assert np.array_equal(kernel, backbone.get_layer("block3a_expand_conv").kernel)
    names = [layer.name for layer in model.layers]
    assert all(any(name.startswith(f"{block}_") for name in names) for block in FLOAT_BLOCKS)
    trains = [layer.trainable for layer in model.layers[:-5]]
    assert trains == [False] * (len(trains) - 20) + [True] * 20
    # 0.39 billion multiplications: Tan and Le 2019, table 2
    assert flops(model) == pytest.approx(2 * 0.39e9, rel=0.1)


@pytest.mark.usefixtures("small")
def test_frozen_batch_norm_keeps_its_statistics():
    model = build_model(backbone_weights="none", trainable_layers=3, **SMALL)
    frozen, free = model.get_layer("stem_bn"), model.get_layer("top_bn")
    before = [np.array(layer.moving_mean) for layer in (frozen, free)]
    model(np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)), training=True)
    assert np.array_equal(frozen.moving_mean, before[0])
    assert not np.array_equal(free.moving_mean, before[1])


@pytest.mark.usefixtures("small")
def test_seed_makes_the_same_head():
    kernels = [
        np.array(
            build_model(backbone_weights="none", trainable_layers=1, seed=seed, **SMALL)
            .get_layer("hidden")
            .kernel
        )
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_wrong_weights_are_one_sentence(tmp_path, monkeypatch):
    def load(include_top: bool, weights: str, input_shape: tuple) -> keras.Model:
        backbone = small_backbone("none", input_shape[0])
        backbone.load_weights(weights)
        return backbone

    monkeypatch.setattr(keras.applications, "EfficientNetB0", load)
    with pytest.raises(UserError, match="is not a file"):
        build_model(backbone_weights=str(tmp_path / "none.h5"), trainable_layers=20)
    (tmp_path / "text.weights.h5").write_text("no weights")
    with pytest.raises(UserError, match="does not hold weights of EfficientNetB0"):
        build_model(backbone_weights=str(tmp_path / "text.weights.h5"), trainable_layers=20)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    dense.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(UserError, match="does not hold weights of EfficientNetB0"):
        build_model(backbone_weights=str(tmp_path / "other.weights.h5"), trainable_layers=20)


@pytest.mark.slow
def test_imagenet_weights_come_from_keras_home_or_the_network(tmp_path, monkeypatch):
    backbone = keras.applications.EfficientNetB0(include_top=False, weights=None)
    norm = photo_normalization(backbone)  # as in the file that Keras downloads
    norm.set_weights(
        [np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)]
    )
    path = tmp_path / "models" / "efficientnetb0_notop.h5"
    path.parent.mkdir()
    backbone.save(path)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    # The file of the test has another hash than Keras' own.
    hashes = (efficientnet.WEIGHTS_HASHES["b0"][0], hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", hashes)
    model = build_model(backbone_weights="imagenet", trainable_layers=20, input_size=64)
    keras_model = keras.applications.EfficientNetB0(include_top=False, input_shape=(64, 64, 3))
    photos = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    own, theirs = (
        np.asarray(
            keras.Model(network.input, network.get_layer("stem_conv").output)(
                photos, training=False
            )
        )
        for network in (model, keras_model)
    )
    # They agree, although `model` lacks a layer of Keras' network.
    np.testing.assert_allclose(own, theirs, atol=1e-4 * np.abs(theirs).max())
    kernels = (np.array(network.get_layer("top_conv").kernel) for network in (model, backbone))
    np.testing.assert_array_equal(*kernels)
    path.unlink()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # which keeps the proxies of its first use
    refusal = "(?s)The ImageNet weights could not be downloaded.*--backbone-weights PATH"
    with pytest.raises(UserError, match=refusal):
        build_model(backbone_weights="imagenet", trainable_layers=20, input_size=64)


def normalising_network(side: int, scale: float | None) -> keras.Model:
    """Return a network that normalises photos, and then rescales them if `scale` is given."""
    layers = keras.layers
    photos = keras.Input((side, side, 3))
    normalised = layers.Normalization()(layers.Rescaling(1 / 255)(photos))
    scaled = layers.Rescaling([scale, 1.0, 2 * scale])(normalised) if scale else normalised
    kernel = keras.initializers.RandomNormal(seed=1)
    return keras.Model(photos, layers.Conv2D(4, 3, kernel_initializer=kernel)(scaled))


@pytest.mark.parametrize("scale", [None, 3.0])
def test_copied_weights_normalise_photos_alike(scale, tmp_path):
    source = normalising_network(16, scale)
    source.layers[2].set_weights(
        [np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.1]), np.array(0)]
    )
    source.save(tmp_path / "source.keras")
    source = keras.models.load_model(tmp_path / "source.keras")
    photos = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3))
    expected = source.predict(photos, verbose=0)
    larger = np.tile(photos, (1, 2, 2, 1))
    target, fresh = normalising_network(32, None), normalising_network(32, None)
    copy_weights(source, target)
    copied = target.predict(larger, verbose=0)[:, :14, :14]
    np.testing.assert_allclose(copied, expected, atol=1e-5)
    assert np.abs(fresh.predict(larger, verbose=0)[:, :14, :14] - expected).max() > 0.1


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A network with the evidence head, with other weights and normalisation than a fresh one."""
    with small_networks():
        model = build_model(backbone_weights="none", trainable_layers=1, head="evidence", **SMALL)
    rng = np.random.default_rng(0)
    head = model.get_layer("evidence")
    head.set_weights([rng.normal(size=weights.shape) for weights in head.get_weights()])
    norm = photo_normalization(model)
    norm.adapt_mean.assign(np.full(norm.adapt_mean.shape, 0.4))
    norm.finalize_state()
    path = tmp_path_factory.mktemp("networks") / "evidence.keras"
    model.save(path)
    return path


@pytest.mark.usefixtures("small")
def test_training_goes_on_from_a_whole_network_at_another_size(saved):
    model = build_model(
        backbone_weights=str(saved),
        trainable_layers=4,
        head="evidence",
        input_size=96,
        hidden_units=16,
    )
    expected = keras.models.load_model(saved).get_weights()
    for weights, saved_weights in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(weights, saved_weights)
    assert model.input_shape == (None, 96, 96, 3)
    assert np.asarray(photo_normalization(model).mean).ravel() == pytest.approx(0.4)
    trains = [layer.name for layer in model.layers if layer.trainable]
    assert {"top_conv", "evidence"} <= set(trains)
    assert "stem_conv" not in trains


@pytest.mark.usefixtures("small")
def test_networks_that_do_not_fit_are_one_sentence(saved, tmp_path):
    def build(path: Path, **settings) -> None:
        build_model(
            backbone_weights=str(path),
            trainable_layers=1,
            **SMALL | {"head": "evidence", **settings},
        )

    for change in ({"head": "pooled"}, {"hidden_units": 8}):
        with pytest.raises(UserError, match=r"of another kind: .* same `head` and `hidden_units`"):
            build(saved, **change)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "dense.keras")
    with pytest.raises(UserError, match="is a network of another kind"):
        build(tmp_path / "dense.keras")
    (tmp_path / "text.keras").write_text("no network")
    (tmp_path / "half.keras").write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    for name in ("text.keras", "half.keras"):
        with pytest.raises(UserError, match="cannot be loaded as a Keras network"):
            build(tmp_path / name)
    with pytest.raises(UserError, match=r"none\.keras is not a file: give the path of a network"):
        build(tmp_path / "none.keras")


@pytest.mark.usefixtures("small")
def test_evidence_head_loads_without_this_project(tmp_path):
    model = build_model(backbone_weights="none", trainable_layers=1, head="evidence", **SMALL)
    photos = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    expected = np.asarray(model(photos, training=False))
    whole, old = tmp_path / "model.keras", tmp_path / "model.h5"
    for path in (whole, old):
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
        np.testing.assert_allclose(loaded(photos, training=False), expected, atol=1e-5)
    with zipfile.ZipFile(whole) as archive, h5py.File(old) as file:
        configs = [json.loads(archive.read("config.json")), json.loads(file.attrs["model_config"])]
    for config in configs:
        classes = list(classes_of(config))
        assert len(classes) > len(model.layers)
        assert {module.split(".")[0] for module, _ in classes} == {"keras"}
        assert {name for _, name in classes} <= {None, "Functional"}  # others are a project's own


def classes_of(config: object) -> Iterator[tuple[str, str | None]]:
    """Yield module and registered name of each class that a stored network names."""
    if isinstance(config, dict):
        if "registered_name" in config:
            yield config["module"], config["registered_name"]
        for value in config.values():
            yield from classes_of(value)
    elif isinstance(config, list):
        for value in config:
            yield from classes_of(value)


def test_heads_that_cannot_be_built_are_one_sentence():
    with pytest.raises(UserError, match="neither `pooled` nor `evidence`"):
        build_model(backbone_weights="none", trainable_layers=1, head="other")
    with pytest.raises(UserError, match="not a multiple of 32"):
        build_model(backbone_weights="none", trainable_layers=1, head="evidence", input_size=80)
