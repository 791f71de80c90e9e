import json
import logging
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedKFold

from tests.drawing import draw_face, edit_rows, quick_search, write_source
from tests.serving import SPACE
from training.config import SPLITS, PrepareConfig
from training.data.prepare import prepare
from training.data.rows import read_split
from training.errors import UserError
from training.finder import load_finder
from training.measure.audit import checks as audit_checks
from training.measure.audit import drawn as audit_drawn
from training.measure.audit import traces as audit_traces
from training.measure.audit.audit import audit, audit_table, found_leak
from training.measure.audit.checks import NEAR_BITS
from training.measure.audit.traces import perceptual_hash

pytestmark = pytest.mark.slow

FEW = 50  # bootstrap samples


class TearingFolds(StratifiedKFold):
    """Folds that ignore groups."""

    def split(self, X, y, groups=None):
        return super().split(X, y)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Use a small forest, and do not search for what drawings lack."""
    with quick_search(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_checks, "TREES", 10)
        patch.setattr(audit_drawn, "PAIRS", 0)  # training batches have tests of their own
        yield


@pytest.fixture(scope="module")
def clean(data, tmp_path_factory):
    """The drawn faces as they were prepared: folder and audit."""
    copy = tmp_path_factory.mktemp("clean") / "faces"
    shutil.copytree(data, copy)
    return copy, audit(copy, samples=FEW)


@pytest.fixture(scope="module")
def torn(data, tmp_path_factory):
    """The audit of a prepared folder whose splits share a group, a file and a picture."""
    copy = tmp_path_factory.mktemp("torn") / "faces"
    shutil.copytree(data, copy)
    first, second, third = read_split(copy, "test")[:3]
    shutil.copy(second.path, copy / "train" / "real" / "copy.jpg")
    with Image.open(third.path) as photo:
        photo.resize((80, 80)).save(copy / "train" / "real" / "again.jpg", quality=60)

    def edit(rows):
        rows[0]["group"] = first.group
        added = {"copy": second.group, "again": "another"}
        return rows + [
            {**rows[0], "file_name": f"real/{name}.jpg", "label": "real", "group": group}
            for name, group in added.items()
        ]

    edit_rows(copy, "train", edit)
    return audit(copy, samples=FEW)


def test_a_prepared_folder_has_no_leak_and_gets_a_file(clean):
    data, results = clean
    assert not found_leak(results)
    assert results["prepared"]
    photos = [photo for split in SPLITS for photo in read_split(data, split)]
    assert results["photos"] == len(photos)
    assert results["fakes"] == sum(photo.is_fake for photo in photos)
    assert results["groups"] == len({photo.group for photo in photos})
    assert json.loads((data / "audit.json").read_text()) == results
    assert not list(data.glob("partial-*"))


def test_random_labels_come_out_at_chance(clean):
    _, results = clean
    auc = results["checks"]["shuffled"]["figures"]["roc_auc"]
    assert auc["value"] == pytest.approx(0.5, abs=0.08)
    assert auc["low"] < auc["value"] < auc["high"]
    assert not results["checks"]["shuffled"]["leak"]


def test_folds_that_tear_groups_are_noticed(tmp_path, monkeypatch):
    source = tmp_path / "source"
    for label in ("real", "fake"):
        (source / label).mkdir(parents=True)
        for number in range(24):
            draw_face(number // 3 + 100 * (label == "fake"), 48).save(
                source / label / f"{number}.jpg"
            )
    grouped = audit(source, samples=FEW)
    assert grouped["groups"] == 16
    assert not grouped["checks"]["shuffled"]["leak"]
    monkeypatch.setattr(audit_checks, "StratifiedGroupKFold", TearingFolds)
    results = audit(source, samples=FEW)
    assert results["checks"]["shuffled"]["leak"]
    assert "measurement itself leaks" in results["checks"]["shuffled"]["finding"]


def test_a_planted_jpeg_table_is_found_and_gone_after_prepare(tmp_path):
    source = write_source(tmp_path / "source", per_label=24)
    for path in sorted((source / "training_fake").iterdir())[:12]:
        with Image.open(path) as photo:
            photo.copy().save(path, quality=80)
    results = audit(source, samples=FEW)
    check = results["checks"]["metadata"]
    assert check["leak"]
    assert found_leak(results)
    assert "12 of 24 fakes and 0 of 24 real photos" in check["finding"]
    assert "prepare" in check["finding"]
    assert check["figures"]["encodings"] == 2
    assert "groups_across_splits" not in results["checks"]
    assert not list(source.glob("*.json"))
    output = prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=64))
    after = audit(output, samples=FEW)["checks"]["metadata"]
    assert not after["leak"]
    assert "encoded alike" in after["finding"]


def test_size_tells_where_the_encoding_does_not(tmp_path):
    source = tmp_path / "source"
    for label, size in (("real", 48), ("fake", 64)):
        (source / label).mkdir(parents=True)
        for number in range(20):
            draw_face(number + size * 100, size).save(source / label / f"{number}.jpg")
    check = audit(source, samples=FEW)["checks"]["metadata"]
    assert check["figures"]["encodings"] == 1
    assert check["figures"]["roc_auc"]["low"] > 0.9
    assert check["leak"]


def test_a_tinted_border_is_found(tmp_path):
    planted = write_source(tmp_path / "planted", per_label=20)
    for path in (planted / "training_fake").iterdir():
        pixels = np.asarray(Image.open(path)).astype(int)
        tint = np.zeros_like(pixels)
        tint[..., 0] = 40
        tint[8:-8, 8:-8] = 0
        Image.fromarray((pixels + tint).clip(0, 255).astype(np.uint8)).save(path)
    results = audit(planted, samples=FEW)
    border = results["checks"]["border"]
    assert border["leak"]
    assert border["figures"]["roc_auc"]["value"] > 0.8
    assert "exceeds" in border["finding"]
    assert found_leak(results)


def test_faces_that_are_framed_otherwise_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_traces, "load_finder", load_finder)
    portrait = Image.open(SPACE / "examples/portrait.jpg")
    rng = np.random.default_rng(0)
    for label, margin in (("real", 60), ("fake", 30)):
        (tmp_path / label).mkdir()
        for number in range(20):
            room = margin + rng.integers(-6, 7)
            photo = portrait.crop((103 - room, 67 - room, 193 + room, 157 + room))
            noisy = np.asarray(photo, float) + rng.normal(0, 20, (*photo.size, 3))
            noisy = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
            noisy.resize((200, 200)).save(tmp_path / label / f"{number}.png")
    framing = audit(tmp_path, samples=FEW)["checks"]["framing"]
    assert framing["figures"]["roc_auc"]["value"] > 0.9
    assert framing["leak"]
    assert "place and size of the face exceeds" in framing["finding"]


def test_a_group_across_splits_is_found(torn):
    check = torn["checks"]["groups_across_splits"]
    # The renamed group, and the group of the copied file.
    assert check["leak"]
    assert check["figures"]["count"] == 2
    assert check["figures"]["examples"][0][0].startswith("train/")
    assert "2 groups" in check["finding"]


def test_an_identical_file_in_another_split_is_found(torn):
    check = torn["checks"]["byte_duplicates"]
    assert check["leak"]
    assert check["figures"]["across_splits"] == 1
    assert check["figures"]["examples"][0][0] == "train/real/copy.jpg"


def test_a_nearly_identical_picture_in_another_split_is_found(torn):
    check = torn["checks"]["perceptual_duplicates"]
    assert check["leak"]
    assert (check["figures"]["count"], check["figures"]["across_splits"]) == (1, 1)
    assert check["figures"]["examples"][0][0] == "train/real/again.jpg"


def test_duplicates_are_no_leak_without_splits_unless_the_labels_contradict(tmp_path, caplog):
    source = write_source(tmp_path / "source", per_label=12)
    real, fake = source / "training_real", source / "training_fake"
    shutil.copy(real / "real_00000.jpg", real / "twin.jpg")
    edited = draw_face(1)
    edited.putpixel((48, 48), (0, 0, 0))
    edited.save(fake / "slight.jpg")  # nearly equal to its source, as a fake may be
    (fake / "damaged.jpg").write_bytes(b"no photo")
    with caplog.at_level(logging.INFO):
        results = audit(source, tmp_path / "out" / "raw.json", samples=FEW)
    assert results["unreadable"] == ["training_fake/damaged.jpg"]
    messages = [record.message for record in caplog.records]
    assert "Skipped 1 unreadable photos, first training_fake/damaged.jpg." in messages
    assert set(audit_table(results).splitlines()) <= set(messages)  # line by line
    assert results["photos"] == 26
    same, near = (results["checks"][f"{name}_duplicates"] for name in ("byte", "perceptual"))
    assert (same["figures"]["count"], same["leak"]) == (1, False)
    assert (near["figures"]["count"], near["figures"]["across_labels"]) == (1, 1)
    assert near["figures"]["across_splits"] is None
    assert not near["leak"]
    assert json.loads((tmp_path / "out" / "raw.json").read_text()) == results

    shutil.copy(real / "real_00002.jpg", fake / "contradiction.jpg")
    same = audit(source, samples=FEW)["checks"]["byte_duplicates"]
    assert (same["figures"]["across_labels"], same["leak"]) == (1, True)


def test_the_hash_survives_encoding_and_tells_faces_apart():
    face = draw_face(3, 256)
    smaller = face.resize((100, 100)).resize((256, 256))
    assert np.sum(perceptual_hash(face) != perceptual_hash(smaller)) <= NEAR_BITS
    other_face = draw_face(4, 256)
    assert np.sum(perceptual_hash(face) != perceptual_hash(other_face)) > NEAR_BITS


def test_the_table(clean):
    _, results = clean
    lines = audit_table(results).splitlines()
    assert len(lines) == 2 + len(results["checks"]) == 9
    assert lines[2].startswith("| metadata | AUC 0.")
    assert lines[6].startswith("| groups across splits | 0 | no |")


def test_both_labels_are_needed(data, tmp_path):
    copy = tmp_path / "faces"
    shutil.copytree(data, copy)
    for split in SPLITS:
        edit_rows(copy, split, lambda rows: [row for row in rows if row["label"] == "real"])
    with pytest.raises(UserError, match="holds real photos only: an audit takes both labels"):
        audit(copy)


def test_too_few_photos(tmp_path):
    source = write_source(tmp_path / "source", per_label=9)
    (source / "training_real" / "damaged.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match="holds 18 readable photos: an audit takes 20 or more"):
        audit(source)


def test_too_few_sources(tmp_path):
    source = write_source(tmp_path / "source", per_label=12)
    for path in (source / "training_fake").iterdir():
        draw_face(0).save(path)
    with pytest.raises(UserError, match=r"fake photos of .* come from 1 sources"):
        audit(source)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="No photos in"):
        audit(tmp_path / "absent")


def test_second_encoding_of_the_originals_is_found(shared):
    results = audit(shared / "originals600", samples=FEW)
    check = results["checks"]["metadata"]
    assert check["figures"]["encodings"] == 2
    assert "4 of 18 fakes and 0 of 11 real photos" in check["finding"]
    assert "tells the label" in check["finding"]
    assert check["leak"]
    assert found_leak(results)
    near = results["checks"]["perceptual_duplicates"]
    assert near["figures"]["across_labels"] == near["figures"]["count"] == 1
    assert not near["leak"]
