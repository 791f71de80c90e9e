import csv
import json
import shutil
from dataclasses import asdict, fields

import numpy as np
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

import training.lab.baselines
from space.detector import BUNDLED, Detector
from space.photos import open_photo
from tests.drawing import draw_face
from tests.networks import small_networks
from training.config import SPLITS
from training.data.rows import METADATA, PAIRS, Photo, PhotoRow, read_split
from training.errors import UserError
from training.lab.baselines import (
    Candidate,
    baselines,
    baselines_table,
    fit_best,
    hog_features,
    lbp_features,
)
from training.measure.answers import ORIGINAL, ask
from training.measure.figures import compute_metrics
from training.measure.scores import open_model, scores

pytestmark = pytest.mark.slow


def stripe(photo: Photo) -> None:
    """Draw stripes over an eye: grey pictures do not show the green of the drawn fakes."""
    pixels = np.array(open_photo(photo.path))
    height, width = pixels.shape[:2]
    eye = pixels[int(0.35 * height) : int(0.6 * height), int(0.5 * width) : int(0.75 * width)]
    eye[::4], eye[1::4] = 40, 40
    Image.fromarray(pixels).save(photo.path, quality=95)


def write_split(data, split: str, photos: list[Photo]) -> None:
    """Move photos into a split and write its metadata."""
    for photo in photos:
        photo.path.rename(data / split / photo.file_name)
    names = [column.name for column in fields(PhotoRow)]
    with (data / split / METADATA).open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for photo in photos:
            row = asdict(photo)
            writer.writerow({name: "" if row[name] is None else row[name] for name in names})


@pytest.fixture(scope="module")
def dealt(data, tmp_path_factory):
    """The drawn faces with striped fakes in three equal splits, with two pairs in `test`."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("dealt") / "faces")
    photos = [photo for split in SPLITS for photo in read_split(folder, split)]
    photos.sort(key=lambda photo: photo.label)
    for photo in photos:
        if photo.is_fake:
            stripe(photo)
    for start, split in enumerate(SPLITS):
        write_split(folder, split, photos[start::3])
    test = read_split(folder, "test")
    fakes = [photo.path for photo in test if photo.is_fake][:2]
    reals = [photo.path for photo in test if not photo.is_fake][:2]
    with (folder / PAIRS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "inliers", "extent"])
        for pair in zip(reals, fakes, strict=True):
            writer.writerow([*(path.relative_to(folder) for path in pair), 40, 0.5])
    return folder


@pytest.fixture(scope="module")
def found(dealt, run, tmp_path_factory):
    """Results of all methods, with smaller photos for the backbone and a smaller forest."""
    output = tmp_path_factory.mktemp("found") / "below" / "figures.json"
    with small_networks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.lab.baselines, "PROBE_SIDE", 64)
        forest = Candidate(RandomForestClassifier(30, random_state=0), {"min_samples_leaf": [1, 3]})
        patch.setitem(training.lab.baselines.CANDIDATES, "lbp_forest", forest)
        results = baselines(
            dealt, backbone_weights="none", run=run, model=BUNDLED, output=output, samples=20
        )
    assert json.loads(output.read_text()) == results
    return results


def test_always_the_same_answer_is_the_majority_baseline(found, dealt):
    photos = read_split(dealt, "test")
    halves = {"real": 0.5, "fake": 0.5}
    expected = compute_metrics(photos, np.zeros(len(photos)), thresholds=halves, samples=1)
    majority = found["methods"]["majority"]
    assert majority["accuracy"]["value"] == pytest.approx(expected["majority_baseline"])
    assert majority["roc_auc"]["value"] == 0.5
    assert majority["paired_ranking"]["value"] == 0.5


@pytest.mark.parametrize("name", ["hog_svm", "lbp_forest", "linear_probe"])
def test_what_is_fitted_tells_striped_fakes_from_drawn_faces(found, name):
    method = found["methods"][name]
    assert method["roc_auc"]["value"] > 0.8
    assert method["validation_roc_auc"] > 0.8
    assert method["chosen"]


def test_run_and_model_are_measured_with_the_code_of_evaluate(found, dealt, run):
    photos = read_split(dealt, "test")
    halves = {"real": 0.5, "fake": 0.5}
    for name, path in (("run", run), ("model", BUNDLED)):
        model = open_model(path)
        served = isinstance(model, Detector)
        judged = ask(model, photos)[ORIGINAL].probabilities if served else scores(model, photos)
        expected = compute_metrics(photos, judged, thresholds=halves, samples=20)
        for figure in ("roc_auc", "accuracy"):
            assert found["methods"][name][figure] == pytest.approx(expected[figure], abs=1e-6)


def test_pairs_are_those_of_the_test_split(found, dealt):
    photos = read_split(dealt, "test")
    fakes = [index for index, photo in enumerate(photos) if photo.is_fake][:2]
    reals = [index for index, photo in enumerate(photos) if not photo.is_fake][:2]
    judged = ask(open_model(BUNDLED), photos)[ORIGINAL].probabilities
    expected = np.mean(judged[fakes] > judged[reals])
    assert found["pairs"] == 2
    assert found["methods"]["model"]["paired_ranking"]["value"] == expected


def test_table_has_a_row_for_each_method(found):
    rows = baselines_table(found).splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| always the more frequent label",
        "| HOG + SVM",
        "| LBP + random forest",
        "| linear probe of the frozen backbone",
        "| plain fine-tuned network",
        "| exported model",
    ]
    accuracy = found["methods"]["hog_svm"]["accuracy"]
    assert f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})" in rows[1]


def test_shuffled_labels_leave_chance_on_the_test_photos():
    rng = np.random.default_rng(0)
    features = {split: rng.normal(size=(300, 40)) for split in SPLITS}
    truth = {split: rng.integers(0, 2, 300) for split in SPLITS}
    scores, facts = fit_best(training.lab.baselines.CANDIDATES["linear_probe"], features, truth)
    wins = scores[truth["test"] == 1][:, None] > scores[truth["test"] == 0]
    assert wins.mean() == pytest.approx(0.5, abs=0.1)
    assert facts["validation_roc_auc"] < 0.65


def test_hyper_parameters_are_chosen_on_validation_photos():
    # Forty noise features separate the few training photos; only a small C ignores them.
    rng = np.random.default_rng(1)
    truth = {split: rng.integers(0, 2, 60) for split in SPLITS}
    features = {
        split: np.column_stack([truth[split] + rng.normal(0, 0.8, 60), rng.normal(size=(60, 40))])
        for split in SPLITS
    }
    weak, strong = 1e-3, 1e6
    for grid in ([strong, weak], [weak, strong]):
        candidate = Candidate(LogisticRegression(max_iter=5000), {"C": grid})
        _, facts = fit_best(candidate, features, truth)
        _, strong_facts = fit_best(
            Candidate(LogisticRegression(max_iter=5000), {"C": [strong]}), features, truth
        )
        assert facts["chosen"] == {"C": weak}
        assert facts["validation_roc_auc"] > strong_facts["validation_roc_auc"]


def test_hog_sees_edges_and_not_light():
    face = np.asarray(draw_face(1, 128).convert("L")) // 2
    mirrored = np.ascontiguousarray(face[:, ::-1])
    assert hog_features(face).shape == (1764,)
    assert np.abs(hog_features(face) - hog_features(face + 60)).max() < 1e-6
    assert np.abs(hog_features(face) - hog_features(mirrored)).max() > 0.1


def test_lbp_shares_add_up_and_know_their_place():
    grey = np.zeros((128, 128), np.uint8)
    grey[:32, 96:] = np.random.default_rng(0).integers(0, 256, (32, 32))
    shares = lbp_features(grey)
    assert shares.shape == (448,)
    by_cell = shares[:160].reshape(16, 10)
    assert np.allclose(by_cell.sum(axis=1), 1)
    flat = by_cell[12]
    unlike_flat = [index for index, cell in enumerate(by_cell) if np.abs(cell - flat).max() > 0.2]
    assert unlike_flat == [3]


def test_too_few_photos_are_one_sentence(dealt, monkeypatch):
    monkeypatch.setattr("training.measure.figures.MIN_PHOTOS", 1000)
    with pytest.raises(UserError, match=r"split holds \d+ photos, too few"):
        baselines(dealt, backbone_weights="none")


def test_wrong_flags_are_one_sentence(dealt, tmp_path):
    with pytest.raises(UserError, match="is not a file"):
        baselines(dealt, backbone_weights=str(tmp_path / "missing.h5"))
    with pytest.raises(UserError, match="cannot be read"):
        baselines(dealt, backbone_weights="none", model=tmp_path)
    with pytest.raises(UserError, match="give the folder of a training run"):
        baselines(dealt, backbone_weights="none", run=tmp_path)


def test_a_run_on_other_splits_is_refused(dealt, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    config["data"]["fingerprint"] = "another"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is not the data that"):
        baselines(dealt, backbone_weights="none", run=copy)
