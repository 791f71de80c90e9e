"""From folders of photos to a Hugging Face `datasets` ImageFolder: `python -m training prepare`.

Every photo is decoded, turned upright, resized and encoded again in the same way. In the original
files, the JPEG table alone gives away a quarter of the fakes; after this, it gives away nothing.
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
from dataclasses import asdict, fields
from itertools import chain, count
from pathlib import Path

import PIL
from PIL import Image
from tqdm import tqdm

from space.crops import crop_face
from space.faces import FaceFinder
from space.photos import PhotoError, open_photo, printable, resize_square
from training.config import SPLITS, PrepareConfig
from training.data.find import SourcePhoto, find_source
from training.data.rows import (
    CROP_MARGIN,
    DIFFICULTIES,
    LABELS,
    METADATA,
    PAIRS,
    PARTS,
    REPORT,
    PhotoRow,
    features,
    read_report,
)
from training.data.source_pairs import SourcePair
from training.data.sources import lookup
from training.data.splits import deal, read_given_splits
from training.errors import UserError
from training.finder import load_finder
from training.folders import check_replaceable, replaced_folder, sha256_of

# The same table for all photos; no chroma subsampling, which would blur colour seams.
JPEG = {"format": "JPEG", "quality": 92, "subsampling": 0}
FORMAT = 5  # raise it when the output for the same input changes, so that old folders are replaced
WORKERS = 4
CARD_TEMPLATE = Path(__file__).with_name("dataset_card.md")

log = logging.getLogger(__name__)


def prepare(config: PrepareConfig) -> Path:
    """Write the ImageFolder that `config` describes and return its folder.

    The same input gives the same files; if they exist already, nothing is written. The folder
    appears under its name only when it is complete.

    Raises:
        UserError: no photo can be found or read, or the output is a folder that `prepare` did not
            write.
    """
    output = config.output
    check_replaceable(output, REPORT)
    photos = [photo for source in config.source for photo in find_source(source)]
    _check_labels(photos)
    given = read_given_splits(config.splits, photos) if config.splits else {}
    hashes = [sha256_of(photo.path) for photo in tqdm(photos, desc="Reading", unit="photo")]
    under_both = _under_both_labels(photos, hashes)
    if under_both:
        log.warning(
            "Real and fake by their folders: %d of the photos, %s for one. Each stays in one "
            "split, but remove it from the wrong folder.",
            len(under_both),
            printable(under_both[0]),
        )
    finder = load_finder()
    fingerprint = _fingerprint(photos, hashes, given, config, finder.name)
    report = read_report(output) if (output / REPORT).is_file() else {}
    if report.get("fingerprint") == fingerprint:
        log.info("%s is already prepared from these photos.", output)
    elif report and not config.overwrite:
        # Runs that were trained on it could not be measured any more.
        raise UserError(
            f"{output} holds another preparation: add --overwrite to replace it, or give another "
            "--output."
        )
    else:
        with replaced_folder(output, REPORT) as folder:
            report = _fill(folder, photos, hashes, given, config, finder)
            report |= {"under_both_labels": under_both, "fingerprint": fingerprint}
            (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
            _verify(folder, report["counts"])
    log.info(_last_line(output, report))
    return output


def parse_name(photo: SourcePhoto) -> dict:
    """Return the difficulty and the replaced parts, as far as a photo's name states them.

    Fakes are named `{easy,mid,hard}_{number}_{bits}`. The bits stand for the left eye, right eye,
    nose and mouth as seen in the image.

    Returns:
        `difficulty` and the four part columns of `PhotoRow`, and `malformed`: whether the name
        breaks the rule of its folder.
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
    prefix = photo.path.stem.split("_")[0]
    difficulty = prefix if prefix in DIFFICULTIES else ""
    return {"difficulty": difficulty, **unknown, "malformed": photo.named_parts}


def _check_labels(photos: Sequence[SourcePhoto]) -> None:
    missing = set(LABELS) - {photo.label for photo in photos}
    if missing:
        raise UserError(
            f"No {missing.pop()} photos in any --source: a detector needs both labels, from one "
            "source or several."
        )


def _under_both_labels(photos: Sequence[SourcePhoto], hashes: Sequence[str]) -> list[str]:
    """Return the names of real photos that are, byte for byte, also among the fakes."""
    fakes = {digest for photo, digest in zip(photos, hashes, strict=True) if photo.label == "fake"}
    return [
        photo.path.name
        for photo, digest in zip(photos, hashes, strict=True)
        if photo.label == "real" and digest in fakes
    ]


def _fingerprint(
    photos: list[SourcePhoto],
    hashes: list[str],
    given: Mapping[SourcePhoto, str],
    config: PrepareConfig,
    finder: str,
) -> str:
    """Return a hash of all that affects what is written; where the photos lie does not."""
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
    members = [photos[index] for index in readable]
    parsed = [parse_name(photo) for photo in members]
    strata = [
        photo.label + details["difficulty"] for photo, details in zip(members, parsed, strict=True)
    ]
    pairs, groups, splits = deal(
        members,
        strata,
        [hashes[index] for index in readable],
        given,
        group_by=config.group_by,
        seed=config.seed,
    )
    files = [encoded / f"{index}.jpg" for index in readable]
    written = _move_into_splits(files, folder, members, splits)
    encoded.rmdir()
    found_faces = [faces[index] for index in readable]
    rows = _rows_by_split(written, members, parsed, groups, found_faces)
    for split, split_rows in rows.items():
        _write_metadata(folder / split / METADATA, split_rows)
    _write_pairs(folder / PAIRS, pairs, written)
    counts = {split: dict(Counter(row.label for row in rows[split])) for split in SPLITS}
    _write_card(folder, config, counts, sorted({photo.source for photo in photos}))
    return {
        "format": FORMAT,
        "size": config.size,
        "seed": config.seed,
        "group_by": config.group_by,
        "counts": counts,
        "groups_of_several": sum(size > 1 for size in Counter(groups).values()),
        "without_face": sum(not face for face in found_faces),
        "unreadable": _unreadable(photos, problems),
        "malformed_names": _malformed(members, parsed),
    }


def _malformed(photos: Sequence[SourcePhoto], parsed: Sequence[Mapping]) -> list[str]:
    """Return the names of photos whose names do not follow their source's pattern."""
    return [
        photo.path.name
        for photo, details in zip(photos, parsed, strict=True)
        if details["malformed"]
    ]


def _unreadable(
    photos: Sequence[SourcePhoto], problems: Sequence[str | None]
) -> list[dict[str, str]]:
    """Return which photos are left out, and why."""
    return [
        {"file": f"{photo.label}/{photo.path.name}", "problem": problem}
        for photo, problem in zip(photos, problems, strict=True)
        if problem
    ]


def _move_into_splits(
    files: Sequence[Path], folder: Path, photos: Sequence[SourcePhoto], splits: Sequence[str]
) -> list[str]:
    """Move the photos' files to `SPLIT/LABEL/` in a folder; return their paths below it."""
    written = []
    for file, photo, split in zip(files, photos, splits, strict=True):
        target = _free_name(folder / split / photo.label, photo.path.stem)
        file.rename(target)
        written.append(target.relative_to(folder).as_posix())
    return written


def _rows_by_split(
    written: Sequence[str],
    photos: Sequence[SourcePhoto],
    parsed: Sequence[Mapping],
    groups: Sequence[str],
    faces: Sequence[str],
) -> dict[str, list[PhotoRow]]:
    """Return the lines of `metadata.csv` of each split.

    Args:
        written: path of each photo, below the folder of all splits.
        photos: the photos.
        parsed: what `parse_name` returned for each.
        groups: the group of each.
        faces: the column `face` of each.
    """
    rows: dict[str, list[PhotoRow]] = {split: [] for split in SPLITS}
    for path, photo, details, group, face in zip(
        written, photos, parsed, groups, faces, strict=True
    ):
        split, _, file_name = path.partition("/")
        columns = {name: details[name] for name in ("difficulty", *PARTS)}
        row = PhotoRow(file_name, photo.label, photo.source, **columns, group=group, face=face)
        rows[split].append(row)
    return rows


def _encode_all(
    photos: list[SourcePhoto], folder: Path, config: PrepareConfig, finder: FaceFinder
) -> tuple[list[str], list[str | None]]:
    """Write every photo as `{index}.jpg`; return the column `face` of each, and its problem or
    `None`."""
    folder.mkdir()
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [
            pool.submit(_encode, photo.path, folder / f"{index}.jpg", config, finder)
            for index, photo in enumerate(photos)
        ]
        try:
            results = [job.result() for job in tqdm(jobs, desc="Writing", unit="photo")]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # otherwise an interruption waits for all
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
    """Return an unused path, as several sources may use the same names. The path is valid UTF-8,
    like the metadata, whatever the source's name is."""
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
