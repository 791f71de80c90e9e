"""The checks of `training.measure.audit.audit`, each for one thing that reveals the label.

The limits below were chosen on sets of 29 to 1,741 photos. They apply to the lower end of the AUC's
95 % interval, because small sets scatter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from training.data.rows import LABELS
from training.measure.audit.traces import FOLDS, PhotoSet
from training.measure.metrics import auc_estimate, roc_auc

SEED = 0

# Encodings that keep to one label by chance count as a leak in at most one set of a hundred. In a
# large set with as many fakes as real photos, 8 fakes in an encoding that no real photo has are
# enough; among 18 fakes and 11 real photos it takes 9.
ENCODING_P = 0.01
# An encoding that only one label has counts as a leak from this many sources on, proven or not: a
# false alarm costs a run of `prepare`, a missed leak costs every figure.
ONE_SIDED = 3
# For the classifiers. Columns of noise exceed it in 1 of 122 sets of 30 to 300 photos. They would
# exceed 0.55 in 3, because the interval does not cover how training on few photos scatters.
# Metadata: photos that are encoded alike still differ in size in bytes, which follows their
# sharpness and so the edit itself. On ciplab after `prepare` that gets 0.48 (0.46 to 0.51), on DFDC
# crops and StyleGAN faces 0.51 to 0.52. A quarter of the fakes with another JPEG table, as in
# ciplab's originals, gets 0.63 (0.60 to 0.65), which the exact test of the encodings finds as well.
# Border: which photos the makers chose shows in hair and background. On ciplab the ring gets 0.57
# (0.54 to 0.59), though no edit reaches it: a property of the set that `prepare` cannot fix.
# Unsplash photos against StyleGAN2 faces get 0.86 to 0.88.
# Composites: on ciplab, StyleGAN faces and DFDC crops together 0.54 (0.51 to 0.57), because what is
# laid over a face is a little smoother than what it covers. Wholly blurred by 0.6 px, they would
# get 0.75 (0.73 to 0.78); with noise of 2 grey levels, 0.65 (0.62 to 0.68).
LIMIT = 0.60
# Random labels get 0.50 (0.49 to 0.52) on ciplab, and 0.55 (0.54 to 0.56) if the folds tear its
# groups apart.
SHUFFLED_LIMIT = 0.52
SHUFFLES = 10
NEIGHBOURS = 5
TREES = 100

HASH_BITS = 64
# Among 1.5 million pairs of ciplab's photos from different sources, none is this near, and one is
# two bits further apart. Composites lie further from their source; groups exist to find those.
NEAR_BITS = 6
BLOCK = 1024  # photos compared with all others at once
EXAMPLES = 10  # of duplicates, listed in the results


@dataclass(frozen=True)
class Check:
    """The result of one check.

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


def check_metadata(photos: PhotoSet, samples: int) -> Check:
    """Check whether file metadata reveals the label."""
    encodings = [traces.encoding for traces in photos.traces]
    # Numbered by frequency, so that the labels have no influence.
    number = {pair[0]: index for index, pair in enumerate(Counter(encodings).most_common())}
    columns = [[number[traces.encoding], *traces.sizes] for traces in photos.traces]
    auc = label_auc(np.array(columns), photos.truth, photos.groups, samples)
    oddest = _most_one_sided(encodings, photos)
    by_encoding, by_classifier = _is_telling(oddest), auc["low"] > LIMIT
    figures = {"roc_auc": auc, "limit": LIMIT, "encodings": len(number)}
    figures |= {"most_one_sided": oddest, "encoding_p_limit": ENCODING_P, "one_sided": ONE_SIDED}
    return Check(
        "classifier",
        figures,
        bool(by_encoding or by_classifier),
        f"{_encoding_phrase(len(number), oddest)}, and a classifier of metadata "
        f"{beyond(by_classifier, LIMIT)}"
        f"{': encode all photos alike, as `prepare` does.' if by_encoding else '.'}",
    )


def _most_one_sided(encodings: Sequence[str], photos: PhotoSet) -> dict:
    """Return the encoding whose share differs most between the labels.

    The test is Fisher's exact test, which holds for the smallest sets too. The oddest of many
    encodings is always odd, so `p` is multiplied by their number (Bonferroni). For `p`, photos of
    one group and label that are encoded alike count once: they may all come from one file.

    Returns:
        `real` and `fake`, the number of all photos with that encoding; `of_real` and `of_fake`, the
        number of all photos of the label; and `p`.
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
    # Two encodings mirror each other, which is one test; the rarer one is named.
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


def beyond(leak: bool, limit: float) -> str:
    """Return how a classifier compares with a limit, as a part of a sentence."""
    return f"{'exceeds' if leak else 'does not exceed'} the limit of {limit:.2f}"


def check_border(photos: PhotoSet, samples: int) -> Check:
    """Check whether what surrounds the face reveals the label."""
    columns = [traces.border for traces in photos.traces]
    return _judge(columns, photos, samples, "outer ring", "crop closer to the face")


def check_framing(photos: PhotoSet, samples: int) -> Check:
    """Check whether the place and size of the face reveal the label."""
    columns = [traces.framing for traces in photos.traces]
    return _judge(columns, photos, samples, "place and size of the face", "frame all faces alike")


def _judge(
    columns: Sequence[np.ndarray], photos: PhotoSet, samples: int, what: str, advice: str
) -> Check:
    auc = label_auc(np.array(columns), photos.truth, photos.groups, samples)
    leak = auc["low"] > LIMIT
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": LIMIT},
        leak,
        f"A classifier of the {what} {beyond(leak, LIMIT)}{f': {advice}.' if leak else '.'}",
    )


def check_shuffled(photos: PhotoSet) -> Check:
    """Check that random labels, one to each group, come out at chance.

    If folds tore groups apart, a photo's nearest neighbour would reveal its label. A bootstrap of
    one deal would miss how deals and training folds scatter (0.022 on ciplab, where it allows for
    0.014), so the interval is that of the mean of several deals (Student's t).
    """
    borders = np.array([traces.border for traces in photos.traces])
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
    # If all rings are the same, so are all AUCs, and the interval would be undefined.
    mean, error = np.mean(aucs), max(stats.sem(aucs), 1e-6)
    low, high = stats.t.interval(0.95, SHUFFLES - 1, mean, error)
    leak = low > SHUFFLED_LIMIT
    auc = {"value": float(mean), "low": float(low), "high": float(high)}
    return Check(
        "classifier",
        {"roc_auc": auc, "limit": SHUFFLED_LIMIT, "shuffles": SHUFFLES},
        bool(leak),
        "Random labels can be predicted: the measurement itself leaks, so trust no other figure."
        if leak
        else "Random labels come out at chance, as they must.",
    )


def check_groups(photos: PhotoSet) -> Check:
    """Count the groups that lie in more than one split."""
    torn = [members for members in _members(photos.groups) if _differ(photos.splits, members)]
    finding = (
        f"{len(torn)} groups lie in more than one split: run `prepare` again."
        if torn
        else "Every group lies in one split."
    )
    return Check("count", _counted(torn, photos), bool(torn), finding)


def check_byte_duplicates(photos: PhotoSet) -> Check:
    """Count files that occur more than once.

    A copy with the other label is wrong whatever the splits, because an edit changes bytes.
    """
    sets = [
        members
        for members in _members([traces.digest for traces in photos.traces])
        if len(members) > 1
    ]
    figures = _counted(sets, photos)
    leak = bool(figures["across_splits"] or figures["across_labels"])
    advice = "; remove the copies" if leak else ""
    return Check(
        "count", figures, leak, _duplicates_finding("Files that occur again", figures, advice)
    )


def check_perceptual_duplicates(photos: PhotoSet) -> Check:
    """Count pairs of files that differ and show nearly the same picture.

    A slight edit and its source are such a pair, rightly with both labels; only a split between
    them is a leak. Without splits, all pairs are reported, including those that the search for
    sources missed.
    """
    digests = [traces.digest for traces in photos.traces]
    near = _near_pairs(np.array([traces.bits for traces in photos.traces]))
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
    """Return figures of sets of photos that belong together.

    `across_splits` is `None` without splits.
    """
    torn = [bool(photos.splits) and _differ(photos.splits, members) for members in sets]
    # The few examples begin with the sets that matter most.
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


def label_auc(
    columns: np.ndarray, truth: np.ndarray, groups: Sequence[str], samples: int
) -> dict[str, float]:
    """Return the AUC of a classifier that sees `columns [photos, features]`, out of fold.

    A forest finds categories and ranges; a linear model finds what many columns say together.
    """
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    forest = RandomForestClassifier(TREES, min_samples_leaf=3, random_state=SEED)
    ensemble = VotingClassifier([("forest", forest), ("line", linear)], voting="soft")
    scores = _out_of_fold(ensemble, columns, truth, groups)
    return auc_estimate(truth, scores, groups, samples=samples)


def _out_of_fold(
    classifier: ClassifierMixin, columns: np.ndarray, truth: np.ndarray, groups: Sequence[str]
) -> np.ndarray:
    """Return scores for label 1 `[photos]`, each from a classifier that never saw its group."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    return cross_val_predict(
        classifier, columns, truth, groups=groups, cv=folds, method="predict_proba"
    )[:, 1]
