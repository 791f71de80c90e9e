import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Features, Image, Value

from tests.drawing import draw_face
from training.errors import UserError
from training.score import inputs as score_inputs
from training.score.inputs import Photo, chunked, find_collection

with io.BytesIO() as file:
    draw_face(0, 40).save(file, "PNG")
    CONTENT = file.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with photos of two classes, and files that are none."""
    for name in ("b/2.PNG", "b/1.jpg", "a/3.webp", "a/.4.jpg", ".c/5.jpg", "a/list.csv"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    return tmp_path / "photos"


@pytest.fixture
def dataset() -> Dataset:
    """A dataset of a photo without a name, a damaged photo and a row without one."""
    images = [{"bytes": CONTENT, "path": None}, {"bytes": b"damaged", "path": "x.jpg"}, None]
    features = Features({"age": Value("int64"), "image": Image()})
    return Dataset.from_dict({"age": [1, 2, 3], "image": images}, features)


def names_of(where: object, split: str | None = None) -> list[str]:
    collection = find_collection(str(where), split)
    photos = list(collection.photos())
    assert photos == list(collection.photos())
    assert collection.total == len(photos) or not collection.in_files
    return [photo.name for photo in photos]


def test_folder_is_gone_through_in_order(folder):
    expected = [f"{folder}/{name}" for name in ("a/3.webp", "b/1.jpg", "b/2.PNG")]
    assert names_of(folder) == expected
    assert list(find_collection(str(folder)).photos()) == [Photo(name, name) for name in expected]


def test_address_of_a_folder(folder):
    assert names_of(f"file://{folder}") == [
        f"file://{folder}/{name}" for name in ("a/3.webp", "b/1.jpg", "b/2.PNG")
    ]


def test_glob_takes_what_it_matches(folder):
    assert names_of(f"{folder}/**/*.?p*g") == [f"{folder}/b/1.jpg"]
    assert names_of(f"{folder}/b/*") == [f"{folder}/b/1.jpg", f"{folder}/b/2.PNG"]
    assert names_of(f"{folder}/a/*") == [f"{folder}/a/3.webp", f"{folder}/a/list.csv"]


def test_photos_that_hold_several_pictures_are_photos_too(tmp_path):
    (tmp_path / "stereo.MPO").write_bytes(CONTENT)
    assert names_of(tmp_path) == [f"{tmp_path}/stereo.MPO"]


def test_one_photo(folder):
    assert names_of(folder / "b/1.jpg") == [f"{folder}/b/1.jpg"]


def test_list_keeps_repeats_and_names_of_any_bytes(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfb.jpg\r\na\xff.jpg\n\nb.jpg\n s3://x/y.jpg")
    expected = ["b.jpg", "a\udcff.jpg", "b.jpg", " s3://x/y.jpg"]
    assert names_of(tmp_path / "list.txt") == expected


@pytest.mark.parametrize("saved", ["one", "splits", "parquet"])
def test_dataset_gives_the_bytes_of_its_files(dataset, tmp_path, saved):
    where = tmp_path / "data"
    if saved == "one":
        dataset.save_to_disk(where)
    elif saved == "splits":
        DatasetDict(train=dataset, test=dataset.select([0])).save_to_disk(where)
    else:
        where.mkdir()
        dataset.to_parquet(where / "data.parquet")
    collection = find_collection(str(where))
    assert list(collection.photos()) == [
        Photo("train[0]", CONTENT),
        Photo("x.jpg", b"damaged"),
        Photo("train[2]", None),
    ]
    assert collection.total == (None if saved == "parquet" else 3)
    if saved == "splits":
        assert names_of(where, "test") == ["test[0]"]


def test_split_of_a_folder_of_photos(folder):
    shutil.copytree(folder / "b", folder / "test")
    assert names_of(folder, "test") == [f"{folder}/test/1.jpg", f"{folder}/test/2.PNG"]
    assert len(names_of(folder)) == 5


def test_dataset_with_several_columns_of_images(tmp_path):
    images = {name: [{"bytes": CONTENT, "path": f"{name}.png"}] for name in ("mask", "image")}
    both = Dataset.from_dict(images, Features(mask=Image(), image=Image()))
    both.rename_column("image", "photo").save_to_disk(tmp_path / "two")
    with pytest.raises(UserError, match="has 2 columns of images among mask, photo: give"):
        find_collection(str(tmp_path / "two"))
    both.save_to_disk(tmp_path / "one")
    assert names_of(tmp_path / "one") == ["image.png"]


@pytest.mark.parametrize(
    ("where", "split", "found"),
    [
        ("missing.txt", None, "is not a file"),
        ("photos/a/list.csv", None, "is neither a photo nor a list"),
        ("photos/*.jpg", None, "holds no photos"),
        ("empty", None, "its split train cannot be streamed"),
        ("photos", "nope", "its split nope cannot be streamed as a dataset (Bad split: nope"),
        ("nobody/nothing", None, "cannot be streamed as a dataset (Couldn't reach"),
        ("file:///nowhere", None, "is not a folder"),
        ("strange://photos", None, "cannot be opened"),
        ("photos/*/*.jpg", "test", "has no splits: leave out --split test"),
        ("photos/a/list.csv", "test", "has no splits: leave out --split test"),
        ("missing.txt", "test", "has no splits: leave out --split test"),
        ("file:///nowhere", "test", "has no splits: leave out --split test"),
    ],
)
def test_what_holds_no_photos_is_told(folder, tmp_path, monkeypatch, where, split, found):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_collection(where, split)
    assert found in str(caught.value)
    assert str(caught.value).startswith(where)


def test_chunks_end_at_a_number_of_photos_or_bytes(monkeypatch):
    monkeypatch.setattr(score_inputs, "CHUNK_PHOTOS", 3)
    monkeypatch.setattr(score_inputs, "CHUNK_BYTES", 10)

    def photos(*sizes: int) -> Iterator[Photo]:
        return (Photo("", bytes(size)) for size in sizes)

    chunks = list(chunked(photos(1, 1, 1, 1, 12, 5, 5, 1)))
    assert [len(chunk.photos) for chunk in chunks] == [3, 2, 2, 1]
    assert [chunk.number for chunk in chunks] == [0, 1, 2, 3]
    assert list(chunked(photos())) == []
