import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from tests.drawing import draw_face
from training.data.find import find_photos
from training.data.parquet import meaning, write_photos
from training.errors import UserError

FILES = []
for seed in range(4):
    with io.BytesIO() as file:
        draw_face(seed, 40).save(file, "PNG")
        FILES.append(file.getvalue())


def rows_of(names: list[str | None], **columns: list) -> dict[str, list]:
    images = [{"bytes": FILES[i], "path": name} for i, name in enumerate(names)]
    return {"image": images, **columns}


def write_table(path: Path, rows: dict[str, list], **features: object) -> Path:
    """Write a file as `push_to_hub` does, notes about its columns included; return its path."""
    columns = Features({"image": Image(), **features})
    pq.write_table(Dataset.from_dict(rows, columns).data.table, path)
    return path


def unpacked(folder: Path, *files: Path) -> dict[str, bytes]:
    folder.mkdir()
    write_photos(files, folder, "hf:someone/faces")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.*")}
    return {name: path.read_bytes() for name, path in paths.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "real") for name in ("Real", "0_real", "training_real", "original", "Real Faces")),
        *((name, "fake") for name in ("FAKE", "Deepfake", "deep fake", "AI-generated", "ai")),
        *((name, None) for name in ("0", "not real", "human", "edited", "real or fake", "")),
    ],
)
def test_spellings_of_labels(name, expected):
    assert meaning(name) == expected


def test_photos_keep_their_bytes_and_names_and_are_found(tmp_path):
    label = ClassLabel(names=["Fake", "Real"])
    rows = rows_of(["a__b.png", "c.png", "a__b.png", None], label=[0, 1, 0, 1])
    contents = unpacked(tmp_path / "out", write_table(tmp_path / "t.parquet", rows, label=label))
    assert contents == {
        "fake/a__b.png": FILES[0],
        "fake/a__b-2.png": FILES[2],
        "real/c.png": FILES[1],
        "real/photo.image": FILES[3],
    }
    photos = find_photos(tmp_path / "out", source="mine")
    assert [(photo.label, photo.original) for photo in photos] == [
        ("real", ""),
        ("real", ""),
        ("fake", "a"),
        ("fake", "a"),
    ]


def test_text_labels_without_notes_about_the_columns(tmp_path):
    rows = rows_of(["a.png", "../b.png", ".c.png"], Label=["REAL", "deepfake", "real"])
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    contents = unpacked(tmp_path / "out", tmp_path / "t.parquet")
    assert sorted(contents) == ["fake/b.png", "real/a.png", "real/c.png"]


def test_label_column_is_the_one_that_says_real_or_fake(tmp_path):
    rows = rows_of(["a.png", "b.png"], label=["easy", "hard"], kind=[0, 1])
    kind = ClassLabel(names=["real", "fake"])
    path = write_table(tmp_path / "t.parquet", rows, label=Value("string"), kind=kind)
    assert sorted(unpacked(tmp_path / "out", path)) == ["fake/b.png", "real/a.png"]


def test_rows_and_files_without_photo_or_label_are_left_out(tmp_path):
    label = ClassLabel(names=["real", "fake"])
    rows = rows_of(["a.png", "b.png", "c.png"], label=[0, 1, -1])
    rows["image"][1] = None
    path = write_table(tmp_path / "t.parquet", rows, label=label)
    pq.write_table(pa.table({"caption": ["a face"]}), tmp_path / "captions.parquet")
    assert list(unpacked(tmp_path / "out", tmp_path / "captions.parquet", path)) == ["real/a.png"]


def refusal(tmp_path: Path, rows: dict[str, list]) -> str:
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with pytest.raises(UserError) as caught:
        unpacked(tmp_path / "out", tmp_path / "t.parquet")
    sentence = str(caught.value)
    assert sentence.startswith(("hf:someone/faces ", "None of the"))
    assert sentence.endswith("give the folder that holds these.")
    return sentence


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ({"url": ["a.jpg"], "label": ["real"]}, "no column of images among `url`, `label`"),
        (rows_of(["a.png"], age=[20]), "no column of labels among `image`, `age`"),
        (rows_of(["a.png", "b.png"], label=[0, 1]), "the labels `0`, `1` in its column `label`"),
        (
            rows_of(["a.png", "b.png"], label=["real", "cat"]),
            "the labels `real`, `cat` in its column `label`",
        ),
        (
            {"a": rows_of([""])["image"], "b": rows_of([""])["image"], "label": ["real"]},
            "several columns of images (`a`, `b`)",
        ),
        (
            {"image": [{"bytes": None, "path": "a.png"}], "label": ["real"]},
            "None of the 1 rows of hf:someone/faces holds both a photo and a label",
        ),
    ],
    ids=["images", "labels", "numbers", "cat", "several", "empty"],
)
def test_what_cannot_be_used_is_told_in_one_sentence(tmp_path, rows, found):
    assert found in refusal(tmp_path, rows)
