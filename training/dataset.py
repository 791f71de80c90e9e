"""From folders of photos to a Hugging Face `datasets` ImageFolder: `python -m training prepare`.

Every photo is decoded, turned upright, resized and encoded again in the same way. In the original
files the JPEG table alone tells a quarter of the fakes; after this it tells nothing.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, count
from pathlib import Path

import numpy as np
import PIL
from PIL import Image
from tqdm import tqdm

from space.crops import crop_face
from space.faces import Face, FaceFinder, FaceFinderError, load_face_finder
from space.photos import PhotoError, model_input, open_photo, printable, resize_square
from training.config import SPLITS, PrepareConfig
from training.errors import UserError
from training.folders import check_replaceable, replaced_folder
from training.kaggle import SourcePhoto, find_photos, locate, source_name
from training.sources import lookup
from training.splits import (
    BASE_EXTENT,
    CERTAIN_INLIERS,
    SourcePair,
    assign_splits,
    find_source_pairs,
    group_by_source,
)

LABELS = ("real", "fake")  # real = 0, fake = 1
DIFFICULTIES = ("easy", "mid", "hard")
PARTS = ("left_eye", "right_eye", "nose", "mouth")
REPORT, METADATA, PAIRS = "prepare_report.json", "metadata.csv", "source_pairs.csv"
# The photo's side divided by the longer side of the face's box: the dataset's photos, which are
# cropped to the face already, have that, and others are given it.
CROP_MARGIN = 1.33
# One table for all, without chroma subsampling, which would blur colour seams.
JPEG = {"format": "JPEG", "quality": 92, "subsampling": 0}
FORMAT = 5  # raise it when the same input gives other output, so that old folders are made anew
WORKERS = 4
MIN_SOURCE = 20  # photos of each label, and groups, from which on a source is split by itself
CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoRow:
    """A photo's line in `metadata.csv`: the contract between `prepare` and everything that reads
    its photos.

    Attributes:
        file_name: path below the split's folder.
        label: `"real"` or `"fake"`.
        source: the dataset that it is from.
        difficulty: `"easy"`, `"mid"` or `"hard"` as the makers of a fake saw it, `""` where
            unknown.
        left_eye, right_eye, nose, mouth: `1.0` where the part was replaced, `0.0` where not, `None`
            where unknown; left and right are the image's. Not integers, as `datasets` reads no
            integer columns with gaps.
        group: photos of one group must not fall into two splits.
        face: the largest face in the photo as it was written: box (left, top, width, height), then
            the landmarks as `space.faces.Face` orders them (x and y of each), in px and parted by
            spaces. Without landmarks where the Haar cascade found it, `""` where no face was found.
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
        """Whether its label says so."""
        return self.label == "fake"

    @property
    def stratum(self) -> str:
        """What splits should hold in equal shares."""
        return f"{self.label}{self.difficulty} {self.source}"

    @property
    def found_face(self) -> Face | None:
        """The face of the column `face`."""
        if not self.face:
            return None
        left, top, width, height, *rest = map(float, self.face.split())
        landmarks = np.array(rest, np.float32).reshape(5, 2) if rest else None
        return Face((left, top, width, height), landmarks, confidence=1.0)


def prepare(config: PrepareConfig) -> Path:
    """Write the ImageFolder that `config` describes and return its folder.

    The same input gives the same files; where they are already there, nothing is written. The
    folder appears under its name only when it is complete.

    Raises:
        UserError: no photo can be found or read, or the output is a folder that `prepare` did not
            write.
    """
    output = config.output
    check_replaceable(output, REPORT)
    photos = [photo for source in config.source for photo in _find(source)]
    _check_labels(photos)
    given = read_given_splits(config.splits, photos) if config.splits else {}
    hashes = [_hash(photo.path) for photo in tqdm(photos, desc="Reading", unit="photo")]
    both = _under_both_labels(photos, hashes)
    if both:
        log.warning(
            "%d photos are real and fake by their folders, %s for one: they stay in one split, but "
            "remove them from the wrong folder.",
            len(both),
            printable(both[0]),
        )
    finder = load_finder()
    fingerprint = _fingerprint(photos, hashes, given, config, finder.name)
    report = read_report(output) if (output / REPORT).is_file() else {}
    if report.get("fingerprint") == fingerprint:
        log.info("%s is already prepared from these photos.", output)
    elif report and not config.overwrite:
        # A run that was trained on it could not be measured any more.
        raise UserError(
            f"{output} holds another preparation: add --overwrite to replace it, or give another "
            "--output."
        )
    else:
        with replaced_folder(output, REPORT) as folder:
            report = _fill(folder, photos, hashes, given, config, finder)
            report |= {"under_both_labels": both, "fingerprint": fingerprint}
            (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
            _verify(folder, report["counts"])
    log.info(_last_line(output, report))
    return output


def read_given_splits(path: Path, photos: Sequence[SourcePhoto]) -> dict[SourcePhoto, str]:
    """Return the split of each photo that a CSV file names by `source` and `file` (its path below
    the folder that holds its real or fake folder); rows of sources that are not prepared are left
    out.

    Raises:
        UserError: the file cannot be read, has other columns, names photos or splits that do not
            exist, or gives a photo two splits.
    """
    named: dict[tuple[str, str], str] = {}
    sources = {photo.source for photo in photos}
    for source, name, split in _read_rows(path, ("source", "file", "split")):
        if source not in sources:
            continue
        if split not in SPLITS:
            raise UserError(f"{path} has the split {split!r}: give {', '.join(SPLITS)}.")
        other = named.setdefault((source, name), split)
        if other != split:
            raise UserError(
                f"{path} puts {name} of {source} into {other} and {split}: give it one split."
            )
    places = [(photo.source, photo.place) for photo in photos]
    missing = named.keys() - set(places)
    if missing:
        source, name = min(missing)
        raise UserError(
            f"{path} names photos that are not there ({len(missing)}, the first {name} of "
            f"{source}): give all places of that source, or remove the lines."
        )
    given = {
        photo: named[place] for photo, place in zip(photos, places, strict=True) if place in named
    }
    log.info("%s says the split of %d of %d photos.", path, len(given), len(photos))
    return given


def open_framed(photo: Photo, margin: float) -> Image.Image:
    """Return a photo's pixels, cropped to its face as `space.crops.crop_face` does.

    Args:
        photo: of a prepared folder.
        margin: side of the crop divided by the longer side of the face's box; 0 for all of the
            photo, as where no face was found.
    """
    pixels, face = open_photo(photo.path), photo.found_face
    return crop_face(pixels, face, margin) if margin and face is not None else pixels


def draw_inputs(data: Path, number: int, size: int, margin: float) -> np.ndarray:
    """Return training photos as a network takes them, always the same ones drawn by lot.

    Args:
        data: a prepared folder.
        number: of photos, at most.
        size: side of the network's input in px.
        margin: as that of `open_framed`.

    Returns:
        `float32` `[photos, size, size, 3]`, 0 to 255.
    """
    photos = read_split(data, "train")
    chosen = np.random.default_rng(0).permutation(len(photos))[:number]
    return np.stack([model_input(open_framed(photos[index], margin), size) for index in chosen])


def read_report(data: Path) -> dict:
    """Return what `prepare` noted about the folder it wrote.

    Raises:
        UserError: `prepare` did not write this folder.
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


def read_split(data: Path, split: str) -> list[Photo]:
    """Return the photos of one split of a prepared folder, checked.

    Args:
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.

    Raises:
        UserError: the folder is none of ours, the split is empty, or its columns are not those of
            `PhotoRow`.
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
    return [Photo(**vars(row), path=folder / row.file_name) for row in rows]


def read_all(data: Path) -> list[Photo]:
    """Return the photos of all splits of a prepared folder, checked as by `read_split`."""
    return [photo for split in SPLITS for photo in read_split(data, split)]


def read_source_pairs(data: Path, photos: Sequence[Photo]) -> list[tuple[int, int]]:
    """Return which fakes were made from which real photos, as far as that is certain; real photos
    that only lent a part are left out.

    Args:
        data: folder that `prepare` wrote.
        photos: some of its photos.

    Returns:
        Positions in `photos` of a fake and of the real photo that it shares its source with; pairs
        of which one is not among `photos` are left out.
    """
    position = {photo.path: index for index, photo in enumerate(photos)}
    pairs = []
    with (Path(data) / PAIRS).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            names = (Path(data) / row["first"], Path(data) / row["second"])
            found = [position[name] for name in names if name in position]
            found.sort(key=lambda index: photos[index].is_fake, reverse=True)
            labels = [photos[index].is_fake for index in found]
            if labels == [True, False] and _is_base(row):
                pairs.append(tuple(found))
    return pairs


def _is_base(row: dict[str, str]) -> bool:
    named = int(row["inliers"]) == 0  # see `_named_pairs`
    return named or (int(row["inliers"]) >= CERTAIN_INLIERS and float(row["extent"]) >= BASE_EXTENT)


def features():
    """Return the `datasets.Features` of the ImageFolder: `label` is `ClassLabel(["real", "fake"])`.

    `datasets` reads a text column as text unless it is told otherwise:
    `load_dataset("imagefolder", data_dir="data/faces", features=features())`.
    """
    from datasets import ClassLabel, Features, Image, Value

    text = {name: Value("string") for name in ("source", "difficulty", "group", "face")}
    columns = {"image": Image(), "label": ClassLabel(names=list(LABELS))}
    columns |= {part: Value("float32") for part in PARTS} | text
    order = ["image", *(column.name for column in fields(PhotoRow) if column.name != "file_name")]
    return Features({name: columns[name] for name in order})


def parse_name(photo: SourcePhoto) -> dict:
    """Read difficulty and replaced parts from a photo's name, as far as it tells them.

    Fakes are named `{easy,mid,hard}_{number}_{bits}`, the bits standing for left eye, right eye,
    nose and mouth of the image.

    Returns:
        `difficulty` and the four part columns of `PhotoRow`, and `malformed`: the name breaks the
        rule of its folder.
    """
    unknown = dict.fromkeys(PARTS)
    if photo.label == "real":
        return {"difficulty": "", **dict.fromkeys(PARTS, 0.0), "malformed": False}
    match = re.fullmatch(r"(easy|mid|hard)_\d+_([01]{4})", photo.path.stem)
    if match:
        return {
            "difficulty": match[1],
            **dict(zip(PARTS, map(float, match[2]), strict=True)),
            "malformed": False,
        }
    start = photo.path.stem.split("_")[0]
    difficulty = start if start in DIFFICULTIES else ""
    return {"difficulty": difficulty, **unknown, "malformed": photo.named_parts}


def _check_labels(photos: Sequence[SourcePhoto]) -> None:
    missing = set(LABELS) - {photo.label for photo in photos}
    if missing:
        raise UserError(
            f"No {missing.pop()} photos in any --source: a detector needs both labels, from one "
            "source or several."
        )


def _read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return some columns of a CSV file that a user gave."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = set(columns) - set(reader.fieldnames or ())
            rows = [] if missing else [tuple(row[name] for name in columns) for row in reader]
    except OSError as error:
        raise UserError(f"--splits {path} cannot be read ({error.strerror}).") from error
    except csv.Error as error:
        raise UserError(f"--splits {path} is no CSV file ({error}).") from error
    if missing:
        raise UserError(
            f"--splits {path} lacks the columns {', '.join(sorted(missing))}: add them."
        )
    return rows


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _under_both_labels(photos: Sequence[SourcePhoto], hashes: Sequence[str]) -> list[str]:
    """Return the names of the real photos that are among the fakes as well, to the byte."""
    fakes = {digest for photo, digest in zip(photos, hashes, strict=True) if photo.label == "fake"}
    return [
        photo.path.name
        for photo, digest in zip(photos, hashes, strict=True)
        if photo.label == "real" and digest in fakes
    ]


def _find(source: str) -> list[SourcePhoto]:
    """Return the photos of `NAME=WHERE` or `WHERE`."""
    name, parted, where = source.partition("=")
    if not parted or not re.fullmatch(r"[\w.-]+", name):  # or a path that holds "=" itself
        name, where = "", source
    return find_photos(locate(where), prepared=REPORT, source=name or source_name(where))


def _fingerprint(
    photos: list[SourcePhoto],
    hashes: list[str],
    given: Mapping[SourcePhoto, str],
    config: PrepareConfig,
    finder: str,
) -> str:
    """Stand for everything that decides what is written; where the photos lie does not."""
    listing = [
        (photo.label, photo.source, photo.path.name, digest, given.get(photo, ""))
        for photo, digest in zip(photos, hashes, strict=True)
    ]
    settings = [FORMAT, JPEG, PIL.__version__, config.size, config.seed, config.group_by]
    settings += [config.crop, finder]
    return hashlib.sha256(json.dumps([settings, listing]).encode()).hexdigest()


def _fill(
    folder: Path,
    photos: list[SourcePhoto],
    hashes: list[str],
    given: Mapping[SourcePhoto, str],
    config: PrepareConfig,
    finder: FaceFinder,
) -> dict:
    """Write photos, metadata and card into an empty folder; return the report."""
    encoded = folder / "encoded"
    faces, problems = _encode_all(photos, encoded, config, finder)
    readable = [index for index, problem in enumerate(problems) if problem is None]
    if not readable:
        raise UserError(f"None of the {len(photos)} photos can be read. The first: {problems[0]}")
    parsed = {index: parse_name(photos[index]) for index in readable}
    strata = [photos[index].label + parsed[index]["difficulty"] for index in readable]
    members = [photos[index] for index in readable]
    readable_hashes = [hashes[index] for index in readable]
    pairs = _pairs_by_source(members, readable_hashes) + _named_pairs(members)
    together = pairs + _same_original(members) if config.group_by == "sources" else []
    groups = group_by_source(readable_hashes, together)
    splits = _split_by_source(members, strata, groups, given, config.seed)
    _check_splits([photos[index].label for index in readable], splits)
    rows: dict[str, list[PhotoRow]] = {split: [] for split in SPLITS}
    malformed, written = [], []
    for index, split, group in zip(readable, splits, groups, strict=True):
        photo, columns = photos[index], parsed[index]
        if columns.pop("malformed"):
            malformed.append(photo.path.name)
        target = _free_name(folder / split / photo.label, photo.path.stem)
        (encoded / f"{index}.jpg").rename(target)
        written.append(target.relative_to(folder).as_posix())
        file_name = f"{photo.label}/{target.name}"
        columns |= {"group": group, "face": faces[index]}
        rows[split].append(PhotoRow(file_name, photo.label, photo.source, **columns))
    encoded.rmdir()
    for split, split_rows in rows.items():
        _write_metadata(folder / split / METADATA, split_rows)
    _write_pairs(folder / PAIRS, pairs, written)
    counts = {split: dict(Counter(row.label for row in rows[split])) for split in SPLITS}
    _write_card(folder, config, counts, sorted({photo.source for photo in photos}))
    unreadable = [
        {"file": f"{photo.label}/{photo.path.name}", "problem": problem}
        for photo, problem in zip(photos, problems, strict=True)
        if problem
    ]
    return {
        "format": FORMAT,
        "size": config.size,
        "seed": config.seed,
        "group_by": config.group_by,
        "counts": counts,
        "groups_of_several": sum(size > 1 for size in Counter(groups).values()),
        "without_face": sum(not faces[index] for index in readable),
        "unreadable": unreadable,
        "malformed_names": malformed,
    }


def _check_splits(labels: Sequence[str], splits: Sequence[str]) -> None:
    missing = {(split, label) for split in SPLITS for label in LABELS} - set(
        zip(splits, labels, strict=True)
    )
    for split, label in sorted(missing):
        raise UserError(
            f"Of {labels.count(label)} {label} photos none fell into the {split} split: give at "
            "least 20 of each label, from different sources."
        )


def load_finder() -> FaceFinder:
    """Load what finds faces, for a verb; log which it is.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        finder = load_face_finder()
    except FaceFinderError as error:
        raise UserError(str(error)) from error
    log.info(finder.notice)
    return finder


def _pairs_by_source(photos: Sequence[SourcePhoto], hashes: Sequence[str]) -> list[SourcePair]:
    """Return the pairs that share a source photo, looked for within each source that may have some:
    between sources there are none, and the search stays short."""
    pairs = []
    for source in sorted({photo.source for photo in photos}):
        if not lookup(source).shares_photos:
            continue
        members = [index for index, photo in enumerate(photos) if photo.source == source]
        found = find_source_pairs(
            [photos[index].path for index in members], [hashes[index] for index in members]
        )
        pairs += [
            replace(pair, first=members[pair.first], second=members[pair.second]) for pair in found
        ]
    return pairs


def _split_by_source(
    photos: Sequence[SourcePhoto],
    strata: Sequence[str],
    groups: Sequence[str],
    given: Mapping[SourcePhoto, str],
    seed: int,
) -> list[str]:
    """Split each source by itself: another source beside it moves none of its photos, but for those
    that both hold. Sources too small for that are dealt with the largest one. What was given a
    split stays there, and its group with it."""
    decided = _decided(photos, groups, given)
    splits = [given.get(photo, "") for photo in photos]
    dealt_with = _pools(photos, groups)
    for pool in sorted(set(dealt_with.values())):
        members = [
            index
            for index, photo in enumerate(photos)
            if dealt_with[photo.source] == pool and not splits[index]
        ]
        if all(groups[index] in decided for index in members):
            for index in members:
                splits[index] = decided[groups[index]]
            continue
        dealt = assign_splits([strata[i] for i in members], [groups[i] for i in members], seed)
        for index, split in zip(members, dealt, strict=True):
            splits[index] = decided.setdefault(groups[index], split)
    return splits


def _pools(photos: Sequence[SourcePhoto], groups: Sequence[str]) -> dict[str, str]:
    """Return the source that each source is dealt with: itself, or the largest one with both labels
    where it holds too few photos of a label that it has, or too few groups."""
    sizes = Counter((photo.source, photo.label) for photo in photos)
    grouped = Counter(
        source for source, _ in {(p.source, g) for p, g in zip(photos, groups, strict=True)}
    )
    counts = {name: [sizes[name, label] for label in LABELS] for name in sorted(grouped)}
    largest = max(counts, key=lambda name: (min(counts[name]), max(counts[name])))
    return {
        name: name if min(grouped[name], *filter(None, of_labels)) >= MIN_SOURCE else largest
        for name, of_labels in counts.items()
    }


def _decided(
    photos: Sequence[SourcePhoto], groups: Sequence[str], given: Mapping[SourcePhoto, str]
) -> dict[str, str]:
    """Return the split of every group of which a photo was given one.

    Raises:
        UserError: a group was given two.
    """
    first: dict[str, SourcePhoto] = {}
    for photo, group in zip(photos, groups, strict=True):
        if photo not in given:
            continue
        other = first.setdefault(group, photo)
        if given[other] != given[photo]:
            raise UserError(
                f"{other.source} {other.place} and {photo.source} {photo.place} share a source, but"
                f" --splits puts them into {given[other]} and {given[photo]}: give both one split."
            )
    return {group: given[photo] for group, photo in first.items()}


def _named_pairs(photos: Sequence[SourcePhoto]) -> list[SourcePair]:
    """Return pairs of a fake and the real photo that it was made from, where its name tells:
    `VIDEO__OTHER` and `VIDEO__VIDEO` of one source, or `SOURCE__NAME` and NAME of that source.

    Nothing was compared to find them: they have no inliers, and the whole frame as their extent.
    """
    reals = {
        (photo.source, photo.path.stem): index
        for index, photo in enumerate(photos)
        if photo.label == "real"
    }
    pairs = []
    for index, photo in enumerate(photos):
        if photo.label == "fake" and photo.original:
            rest = photo.path.stem.removeprefix(f"{photo.original}__")
            names = [(photo.original, rest), (photo.source, f"{photo.original}__{photo.original}")]
            found = [reals[name] for name in names if name in reals]
            pairs += [
                SourcePair(min(index, real), max(index, real), inliers=0, extent=1.0)
                for real in found[:1]
            ]
    return pairs


def _same_original(photos: Sequence[SourcePhoto]) -> list[SourcePair]:
    """Return pairs of photos whose names tell that they come from one video."""
    latest: dict[tuple[str, str], int] = {}
    pairs = []
    names = {photo.source for photo in photos}
    for index, photo in enumerate(photos):
        # What stands before may name another source, or say nothing about the photo.
        if photo.original not in {"", *names} and lookup(photo.source).named_groups:
            key = (photo.source, photo.original)
            if key in latest:
                pairs.append(SourcePair(latest[key], index, inliers=0, extent=0.0))
            latest[key] = index
    return pairs


def _encode_all(
    photos: list[SourcePhoto], folder: Path, config: PrepareConfig, finder: FaceFinder
) -> tuple[list[str], list[str | None]]:
    """Write every photo as `{index}.jpg`; return the column `face` of each, and what is wrong with
    it, `None` where nothing is."""
    folder.mkdir()
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(_encode, photo.path, folder / f"{index}.jpg", config, finder)
            for index, photo in enumerate(photos)
        ]
        try:
            results = [job.result() for job in tqdm(jobs, desc="Writing", unit="photo")]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or an interruption waits for the whole queue
            raise
    faces, problems = zip(*results, strict=True)
    return list(faces), list(problems)


def _encode(
    path: Path, target: Path, config: PrepareConfig, finder: FaceFinder
) -> tuple[str, str | None]:
    try:
        photo = open_photo(path)
        if config.crop:
            faces = finder.find(photo)
            if not faces:
                return "", "No face was found in it."
            photo = crop_face(photo, faces[0], CROP_MARGIN)
        photo = resize_square(photo, config.size)
        photo.save(target, **JPEG)
    except PhotoError as error:
        return "", str(error)
    return _describe_face(photo, finder), None


def _describe_face(photo: Image.Image, finder: FaceFinder) -> str:
    """Return the column `face` of a photo."""
    faces = finder.find(photo)
    if not faces:
        return ""
    landmarks = faces[0].landmarks
    points = [] if landmarks is None else landmarks.ravel().tolist()
    return " ".join(f"{value:.1f}" for value in [*faces[0].box, *points])


def _free_name(folder: Path, stem: str) -> Path:
    """Return a path that is not taken: several sources may use the same names. It is UTF-8, as the
    metadata is, whatever the source's is."""
    folder.mkdir(parents=True, exist_ok=True)
    if printable(stem) != stem:
        stem = printable(stem).replace("\\", "_")
    names = chain([f"{stem}.jpg"], (f"{stem}-{number}.jpg" for number in count(2)))
    return next(folder / name for name in names if not (folder / name).exists())


def _write_metadata(path: Path, rows: list[PhotoRow]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(PhotoRow)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _write_pairs(path: Path, pairs: Sequence[SourcePair], names: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "inliers", "extent"])
        for pair in pairs:
            writer.writerow([names[pair.first], names[pair.second], pair.inliers, pair.extent])


def _write_card(
    folder: Path, config: PrepareConfig, counts: dict[str, dict], sources: Sequence[str]
) -> None:
    from huggingface_hub import DatasetCard, DatasetCardData

    described = [lookup(name) for name in sources]
    urls = [source.url for source in described if source.url]
    data = DatasetCardData(
        license="other" if urls else "unknown",
        license_name="terms-of-the-sources" if urls else None,
        license_link=urls[0] if len(urls) == len(described) == 1 else None,
        task_categories=["image-classification"],
        tags=["deepfake-detection"],
    )
    card = DatasetCard.from_template(
        data,
        template_path=str(CARD_TEMPLATE),
        size=config.size,
        seed=config.seed,
        group_by=config.group_by,
        cropped_to="the largest face" if config.crop else "the centred square",
        counts=counts,
        sources=described,
    )
    card.save(folder / "README.md")


def _verify(folder: Path, counts: dict[str, dict]) -> None:
    """Check that `datasets` reads every row: it drops photos without a row and keeps rows without a
    photo."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        loaded = load_dataset(
            "imagefolder", data_dir=str(folder), features=features(), cache_dir=cache
        )
        found = {split: Counter(loaded[split]["label"]) for split in loaded}
    expected = {
        split: {LABELS.index(label): number for label, number in labels.items()}
        for split, labels in counts.items()
    }
    if found != expected:
        raise RuntimeError(f"`datasets` reads {found} where {expected} were written.")


def _last_line(output: Path, report: dict) -> str:
    sizes = ", ".join(f"{split} {sum(report['counts'][split].values())}" for split in SPLITS)
    return (
        f"{output}: {sizes} photos, {report['groups_of_several']} groups that share a source kept "
        f"together; {len(report['unreadable'])} unreadable skipped, "
        f"{len(report['malformed_names'])} malformed names."
    )
