"""From folders of photos to a Hugging Face `datasets` ImageFolder: `python -m training prepare`.

Every photo is decoded, turned upright, resized and encoded again in the same way. In the original files the JPEG table alone
tells a quarter of the fakes; after this it tells nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from tqdm import tqdm

from space.faces import PhotoError, open_photo, resize_square
from training.errors import UserError
from training.kaggle import SourcePhoto, find_photos, locate
from training.splits import SPLITS, assign_splits

LABELS = ("real", "fake")  # real = 0, fake = 1
DIFFICULTIES = ("easy", "mid", "hard")
PARTS = ("left_eye", "right_eye", "nose", "mouth")
REPORT = "prepare_report.json"
# One table for all, without chroma subsampling, which would blur colour seams.
JPEG = {"format": "JPEG", "quality": 92, "subsampling": 0}
FORMAT = 1  # raise it when the same input gives other output, so that old folders are made anew
WORKERS = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` reads and writes."""

    source: str = field(
        default="kaggle", metadata={"help": "`kaggle`, or a folder with real and fake photos"}
    )
    output: Path = field(default=Path("data/faces"), metadata={"help": "folder to write"})
    size: int = field(default=256, metadata={"help": "side of the written photos in px"})
    seed: int = field(default=7, metadata={"help": "decides which photo falls into which split"})


@dataclass(frozen=True)
class PhotoRow:
    """A photo's line in `metadata.csv`: the contract between `prepare` and everything that reads its photos.

    Attributes:
        file_name: path below the split's folder.
        label: `"real"` or `"fake"`.
        source: the dataset that it is from.
        difficulty: `"easy"`, `"mid"` or `"hard"` as the makers of a fake saw it, `""` where unknown.
        left_eye, right_eye, nose, mouth: `1` where the part was replaced, `0` where not, `None` where unknown; left and
            right are the image's.
        group: photos of one group must not fall into two splits.
    """

    file_name: str
    label: str
    source: str
    difficulty: str
    left_eye: int | None
    right_eye: int | None
    nose: int | None
    mouth: int | None
    group: str

    def __post_init__(self) -> None:
        if self.label not in LABELS or self.difficulty not in ("", *DIFFICULTIES):
            raise UserError(
                f"{self.file_name} has label {self.label!r} and difficulty {self.difficulty!r} in its metadata.csv: "
                "run prepare again."
            )

    @classmethod
    def from_csv(cls, row: dict[str, str]) -> PhotoRow:
        """Read a row of `csv.DictReader`."""
        parts = {part: int(row[part]) if row[part] else None for part in PARTS}
        return cls(**{**row, **parts})


def prepare(config: PrepareConfig) -> Path:
    """Write the ImageFolder that `config` describes and return its folder.

    The same input gives the same files; where they are already there, nothing is written. The folder appears under its name
    only when it is complete.

    Raises:
        UserError: no photo can be found or read, or the output is a folder that `prepare` did not write.
    """
    output = config.output
    _check_output(output)
    if config.size < 32:
        raise UserError(f"--size {config.size} is too small: give at least 32.")
    photos = find_photos(locate(config.source), exclude=output)
    hashes = [_hash(photo.path) for photo in tqdm(photos, desc="Reading", unit="photo")]
    fingerprint = _fingerprint(photos, hashes, config)
    report = read_report(output) if (output / REPORT).is_file() else {}
    if report.get("fingerprint") == fingerprint:
        log.info("%s is already prepared from these photos.", output)
    else:
        report = _write(photos, hashes, config, fingerprint)
    log.info(_last_line(output, report))
    return output


def read_report(data: Path) -> dict:
    """Return what `prepare` noted about the folder it wrote.

    Raises:
        UserError: `prepare` did not write this folder.
    """
    path = Path(data) / REPORT
    if not path.is_file():
        raise UserError(
            f"{data} was not written by prepare (no {REPORT}): run `python -m training prepare --output {data}` first."
        )
    return json.loads(path.read_text())


def read_split(data: Path, split: str) -> list[PhotoRow]:
    """Return the rows of one split of a prepared folder, checked.

    Args:
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.

    Raises:
        UserError: the folder is none of ours, the split is empty, or its columns are not those of `PhotoRow`.
    """
    read_report(data)
    path = Path(data) / split / "metadata.csv"
    if not path.is_file():
        raise UserError(f"{path} is missing: run prepare again.")
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        names = [column.name for column in fields(PhotoRow)]
        if reader.fieldnames != names:
            raise UserError(f"{path} has the columns {reader.fieldnames}, not {names}: run prepare again.")
        rows = [PhotoRow.from_csv(row) for row in reader]
    if not rows:
        raise UserError(f"The {split} split of {data} is empty: prepare more photos.")
    return rows


def features():
    """Return the `datasets.Features` of the ImageFolder: `label` is `ClassLabel(["real", "fake"])`.

    `datasets` reads a text column as text unless it is told otherwise:
    `load_dataset("imagefolder", data_dir="data/faces", features=features())`.
    """
    from datasets import ClassLabel, Features, Image, Value

    text = {name: Value("string") for name in ("source", "difficulty", "group")}
    columns = {"image": Image(), "label": ClassLabel(names=list(LABELS))}
    columns |= {part: Value("int8") for part in PARTS} | text
    order = ["image", *(column.name for column in fields(PhotoRow) if column.name != "file_name")]
    return Features({name: columns[name] for name in order})


def parse_name(photo: SourcePhoto) -> dict:
    """Read difficulty and replaced parts from a photo's name, as far as it tells them.

    Fakes are named `{easy,mid,hard}_{number}_{bits}`, the bits standing for left eye, right eye, nose and mouth of the image.

    Returns:
        `difficulty` and the four part columns of `PhotoRow`, and `malformed`: the name breaks the rule of its folder.
    """
    unknown = dict.fromkeys(PARTS)
    if photo.label == "real":
        return {"difficulty": "", **dict.fromkeys(PARTS, 0), "malformed": False}
    match = re.fullmatch(r"(easy|mid|hard)_\d+_([01]{4})", photo.path.stem)
    if match:
        return {
            "difficulty": match[1],
            **dict(zip(PARTS, map(int, match[2]), strict=True)),
            "malformed": False,
        }
    start = photo.path.stem.split("_")[0]
    difficulty = start if start in DIFFICULTIES else ""
    return {"difficulty": difficulty, **unknown, "malformed": photo.named_parts}
