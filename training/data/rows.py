"""The photos of a prepared folder: the columns of `metadata.csv`, and how they are read."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from PIL import Image

from space.crops import crop_face
from space.faces import Face
from space.photos import open_photo
from training.config import SPLITS
from training.errors import UserError

LABELS = ("real", "fake")  # real = 0, fake = 1
DIFFICULTIES = ("easy", "mid", "hard")
PARTS = ("left_eye", "right_eye", "nose", "mouth")
REPORT, METADATA, PAIRS = "prepare_report.json", "metadata.csv", "source_pairs.csv"
# The photo's side divided by the longer side of the face's bounding box. The default dataset comes
# cropped like that; `prepare --crop` crops other photos to match.
CROP_MARGIN = 1.33
# Matches from which on a pair that `training.data.source_pairs` finds certainly shares a source.
CERTAIN_INLIERS = 15
# Extent from which on one photo of a pair was made from the other. In ciplab's certain pairs of a
# fake and a real photo, the frames around the faces agree in all above it and differ in all below,
# with two exceptions.
BASE_EXTENT = 0.16


@dataclass(frozen=True)
class PhotoRow:
    """A photo's line in `metadata.csv`: the contract between `prepare` and everything that reads
    its photos.

    Attributes:
        file_name: path below the split's folder.
        label: `"real"` or `"fake"`.
        source: the dataset that it is from.
        difficulty: `"easy"`, `"mid"` or `"hard"` as the makers of a fake rated it, `""` if unknown.
        left_eye, right_eye, nose, mouth: `1.0` where the part was replaced, `0.0` where not, `None`
            if unknown; left and right are the image's. Floats, as `datasets` cannot read integer
            columns with gaps.
        group: photos of one group must stay in one split.
        face: the largest face in the written photo: bounding box (left, top, width, height), then
            the landmarks as `space.faces.Face` orders them (x and y of each), in px and separated
            by spaces. Faces from the Haar cascade have no landmarks; `""` if no face was found.
    """

    file_name: str
    label: str
    source: str
    difficulty: str
    left_eye: float | None
    right_eye: float | None
    nose: float | None
    mouth: float | None
    group: str
    face: str

    def __post_init__(self) -> None:
        if self.label not in LABELS or self.difficulty not in ("", *DIFFICULTIES):
            raise UserError(
                f"{self.file_name} has label {self.label!r} and difficulty {self.difficulty!r} in "
                "its metadata.csv: run prepare again."
            )

    @classmethod
    def from_csv(cls, row: dict[str, str]) -> PhotoRow:
        """Read a row of `csv.DictReader`."""
        parts = {part: float(row[part]) if row[part] else None for part in PARTS}
        return cls(**{**row, **parts})


@dataclass(frozen=True)
class Photo(PhotoRow):
    """A photo of a prepared folder.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def is_fake(self) -> bool:
        """Whether its label is `"fake"`."""
        return self.label == "fake"

    @property
    def stratum(self) -> str:
        """Label, difficulty and source: splits hold equal shares of every stratum."""
        return f"{self.label}{self.difficulty} {self.source}"

    @property
    def found_face(self) -> Face | None:
        """The face in the column `face`, `None` if it is empty."""
        if not self.face:
            return None
        left, top, width, height, *rest = map(float, self.face.split())
        landmarks = np.array(rest, np.float32).reshape(5, 2) if rest else None
        return Face((left, top, width, height), landmarks, confidence=1.0)


def open_framed(photo: Photo, margin: float) -> Image.Image:
    """Return a photo's pixels, cropped to its face as `space.crops.crop_face` does.

    Args:
        photo: a photo of a prepared folder.
        margin: side of the crop divided by the longer side of the face's bounding box; 0 for the
            whole photo, which is also returned if no face was found.
    """
    pixels, face = open_photo(photo.path), photo.found_face
    return crop_face(pixels, face, margin) if margin and face is not None else pixels


def read_report(data: Path) -> dict:
    """Return the report that `prepare` wrote into a folder.

    Raises:
        UserError: `prepare` did not write this folder, or the report is damaged.
    """
    path = Path(data) / REPORT
    if not path.is_file():
        raise UserError(
            f"{data} was not written by prepare (no {REPORT}): run `python -m training prepare "
            f"--output {data}` first."
        )
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove {data} and run prepare.") from error


def read_split(data: Path, split: str, leave_out: str = "") -> list[Photo]:
    """Return the photos of one split of a prepared folder, checked.

    Args:
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.
        leave_out: sources to leave out, separated by commas.

    Raises:
        UserError: `prepare` did not write the folder, the split or what is left of it is empty, or
            its columns are not those of `PhotoRow`.
    """
    read_report(data)
    folder = Path(data) / split
    path = folder / METADATA
    if not path.is_file():
        raise UserError(f"{path} is missing: run prepare again.")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = [column.name for column in fields(PhotoRow)]
        if reader.fieldnames != names:
            raise UserError(
                f"{path} has the columns {reader.fieldnames}, not {names}: run prepare again."
            )
        rows = [PhotoRow.from_csv(row) for row in reader]
    if not rows:
        raise UserError(f"The {split} split of {data} is empty: prepare more photos.")
    unwanted = leave_out.split(",") if leave_out else []
    kept = [row for row in rows if row.source not in unwanted]
    if not kept:
        raise UserError(f"The {split} split of {data} holds only {leave_out}: leave out less.")
    return [Photo(**vars(row), path=folder / row.file_name) for row in kept]


def read_all(data: Path) -> list[Photo]:
    """Return the photos of all splits of a prepared folder, checked as by `read_split`."""
    return [photo for split in SPLITS for photo in read_split(data, split)]


def read_source_pairs(data: Path, photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """Return the pairs of a fake and the real photo that it was certainly made from.

    Real photos that only lent a part are left out.

    Args:
        data: folder that `prepare` wrote.
        photos: some of its photos.

    Returns:
        Positions in `photos` of the fake and of the real photo; pairs with a photo that is not
        among `photos` are left out.
    """
    positions = {photo.path: index for index, photo in enumerate(photos)}
    pairs = []
    with (Path(data) / PAIRS).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            paths = (Path(data) / row["first"], Path(data) / row["second"])
            pair = [positions[path] for path in paths if path in positions]
            pair.sort(key=lambda index: photos[index].is_fake, reverse=True)
            labels = [photos[index].is_fake for index in pair]
            if labels == [True, False] and _is_base(row):
                pairs.append(tuple(pair))
    return pairs


def _is_base(row: dict[str, str]) -> bool:
    named = int(row["inliers"]) == 0  # see `named_pairs`
    return named or (int(row["inliers"]) >= CERTAIN_INLIERS and float(row["extent"]) >= BASE_EXTENT)


def features():
    """Return the `datasets.Features` of the ImageFolder: `label` is `ClassLabel(["real", "fake"])`.

    Without them, `datasets` reads the labels as text:
    `load_dataset("imagefolder", data_dir="data/faces", features=features())`.
    """
    from datasets import ClassLabel, Features, Image, Value

    text = {name: Value("string") for name in ("source", "difficulty", "group", "face")}
    columns = {"image": Image(), "label": ClassLabel(names=list(LABELS))}
    columns |= {part: Value("float32") for part in PARTS} | text
    order = ["image", *(column.name for column in fields(PhotoRow) if column.name != "file_name")]
    return Features({name: columns[name] for name in order})
