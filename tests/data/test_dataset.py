import csv
import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, load_dataset
from PIL import Image

import training.data.prepare as module
from space.crops import crop_face
from space.faces import Face, load_face_finder
from space.photos import open_photo
from tests.data.test_splits import found, write_splits
from tests.drawing import draw_face, quick_search, write_source
from tests.serving import SPACE
from training.config import SPLITS, PrepareConfig
from training.data.find import SourcePhoto
from training.data.prepare import parse_name, prepare
from training.data.rows import (
    REPORT,
    features,
    open_framed,
    read_report,
    read_source_pairs,
    read_split,
)
from training.data.source_pairs import SourcePair, find_source_pairs
from training.errors import UserError

pytestmark = pytest.mark.usefixtures("_quick_search")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_datasets_reads_it_as_an_image_folder(data, tmp_path):
    loaded = load_dataset(
        "imagefolder", data_dir=str(data), features=features(), cache_dir=str(tmp_path / "a")
    )
    assert loaded["train"].features["label"] == ClassLabel(names=["real", "fake"])
    assert sum(loaded[split].num_rows for split in SPLITS) == 144
    for row in loaded["test"]:
        assert row["label"] == int(
            row["left_eye"] + row["right_eye"] + row["nose"] + row["mouth"] > 0
        )
        assert row["image"].size == (64, 64)
    # Without features, as people try first.
    plain = load_dataset("imagefolder", data_dir=str(data), cache_dir=str(tmp_path / "b"))
    plain = plain.cast_column("label", ClassLabel(names=["real", "fake"]))
    assert plain["test"]["label"] == loaded["test"]["label"]


def test_every_photo_is_encoded_alike(data):
    tables = {json.dumps(Image.open(path).quantization) for path in data.rglob("*.jpg")}
    assert len(tables) == 1


def test_split_is_disjoint_and_covers_all(data):
    names = [row.file_name for split in SPLITS for row in read_split(data, split)]
    assert len(names) == len(set(names)) == 144
    for split, labels in read_report(data)["counts"].items():
        rows = [row.label for row in read_split(data, split)]
        assert {label: rows.count(label) for label in labels} == labels


def test_running_again_changes_nothing_unasked_and_the_seed_decides(tmp_path, caplog):
    source = write_source(tmp_path / "source", per_label=24)
    config = PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=32)
    first = snapshot(prepare(config))
    written = (tmp_path / "faces" / REPORT).stat().st_mtime_ns
    with caplog.at_level(logging.INFO):
        assert snapshot(prepare(config)) == first
    assert "already prepared" in caplog.text
    assert (tmp_path / "faces" / REPORT).stat().st_mtime_ns == written
    repeated = prepare(dataclasses.replace(config, output=tmp_path / "again"))
    assert snapshot(repeated) == first
    with pytest.raises(UserError, match="holds another preparation: add --overwrite"):
        prepare(dataclasses.replace(config, size=40))
    assert snapshot(tmp_path / "faces") == first
    reseeded = prepare(dataclasses.replace(config, seed=8, overwrite=True))
    assert snapshot(reseeded).keys() != first.keys()


def test_identical_photos_share_a_split(tmp_path):
    source = write_source(tmp_path / "source", per_label=24)
    for number in range(8):
        original = source / "training_real" / "real_00000.jpg"
        shutil.copy(original, source / "training_real" / f"real_9{number:04d}.jpg")
    data = prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=32))
    splits = {
        row.group: {s for s in SPLITS for photo in read_split(data, s) if photo.group == row.group}
        for split in SPLITS
        for row in read_split(data, split)
    }
    assert len(splits) == 48
    assert all(len(group_splits) == 1 for group_splits in splits.values())


def test_a_photo_under_both_labels_is_told_and_kept_on_one_side(tmp_path, monkeypatch, caplog):
    alike = [SourcePair(0, 1, inliers=20, extent=0.9)]
    monkeypatch.setattr("training.data.splits.find_source_pairs", lambda paths, hashes: alike)
    source = write_source(tmp_path / "source", per_label=24)
    for number in range(6):
        real = source / "training_real" / f"real_{number:05d}.jpg"
        shutil.copy(real, source / "training_fake" / f"easy_8{number:04d}_1000.jpg")
    config = PrepareConfig(
        source=(str(source),), output=tmp_path / "faces", size=32, group_by="files"
    )
    data = prepare(config)
    assert "Real and fake by their folders: 6 of the photos, real_00000.jpg for one" in caplog.text
    assert read_report(data)["under_both_labels"] == [f"real_{n:05d}.jpg" for n in range(6)]
    assert read_report(data)["groups_of_several"] == 6  # by file, whatever pairs are found
    split_of = {row.path.stem: split for split in SPLITS for row in read_split(data, split)}
    for number in range(6):
        assert split_of[f"real_{number:05d}"] == split_of[f"easy_8{number:04d}_1000"]


def test_names_of_any_bytes_and_what_is_no_file(tmp_path, caplog):
    source = write_source(tmp_path / "source", per_label=24)
    real = source / "training_real"
    (real / "real_00000.jpg").rename(os.fsdecode(os.fsencode(real) + b"/foto_\xe9.jpg"))
    os.mkfifo(real / "pipe.jpg")
    shutil.copy(real / "real_00001.jpg", real / "._real_00001.jpg")
    (real / ".thumbnails").mkdir()
    shutil.copy(real / "real_00001.jpg", real / ".thumbnails")
    with caplog.at_level(logging.INFO):
        data = prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=32))
    rows = [row for split in SPLITS for row in read_split(data, split)]
    assert len(rows) == 48
    [odd] = [row for row in rows if "foto" in row.file_name]
    assert odd.file_name == "real/foto__xe9.jpg"
    assert odd.path.is_file()
    left_out = "pipes, devices, dead links or hidden (a name that begins with a dot): 3."
    assert left_out in caplog.text


def test_fakes_and_the_photos_they_were_made_from_share_a_split(tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.splits.find_source_pairs", find_source_pairs)
    source = write_source(tmp_path / "source", per_label=20)
    for number in range(3):
        real = draw_face(number, 200)
        real.save(source / "training_real" / f"real_{number:05d}.jpg")
        fake = real.copy()
        fake.paste(draw_face(50, 200).crop((60, 130, 140, 180)), (60, 130))
        fake.save(source / "training_fake" / f"hard_{900 + number}_0001.jpg")
    config = PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=200)
    data = prepare(config)
    pairs = []
    for split in SPLITS:
        photos = read_split(data, split)
        split_pairs = read_source_pairs(data, photos)
        pairs += [(photos[fake].path.stem, photos[real].path.stem) for fake, real in split_pairs]
        assert all(photos[fake].group == photos[real].group for fake, real in split_pairs)
    assert sorted(pairs) == [(f"hard_{900 + n}_0001", f"real_{n:05d}") for n in range(3)]
    assert read_report(data)["groups_of_several"] == 3


def test_too_few_of_one_label_is_one_sentence(tmp_path):
    source = write_source(tmp_path / "source", per_label=24)
    for path in sorted((source / "training_fake").iterdir())[2:]:
        path.unlink()
    with pytest.raises(UserError, match=r"Of 2 fake photos none fell into the .* split"):
        prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=32))


def test_bad_names_and_bad_files_are_counted(tmp_path, caplog):
    source = write_source(tmp_path / "source", per_label=24)
    draw_face(99).save(source / "training_fake" / "easy_116_111.jpg")
    (source / "training_fake" / "mid_999_1111.jpg").write_bytes(b"no photo")
    with caplog.at_level(logging.INFO):
        data = prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=32))
    assert "1 unreadable skipped, 1 malformed names" in caplog.records[-1].message
    report = read_report(data)
    assert report["malformed_names"] == ["easy_116_111.jpg"]
    assert report["unreadable"][0]["file"] == "fake/mid_999_1111.jpg"
    assert "not a readable photo" in report["unreadable"][0]["problem"]
    rows = [row for split in SPLITS for row in read_split(data, split)]
    [odd] = [row for row in rows if row.file_name == "fake/easy_116_111.jpg"]
    assert (odd.difficulty, odd.left_eye, odd.mouth) == ("easy", None, None)
    assert len(rows) == 49


def test_names_tell_difficulty_and_parts():
    fake = SourcePhoto(Path("hard_12_0110.jpg"), "fake", "somewhere", named_parts=True)
    assert parse_name(fake) == {
        "difficulty": "hard",
        "left_eye": 0.0,
        "right_eye": 1.0,
        "nose": 1.0,
        "mouth": 0.0,
        "malformed": False,
    }
    free = SourcePhoto(Path("IMG_1.jpg"), "fake", "somewhere", named_parts=False)
    assert parse_name(free)["malformed"] is False
    assert parse_name(free)["nose"] is None


def test_nothing_readable_is_an_error(tmp_path):
    for label in ("real", "fake"):
        (tmp_path / "source" / label).mkdir(parents=True)
        (tmp_path / "source" / label / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(UserError, match="None of the 2 photos can be read"):
        prepare(PrepareConfig(source=(str(tmp_path / "source"),), output=tmp_path / "faces"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_foreign_output_is_refused(source, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=REPORT):
        prepare(PrepareConfig(source=(str(source),), output=tmp_path))


def test_reading_refuses_what_prepare_did_not_write(tmp_path, data):
    with pytest.raises(UserError, match="was not written by prepare"):
        read_split(tmp_path, "train")
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    metadata = copy / "test" / "metadata.csv"
    header = metadata.read_text().splitlines()[0]
    metadata.write_text(header + "\n")
    with pytest.raises(UserError, match=r"test split of .* is empty"):
        read_split(copy, "test")
    with metadata.open("w", newline="") as file:
        csv.writer(file).writerow(["file_name", "label"])
    with pytest.raises(UserError, match="has the columns"):
        read_split(copy, "test")


def test_compression_of_real_photos_is_levelled(shared, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(shared / "originals600", source / "originals600")
    write_source(source / "drawn", per_label=24)
    output = tmp_path / "faces"
    config = PrepareConfig(source=(str(source),), output=output, size=128)
    report = read_report(prepare(config))
    assert sum(sum(labels.values()) for labels in report["counts"].values()) == 29 + 48
    assert report["malformed_names"] == ["easy_116_111.jpg"]
    originals = (source / "originals600").rglob("*.jpg")
    assert len({str(Image.open(path).quantization) for path in originals}) == 2
    assert len({str(Image.open(path).quantization) for path in output.rglob("*.jpg")}) == 1


def test_photos_are_cropped_to_the_face_where_that_is_asked_for(tmp_path):
    portrait = SPACE / "examples/portrait.jpg"
    finder = load_face_finder()
    config = PrepareConfig(crop=True, size=96)
    face, problem = module._encode(portrait, tmp_path / "face.jpg", config, finder)
    assert (len(face.split()), problem) == (4, None)
    (face,) = finder.find(open_photo(portrait))
    expected = crop_face(open_photo(portrait), face, module.CROP_MARGIN, 96)
    written = np.asarray(Image.open(tmp_path / "face.jpg"), float)
    assert np.abs(written - np.asarray(expected, float)).mean() < 3
    Image.new("RGB", (300, 200), "#8899aa").save(tmp_path / "wall.png")
    _, problem = module._encode(tmp_path / "wall.png", tmp_path / "wall.jpg", config, finder)
    assert problem == "No face was found in it."
    assert not (tmp_path / "wall.jpg").exists()


def test_cropped_photos_are_other_data():
    settings = (PrepareConfig(crop=crop) for crop in (True, False))
    cropped, whole = (module._fingerprint([], [], {}, config, "YuNet") for config in settings)
    assert cropped != whole


def test_given_splits_make_other_data():
    photo = found("real", "a")
    first, same, different = (
        module._fingerprint([photo], ["hash"], given, PrepareConfig(), "YuNet")
        for given in ({}, {}, {photo: "test"})
    )
    assert first == same != different


@pytest.fixture(scope="module")
def official(source, tmp_path_factory) -> Path:
    """Sources of both labels in two places, of real photos and of fakes, with given splits."""
    folder = tmp_path_factory.mktemp("official")
    for place, start in (("one", 0), ("two", 12)):
        for label in ("real", "fake"):
            (folder / place / label).mkdir(parents=True)
            for number in range(start, start + 12):
                name = f"v{number}__{'v' if label == 'real' else 'x'}{number}.png"
                face = draw_face(number + 1000 * (label == "fake"), tinted=label == "fake")
                face.save(folder / place / label / name)
    for name, label in (("web", "real"), ("t2i", "fake")):
        (folder / name / label).mkdir(parents=True)
        for number in range(24):
            seed = 5000 + 100 * (label == "fake") + number
            draw_face(seed).save(folder / name / label / f"{number}.png")
    rows = [f"web,real/{number}.png,{SPLITS[number % 3]}" for number in range(24)]
    rows += [f"dfdc,real/v{number}__v{number}.png,test" for number in (3, 17)]
    splits = write_splits(folder, *rows)
    config = PrepareConfig(
        source=(
            f"dfdc={folder / 'one'}",
            f"dfdc={folder / 'two'}",
            f"web={folder / 'web'}",
            f"t2i={folder / 't2i'}",
        ),
        splits=splits,
        output=folder / "faces",
        size=32,
    )
    with quick_search():
        return prepare(config)


def test_sources_of_one_label_and_of_two_places_are_prepared_by_given_splits(official):
    photos = {split: read_split(official, split) for split in SPLITS}
    rows = [photo for split_photos in photos.values() for photo in split_photos]
    counts = {(row.source, row.label): 0 for row in rows}
    for row in rows:
        counts[row.source, row.label] += 1
    assert counts == dict.fromkeys(
        [("dfdc", "real"), ("dfdc", "fake"), ("web", "real"), ("t2i", "fake")], 24
    )
    for place, split in enumerate(SPLITS):
        stems = {int(row.path.stem.split("-")[0]) for row in photos[split] if row.source == "web"}
        assert stems == set(range(place, 24, 3))
    tested = {row.path.stem for row in photos["test"] if row.source == "dfdc"}
    assert {"v3__v3", "v3__x3", "v17__v17", "v17__x17"} <= tested
    splits_of_group = {}
    for split, split_photos in photos.items():
        for photo in split_photos:
            assert splits_of_group.setdefault(photo.group, split) == split
    pairs = read_source_pairs(official, rows)
    names = {(rows[fake].path.stem, rows[real].path.stem) for fake, real in pairs}
    assert names == {(f"v{number}__x{number}", f"v{number}__v{number}") for number in range(24)}


def test_no_source_with_one_of_the_labels_is_one_sentence(tmp_path):
    (tmp_path / "web/real").mkdir(parents=True)
    draw_face(1).save(tmp_path / "web/real/a.png")
    config = PrepareConfig(source=(str(tmp_path / "web"),), output=tmp_path / "faces")
    with pytest.raises(
        UserError, match="No fake photos in any --source: a detector needs both labels"
    ):
        prepare(config)
    assert not (tmp_path / "faces").exists()


def test_wrong_splits_leave_nothing_behind(source, tmp_path):
    splits = write_splits(tmp_path, "archive,training_real/none.jpg,train")
    config = PrepareConfig(source=(str(source),), splits=splits, output=tmp_path / "faces")
    with pytest.raises(UserError, match="names photos that are not there"):
        prepare(config)
    assert [path.name for path in tmp_path.iterdir()] == ["splits.csv"]


def write_clips(folder: Path) -> Path:
    """Write crops of 24 videos, an original and a swap of each, named as in DFDC."""
    for label in ("real", "fake"):
        (folder / label).mkdir(parents=True)
    for number in range(24):
        video = f"video{number}"
        draw_face(2000 + number).save(folder / "real" / f"{video}__{video}.jpg")
        draw_face(3000 + number).save(folder / "fake" / f"{video}__swap{number}.jpg")
    return folder


def test_sources_stand_beside_each_other_without_moving_a_photo(source, data, tmp_path):
    clips = write_clips(tmp_path / "crops")
    both = prepare(
        PrepareConfig(source=(f"mine={source}", f"dfdc={clips}"), output=tmp_path / "both", size=64)
    )
    alone = {split: {row.path.name for row in read_split(data, split)} for split in SPLITS}
    split_of_video = {}
    for split in SPLITS:
        photos = read_split(both, split)
        mine = {photo.path.name for photo in photos if photo.source == "mine"}
        assert mine == alone[split]
        clip_photos = [photo for photo in photos if photo.source == "dfdc"]
        assert {photo.label for photo in clip_photos} == {"real", "fake"}
        for photo in clip_photos:
            video = photo.path.name.split("__")[0]
            assert split_of_video.setdefault(video, split) == split
    assert len(split_of_video) == 24


def test_faces_are_noted_where_they_lie_in_the_written_photo(tmp_path, monkeypatch):
    """The photos have twice the written size, and the finder marks bright spots."""

    class Finder:
        name = "of this test"

        def find(self, photo):
            grey = np.asarray(photo.convert("L"), float)
            if grey.max() < 250:
                return []
            y, x = (float(np.argmax(grey.max(axis=axis))) for axis in (1, 0))
            points = np.float32([[x + n, y] for n in range(5)])
            return [Face((x, y, 10.0, 12.0), points, 0.9)]

    source = write_source(tmp_path / "source", per_label=24)
    marked = sorted((source / "training_real").iterdir())[0]
    dark = Image.fromarray((np.asarray(Image.open(marked)) * 0.5).astype(np.uint8))
    dark.paste("white", (40, 60, 56, 76))
    dark.save(marked)
    monkeypatch.setattr(module, "load_finder", Finder)
    data = prepare(PrepareConfig(source=(str(source),), output=tmp_path / "faces", size=48))
    photos = [photo for split in SPLITS for photo in read_split(data, split)]
    [photo] = [photo for photo in photos if photo.path.name == marked.name]
    face = photo.found_face
    assert face.box[:2] == pytest.approx((20, 30), abs=2)
    assert face.box[2:] == (10.0, 12.0)
    np.testing.assert_allclose(face.landmarks[4] - face.landmarks[0], [4, 0])
    crop = open_framed(photo, 1.5)
    assert crop.size == (18, 18)
    assert open_framed(photo, 0).size == (48, 48)
    report = read_report(data)
    assert report["without_face"] == sum(not photo.face for photo in photos)
