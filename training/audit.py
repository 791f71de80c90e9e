"""Look for leaks in a set of photos: `python -m training audit DATA [--output FILE]`.

A leak is anything that tells the label and is no trace of the edit: how the files were encoded,
what surrounds the face, how the face is framed, or a photo that training and test both hold. A
detector that reads a leak scores well on its own set and fails everywhere else (shortcut learning,
Geirhos et al. 2020, https://arxiv.org/abs/2004.07780), so each check is made without looking at
what the face looks like. The fakes that training makes of a prepared folder are checked as well.

The limits below were chosen on sets of 29 to 1,741 photos. They are asked of the lower end of the
AUC's 95 % interval, because small sets scatter.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy import stats
from scipy.fft import dctn
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from space.faces import FaceFinder
from space.photos import FORMATS, PhotoError, open_photo, resize_square
from training.config import SPLITS
from training.dataset import LABELS, REPORT, Photo, load_finder, read_source_pairs, read_split
from training.errors import UserError
from training.kaggle import find_photos
from training.metrics import MIN_PHOTOS, SAMPLES, auc_estimate, roc_auc
from training.report import markdown_table, show
from training.sources import lookup
from training.splits import find_source_pairs, group_by_source

OUTPUT = "audit.json"
SEED = 0
FOLDS = 5

# Encodings that keep to one label by chance are called a leak in one set of a hundred at most. In a
# large set with as many fakes as real photos, 8 fakes in an encoding that no real photo has are
# enough; among 18 fakes and 11 real photos it takes 9.
ENCODING_P = 0.01
# An encoding that one label alone has is called a leak from so many sources on, proven or not: a
# false alarm costs a run of `prepare`, a leak that is missed costs every figure.
ONE_SIDED = 3
# Of both classifiers. Columns of noise get past it in 1 of 122 sets of 30 to 300 photos; 0.55 would
# let 3 past, as the interval does not know how training on few photos scatters.
# Metadata: photos that are encoded alike still differ in size in bytes, which follows their
# sharpness and so the edit itself. On ciplab after `prepare` that gets 0.48 (0.46 to 0.51), on DFDC
# crops and StyleGAN faces 0.51 to 0.52. A quarter of the fakes with another JPEG table, as in
# ciplab's originals, gets 0.63 (0.60 to 0.65), which the exact test of the encodings finds as well.
# Border: which photos the makers chose shows in hair and background. On ciplab the ring gets 0.57
# (0.54 to 0.59), though no edit reaches it: a property of the set that `prepare` cannot mend.
# Unsplash photos against StyleGAN2 faces get 0.86 to 0.88.
# Composites: on ciplab, StyleGAN faces and DFDC crops together 0.54 (0.51 to 0.57), as what is laid
# over a face is a little smoother than what it covers. Blurred as a whole by 0.6 px they would get
# 0.75 (0.73 to 0.78), with noise of 2 grey levels 0.65 (0.62 to 0.68).
LIMIT = 0.60
# Labels that are dealt at random come out at 0.50 (0.49 to 0.52) on ciplab, and at 0.55 (0.54 to
# 0.56) where the folds tear its groups apart.
SHUFFLED_LIMIT = 0.52
SHUFFLES = 10
NEIGHBOURS = 5
TREES = 100
COMPOSITES = 300  # drawn, beside as many bases
PAIRS = 300  # drawn of each source's fakes and of the real photos beside them
HEARD = {
    "surroundings": "what lies outside the face's box",
    "history": "blocks of JPEG and the spectrum",
}

SIDE = 256  # px of the square that border and hash are taken from
RING = 20  # px: 8 % of the side; ciplab's faces fill about 75 % of the frame
HASHED_SIDE = 32  # px
HASH_BITS = 64
# Of 1.5 million pairs of ciplab's photos from different sources none is as near as this, and one
# two bits further. Composites lie further from their source: finding those is what groups are for.
NEAR_BITS = 6
BLOCK = 1024  # photos compared with all others at once
EXAMPLES = 10  # of duplicates, noted in the results

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        kind: `"classifier"` or `"count"`.
        figures: what was measured, with the limits; `roc_auc` (`value`, `low`, `high`) of a
            classifier, `count` of a count.
        leak: whether the set should not be used as it is.
        finding: one sentence.
    """

    kind: str
    figures: dict
    leak: bool
    finding: str


@dataclass(frozen=True)
class Traces:
    """What the checks see of a photo.

    Attributes:
        digest: sha256 of the file.
        encoding: format, mode, chroma sampling, progression and quantisation tables, as text.
        sizes: size in bytes, width, height, bytes a pixel and the mean of the first two
            quantisation tables (0 where there is none), `float64 [6]`.
        border: see `border_features`.
        framing: left, top, width and height of the largest face's box as shares of the square,
            `float64 [4]`; -1 where no face was found.
        bits: see `perceptual_hash`.
    """

    digest: str
    encoding: str
    sizes: np.ndarray
    border: np.ndarray
    framing: np.ndarray
    bits: np.ndarray


@dataclass(frozen=True)
class PhotoSet:
    """The readable photos of an audit.

    Attributes:
        names: paths below the audited folder.
        truth: labels `int [photos]`, 1 = fake.
        groups: photos of one group share a source.
        splits: the split of each; empty for a folder without splits.
        traces: what the checks see of each.
        unreadable: names of the photos that were skipped.
    """

    names: list[str]
    truth: np.ndarray
    groups: list[str]
    splits: list[str]
    traces: list[Traces]
    unreadable: list[str]


def audit(data: Path, output: Path | None = None, *, samples: int = SAMPLES) -> dict:
    """Look for leaks in a set of photos, log a table of the findings and return them.

    Args:
        data: folder that `prepare` wrote, or any folder with real and fake photos, whose sources
            are then searched for. Without splits, duplicates are no leak: `prepare` keeps them
            together.
        output: JSON file to write; without it, a prepared folder gets an `audit.json` and another
            folder none.
        samples: number of bootstrap samples of the intervals.

    Returns:
        What JSON can hold: `photos`, `fakes`, `groups`, `prepared`, `unreadable` (names), `seed`,
        `folds`, `bootstrap_samples`, and `checks`, a `Check` as a dict by name. A folder without
        splits has no check of groups across splits nor of what training draws, and one without
        landmarks none of composites.

    Raises:
        UserError: there are no photos, fewer than 20, or fewer than 5 groups of a label.
    """
    data = Path(data)
    photos = read_photos(data)
    checks = {
        "metadata": _check_metadata(photos, samples),
        "border": _check_border(photos, samples),
        "framing": _check_framing(photos, samples),
        "shuffled": _check_shuffled(photos),
    }
    if photos.splits:
        composites = _check_composites(data, photos, samples)
        if composites:
            checks["composites"] = composites
        checks |= _check_batches(data, photos, samples)
        checks["groups_across_splits"] = _check_groups(photos)
        output = output or data / OUTPUT
    checks["byte_duplicates"] = _check_byte_duplicates(photos)
    checks["perceptual_duplicates"] = _check_perceptual_duplicates(photos)
    results = {
        "photos": len(photos.names),
        "fakes": int(photos.truth.sum()),
        "groups": len(set(photos.groups)),
        "prepared": bool(photos.splits),
        "unreadable": photos.unreadable,
        "seed": SEED,
        "folds": FOLDS,
        "bootstrap_samples": samples,
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    for line in audit_table(results).splitlines():
        log.info(line)
    if output:
        _write(results, Path(output))
    return results


def found_leak(results: dict) -> bool:
    """Return whether a check of an audit found a leak."""
    return any(check["leak"] for check in results["checks"].values())


def audit_table(results: dict) -> str:
    """Return the findings of an audit as a Markdown table."""
    rows = []
    for name, check in results["checks"].items():
        figures = check["figures"]
        figure = f"AUC {show(figures['roc_auc'])}" if "roc_auc" in figures else figures["count"]
        leak = "yes" if check["leak"] else "no"
        rows.append((name.replace("_", " "), figure, leak, check["finding"]))
    return markdown_table(("check", "figure (95 % interval)", "leak", "finding"), rows)


def read_photos(data: Path) -> PhotoSet:
    """Read what the checks see of the photos of a folder; damaged photos are skipped.

    Raises:
        UserError: as `audit`.
    """
    splits, groups = [], []
    if (data / REPORT).is_file():
        rows = [(split, photo) for split in SPLITS for photo in read_split(data, split)]
        splits, photos = map(list, zip(*rows, strict=True))
        groups = [photo.group for photo in photos]
    else:
        photos = find_photos(data)
    names = [photo.path.relative_to(data).as_posix() for photo in photos]
    found = _examine_all([photo.path for photo in photos])
    readable = [index for index, traces in enumerate(found) if traces]
    unreadable = [name for name, traces in zip(names, found, strict=True) if not traces]
    if unreadable:
        log.warning("Skipped %d unreadable photos, first %s.", len(unreadable), unreadable[0])
    traces = [found[index] for index in readable]
    truth = np.array([LABELS.index(photos[index].label) for index in readable], dtype=int)
    _check_number(data, truth)
    if groups:
        groups = [groups[index] for index in readable]
    else:
        hashes = [of.digest for of in traces]
        pairs = find_source_pairs([photos[index].path for index in readable], hashes)
        groups = group_by_source(hashes, pairs)
    _check_variety(data, truth, groups)
    kept = [splits[index] for index in readable] if splits else []
    return PhotoSet([names[index] for index in readable], truth, groups, kept, traces, unreadable)


def border_features(square: Image.Image) -> np.ndarray:
    """Describe the outer ring of a square photo.

    Args:
        square: RGB, 256 x 256 px.

    Returns:
        `float32 [36]`: for the top, bottom, left and right strip of 20 px the means and the
        deviations of R, G and B, mean and deviation of the gradient's length, and the mean
        size of the Laplacian, which compression and resampling change first.
    """
    pixels = np.asarray(square, dtype=np.float32)
    grey = pixels.mean(axis=2)
    gradient = np.hypot(*np.gradient(grey))
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    features = []
    for strip in (np.s_[:RING], np.s_[-RING:], np.s_[:, :RING], np.s_[:, -RING:]):
        colours, lengths = pixels[strip].reshape(-1, 3), gradient[strip]
        features += [*colours.mean(axis=0), *colours.std(axis=0)]
        features += [lengths.mean(), lengths.std(), detail[strip].mean()]
    return np.array(features, dtype=np.float32)


def perceptual_hash(square: Image.Image) -> np.ndarray:
    """Return 64 bits that a picture keeps when it is resized or encoded again.

    They say which of the 64 lowest frequencies of the grey picture's cosine transform, without the
    constant ones, are above their median (pHash; Zauner 2010, "Implementation and benchmarking of
    perceptual image hash functions"). A mirrored picture has other bits.

    Returns:
        `bool [64]`.
    """
    grey = square.convert("L").resize((HASHED_SIDE, HASHED_SIDE), Image.Resampling.BOX)
    lowest = dctn(np.asarray(grey, dtype=float))[1:9, 1:9].ravel()
    return lowest > np.median(lowest)


def _examine_all(paths: Sequence[Path]) -> list[Traces | None]:
    finder = load_finder()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = pool.map(_examine, paths, repeat(finder))
        return list(tqdm(jobs, total=len(paths), desc="Examining", unit="photo"))


def _examine(path: Path, finder: FaceFinder) -> Traces | None:
    """Return what the checks see of a photo, `None` where it cannot be read."""
    try:
        content = path.read_bytes()
        square = resize_square(open_photo(content), SIDE)
    except (OSError, PhotoError):
        return None
    encoding, sizes = _read_header(content)
    digest = hashlib.sha256(content).hexdigest()
    faces = finder.find(square)
    framing = np.array(faces[0].box) / SIDE if faces else np.full(4, -1.0)
    bits = perceptual_hash(square)
    return Traces(digest, encoding, sizes, border_features(square), framing, bits)


def _read_header(content: bytes) -> tuple[str, np.ndarray]:
    """Return `encoding` and `sizes` of `Traces`; no pixel is decoded.

    Cameras' and editors' notes (EXIF) are left out: no detector sees them, and they leave nothing
    in the pixels.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as photo:
        tables = [list(table) for table in getattr(photo, "quantization", {}).values()]
        sampling, progressive = getattr(photo, "layer", None), "progressive" in photo.info
        encoding = repr((photo.format, photo.mode, sampling, progressive, tables))
        means = [float(np.mean(table)) for table in [*tables, [0], [0]][:2]]
        width, height = photo.size
    n_bytes = len(content)
    return encoding, np.array([n_bytes, width, height, n_bytes / (width * height), *means])


def _check_number(data: Path, truth: np.ndarray) -> None:
    if len(truth) < MIN_PHOTOS:
        raise UserError(
            f"{data} holds {len(truth)} readable photos: an audit takes {MIN_PHOTOS} or more."
        )
    if len(set(truth)) < len(LABELS):
        raise UserError(f"{data} holds {LABELS[truth[0]]} photos only: an audit takes both labels.")


def _check_variety(data: Path, truth: np.ndarray, groups: Sequence[str]) -> None:
    """Refuse a set whose folds could lack a label."""
    for label, name in enumerate(LABELS):
        n_groups = len({group for group, of in zip(groups, truth, strict=True) if of == label})
        if n_groups < FOLDS:
            raise UserError(
                f"The {name} photos of {data} come from {n_groups} sources: an audit takes {FOLDS} "
                "or more of each label."
            )


def _check_metadata(photos: PhotoSet, samples: int) -> Check:
    """Judge by what a file says of itself."""
    encodings = [of.encoding for of in photos.traces]
    # Numbered by how frequent they are: the labels have no say in it.
    number = {of[0]: index for index, of in enumerate(Counter(encodings).most_common())}
    columns = [[number[of.encoding], *of.sizes] for of in photos.traces]
    auc = _auc(np.array(columns), photos.truth, photos.groups, samples)
    oddest = _most_one_sided(encodings, photos)
    by_encoding, by_classifier = _is_telling(oddest), auc["low"] > LIMIT
    figures = {"roc_auc": auc, "limit": LIMIT, "encodings": len(number)}
    figures |= {"most_one_sided": oddest, "encoding_p_limit": ENCODING_P, "one_sided": ONE_SIDED}
    return Check(
        "classifier",
        figures,
        bool(by_encoding or by_classifier),
        f"{_encoding_phrase(len(number), oddest)}, and a classifier of metadata "
        f"{_beyond(by_classifier, LIMIT)}"
        f"{': encode all photos alike, as `prepare` does.' if by_encoding else '.'}",
    )


def _most_one_sided(encodings: Sequence[str], photos: PhotoSet) -> dict:
    """Return the encoding whose share differs most between the labels.

    By Fisher's exact test, which holds for the smallest sets too. Of many encodings the oddest is
    always odd, so `p` is multiplied by their number (Bonferroni). Photos of one group and label
    that are encoded alike count once: they may all come from one file.

    Returns:
        `real` and `fake`, the photos of that encoding as they are; `of_real` and `of_fake`, all
        photos of the label; and `p`.
    """
    cases = set(zip(encodings, photos.truth.tolist(), photos.groups, strict=True))
    totals = np.bincount([label for _, label, _ in cases], minlength=len(LABELS))
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(LABELS), dtype=int))
    for encoding, label, _ in sorted(cases):
        counts[encoding][label] += 1
    p_values = {
        encoding: stats.fisher_exact([count, totals - count]).pvalue
        for encoding, count in counts.items()
    }
    # Of two encodings each mirrors the other, which is one test; the rarer one is named.
    n_tests = len(counts) if len(counts) > 2 else 1
    oddest = min(p_values, key=lambda encoding: (p_values[encoding], counts[encoding].sum()))
    chosen = np.array([encoding == oddest for encoding in encodings])
    number, total = (
        np.bincount(truth, minlength=2) for truth in (photos.truth[chosen], photos.truth)
    )
    return {
        **{name: int(number[label]) for label, name in enumerate(LABELS)},
        **{f"of_{name}": int(total[label]) for label, name in enumerate(LABELS)},
        "p": float(min(1.0, p_values[oddest] * n_tests)),
    }


def _is_telling(oddest: dict) -> bool:
    counts = [oddest[label] for label in LABELS]
    return oddest["p"] < ENCODING_P or (min(counts) == 0 and max(counts) >= ONE_SIDED)


def _encoding_phrase(n_encodings: int, oddest: dict) -> str:
    if n_encodings == 1:
        return "All photos are encoded alike"
    phrase = (
        f"{oddest['fake']} of {oddest['of_fake']} fakes and {oddest['real']} of "
        f"{oddest['of_real']} real photos are in one of {n_encodings} encodings"
    )
    verdict = "which tells the label" if _is_telling(oddest) else "which may be chance"
    return f"{phrase}, {verdict} (p = {oddest['p']:.2g})"


def _beyond(leak: bool, limit: float) -> str:
    return f"{'exceeds' if leak else 'does not exceed'} the limit of {limit:.2f}"


def _check_border(photos: PhotoSet, samples: int) -> Check:
    """Judge by what surrounds the face."""
    columns = np.array([of.border for of in photos.traces])
    auc = _auc(columns, photos.truth, photos.groups, samples)
    leak = auc["low"] > LIMIT
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": LIMIT},
        leak,
        f"A classifier of the outer ring {_beyond(leak, LIMIT)}"
        f"{': crop closer to the face.' if leak else '.'}",
    )


def _check_framing(photos: PhotoSet, samples: int) -> Check:
    """Judge by where the face is and how large."""
    columns = np.array([of.framing for of in photos.traces])
    auc = _auc(columns, photos.truth, photos.groups, samples)
    leak = auc["low"] > LIMIT
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": LIMIT},
        leak,
        f"A classifier of the place and size of the face {_beyond(leak, LIMIT)}"
        f"{': frame all faces alike.' if leak else '.'}",
    )


def _check_shuffled(photos: PhotoSet) -> Check:
    """Judge labels that are dealt at random, one to each group: if folds tore groups apart, the
    nearest neighbour of a photo would tell its label.

    A bootstrap of one deal would miss how deals and training folds scatter (0.022 on ciplab, where
    it allows for 0.014), so the interval is that of the mean of several deals (Student's t).
    """
    borders = np.array([of.border for of in photos.traces])
    classifier = make_pipeline(
        StandardScaler(), KNeighborsClassifier(NEIGHBOURS, weights="distance", algorithm="kd_tree")
    )
    rng = np.random.default_rng(SEED)
    _, group_of_photo = np.unique(photos.groups, return_inverse=True)
    coins = np.arange(group_of_photo.max() + 1) % len(LABELS)
    aucs = []
    for _ in range(SHUFFLES):
        truth = rng.permutation(coins)[group_of_photo]
        aucs.append(roc_auc(truth, _out_of_fold(classifier, borders, truth, photos.groups)))
    # Where all rings are the same, so are all figures, and the interval would not be defined.
    mean, error = np.mean(aucs), max(stats.sem(aucs), 1e-6)
    low, high = stats.t.interval(0.95, SHUFFLES - 1, mean, error)
    leak = low > SHUFFLED_LIMIT
    auc = {"value": float(mean), "low": float(low), "high": float(high)}
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": SHUFFLED_LIMIT, "shuffles": SHUFFLES},
        bool(leak),
        "Random labels are told: the measuring itself leaks, so trust no other figure."
        if leak
        else "Random labels come out at chance, as they must.",
    )


def _check_composites(data: Path, photos: PhotoSet, samples: int) -> Check | None:
    """Judge the fakes that training makes; `None` where it can make none, or too few to judge."""
    from training.audit_composites import draw_composites  # which loads Keras

    drawn = draw_composites(_readable(data, photos), pairs=COMPOSITES, seed=SEED)
    if drawn is None or len(set(drawn.groups)) < FOLDS:
        return None
    auc = _auc(drawn.columns, drawn.truth, drawn.groups, samples)
    leak = auc["low"] > LIMIT
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": LIMIT, "pairs": len(drawn.truth) // 2},
        leak,
        f"A classifier of blur, noise and colour of training's composites {_beyond(leak, LIMIT)}"
        f"{': change how they are made.' if leak else '.'}",
    )


def _check_batches(data: Path, photos: PhotoSet, samples: int) -> dict[str, Check]:
    """Judge the fakes of each source and the real photos that training lays beside them, by what
    surrounds the face and by how they were encoded. Sources of few groups are left out."""
    from training.audit_batches import draw_by_source  # which loads Keras

    drawn_from = _readable(data, photos)
    originals = dict(read_source_pairs(data, drawn_from))
    checks = {}
    for source, drawn in draw_by_source(drawn_from, originals, pairs=PAIRS, seed=SEED):
        fakes = [group for group, fake in zip(drawn.groups, drawn.truth, strict=True) if fake]
        if min(len(set(fakes)), len(set(drawn.groups) - set(fakes))) < FOLDS:
            continue
        generated = lookup(source).changed == "all"
        for name, columns in (("surroundings", drawn.surroundings), ("history", drawn.history)):
            auc = _auc(columns, drawn.truth, drawn.groups, samples)
            told = auc["low"] > LIMIT
            advice = ", as may be where photos are generated as a whole" if generated else ""
            checks[f"{name} of {source}"] = Check(
                "classifier",
                {"roc_auc": auc, "limit": LIMIT, "pairs": PAIRS},
                told and not generated,
                f"Of what training draws, {HEARD[name]} {_beyond(told, LIMIT)}"
                f"{advice if told else ''}.",
            )
    return checks


def _readable(data: Path, photos: PhotoSet) -> list[Photo]:
    """Return the training photos that can be read."""
    readable = set(photos.names)
    return [
        photo
        for photo in read_split(data, "train")
        if photo.path.relative_to(data).as_posix() in readable
    ]


def _check_groups(photos: PhotoSet) -> Check:
    """Count the groups that a split tears apart."""
    torn = [members for members in _members(photos.groups) if _differ(photos.splits, members)]
    finding = (
        f"{len(torn)} groups lie in more than one split: run `prepare` again."
        if torn
        else "Every group lies in one split."
    )
    return Check("count", _counted(torn, photos), bool(torn), finding)


def _check_byte_duplicates(photos: PhotoSet) -> Check:
    """Count files that occur more than once.

    A copy with the other label is wrong whatever the splits: an edit changes bytes.
    """
    sets = [m for m in _members([of.digest for of in photos.traces]) if len(m) > 1]
    figures = _counted(sets, photos)
    leak = bool(figures["across_splits"] or figures["across_labels"])
    advice = "; remove the copies" if leak else ""
    return Check(
        "count", figures, leak, _duplicates_finding("Files that occur again", figures, advice)
    )


def _check_perceptual_duplicates(photos: PhotoSet) -> Check:
    """Count pairs of files that differ and show nearly the same picture.

    A slight edit and its source are such a pair, rightly with both labels; only a split between
    them is a leak. Without splits they are told as they are, with those that the search for sources
    missed.
    """
    digests = [of.digest for of in photos.traces]
    near = _near_pairs(np.array([of.bits for of in photos.traces]))
    pairs = [pair for pair in near if _differ(digests, pair)]
    figures = _counted(pairs, photos)
    figures |= {"near_bits": NEAR_BITS}
    figures["across_groups"] = sum(_differ(photos.groups, pair) for pair in pairs)
    leak = bool(figures["across_splits"])
    advice = "; keep each pair in one group and one split" if leak else ""
    what = "Pairs of nearly the same picture"
    return Check("count", figures, leak, _duplicates_finding(what, figures, advice))


def _duplicates_finding(what: str, figures: dict, advice: str) -> str:
    if not figures["count"]:
        return f"{what}: none."
    places = {"across_labels": "with both labels", "across_splits": "in different splits"}
    places["across_groups"] = "in different groups"
    parts = [
        f"{figures[key]} {text}" for key, text in places.items() if figures.get(key) is not None
    ]
    return f"{what}: {figures['count']} ({', '.join(parts)}){advice}."


def _counted(sets: Sequence[Sequence[int]], photos: PhotoSet) -> dict:
    """Return figures of sets of photos that belong together; `across_splits` is `None` without
    splits."""
    torn = [bool(photos.splits) and _differ(photos.splits, members) for members in sets]
    # What matters most comes first among the few that are named.
    shown = [sets[index] for index in np.argsort(np.logical_not(torn), kind="stable")[:EXAMPLES]]
    return {
        "count": len(sets),
        "across_labels": sum(_differ(photos.truth, members) for members in sets),
        "across_splits": sum(torn) if photos.splits else None,
        "examples": [[photos.names[index] for index in members] for members in shown],
    }


def _members(keys: Iterable[str]) -> list[list[int]]:
    """Return the positions of each key, in the order in which the keys occur."""
    members = defaultdict(list)
    for index, key in enumerate(keys):
        members[key].append(index)
    return list(members.values())


def _differ(values: Sequence, members: Sequence[int]) -> bool:
    return len({values[index] for index in members}) > 1


def _near_pairs(bits: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of hashes `bool [photos, 64]` that differ in `NEAR_BITS` bits or fewer."""
    signs = np.where(bits, 1, -1).astype(np.float32)
    pairs = []
    for start in range(0, len(signs), BLOCK):
        distances = (HASH_BITS - signs[start : start + BLOCK] @ signs.T) / 2
        first, second = np.nonzero(distances <= NEAR_BITS)
        first += start
        later = first < second
        pairs += zip(first[later].tolist(), second[later].tolist(), strict=True)
    return pairs


def _auc(
    columns: np.ndarray, truth: np.ndarray, groups: Sequence[str], samples: int
) -> dict[str, float]:
    """Return the AUC of a classifier that sees `columns [photos, features]`, out of fold.

    A forest finds categories and ranges, a line finds what many columns say together.
    """
    line = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=SEED)
    both = VotingClassifier([("forest", forest), ("line", line)], voting="soft")
    scores = _out_of_fold(both, columns, truth, groups)
    return auc_estimate(truth, scores, groups, samples=samples)


def _out_of_fold(
    classifier: ClassifierMixin, columns: np.ndarray, truth: np.ndarray, groups: Sequence[str]
) -> np.ndarray:
    """Return scores for label 1 `[photos]`, each from a classifier that saw no photo of its
    group."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    return cross_val_predict(
        classifier, columns, truth, groups=groups, cv=folds, method="predict_proba"
    )[:, 1]


def _write(results: dict, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"partial-{output.name}")
    partial.write_text(json.dumps(results, indent=2) + "\n")
    partial.replace(output)
    log.info("Written to %s.", output)
