"""Measure how a model copes with degraded photos: `python -m training stress MODEL`.

Each photo of a split is judged as it is, and again after compression, resizing, blur, noise,
different light, a screenshot and a different crop. Nothing is trained: the strengths are fixed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from space.detector import Detector
from space.photos import open_photo
from training.data.rows import LABELS, Photo, read_report, read_split
from training.fit import degrade
from training.folders import write_json
from training.measure.answers import judge_with
from training.measure.figures import check_measurable
from training.measure.metrics import SAMPLES, estimate, weighted_auc, weighted_share
from training.measure.report import ROBUSTNESS
from training.measure.scores import folder_for_figures, load_detector
from training.measure.stress_tables import CLEAN, SHARES, stress_sources_table, stress_table
from training.run import FACE

RESULTS, PLOT = "stress.json", ROBUSTNESS
SEED = 0  # for the noise
# What each panel of the plot shows: figure, marker, marker size (different where one marker often
# covers the other), and a colour that colour-blind people can tell from the others (Okabe and Ito,
# https://jfly.uni-koeln.de/color/).
PANELS = {
    "share of these photos": (
        ("fake_called_fake", "o", 6, "#0072B2"),
        ("real_called_fake", "s", 6, "#D55E00"),
        ("inconclusive", "D", 6, "#999999"),
    ),
    "share of verdicts unlike clean": (
        ("verdict_changed", "o", 9, "#CC79A7"),
        ("verdict_reversed", "s", 4, "#000000"),
    ),
}

Change = Callable[[np.ndarray], np.ndarray]

log = logging.getLogger(__name__)


def stress(
    model: str | Path,
    data: Path,
    split: str = "test",
    output: Path | None = None,
    *,
    samples: int = SAMPLES,
) -> dict:
    """Write `stress.json` and `stress.png`, log the table, and return the figures.

    Args:
        model: folder of an exported model, or a Hub repository.
        data: folder that `prepare` wrote.
        split: `"train"`, `"validation"` or `"test"`.
        output: folder for the files; that of the model by default.
        samples: bootstrap samples of the intervals.

    Returns:
        JSON-serialisable: the model, the data, and under `conditions` the figures of each by name,
        with their intervals (`value`, `low`, `high`): `roc_auc`; `auc_change`, the difference from
        clean photos on the same bootstrap samples; the shares `real_called_fake` (of the real
        photos), `fake_called_fake` (of the fakes), and of all photos `inconclusive`,
        `verdict_changed` and `verdict_reversed` (from real to fake or back); and `by_source`,
        `roc_auc` and `auc_change` for each source that has both labels, on its photos alone.

    Raises:
        UserError: there is no such model, the data is not what it should be, one label is missing,
            or there are fewer than 20 photos.
    """
    photos = read_split(data, split)
    check_measurable(photos)
    folder = folder_for_figures(model, output)
    detector = load_detector(model)
    scores, verdicts = _judge(detector, photos, split)
    results = {
        **_identify(detector),
        "split": split,
        "data_fingerprint": read_report(data)["fingerprint"],
        "photos": len(photos),
        "fakes": sum(photo.is_fake for photo in photos),
        "seed": SEED,
        "bootstrap_samples": samples,
        "conditions": _figures(photos, scores, verdicts, samples),
    }
    _write(results, folder)
    return results


def conditions(index: int = 0) -> dict[str, Change]:
    """Return the changes to a photo by name, the unchanged photo first.

    Args:
        index: the photo's position, so that each photo gets its own noise.

    Returns:
        Functions that take and return a `uint8` array `[height, width, 3]`, RGB. Pixels are those
        of the prepared photo.
    """

    def grain(photo: np.ndarray, sigma: float) -> np.ndarray:
        return degrade.noise(photo, sigma, np.random.default_rng([SEED, index]))

    return {
        CLEAN: np.copy,
        **{f"JPEG quality {q}": partial(degrade.jpeg, quality=q) for q in (95, 75, 50, 30)},
        **{f"{side} px and back": partial(degrade.shrink, side=side) for side in (160, 112, 64)},
        **{f"blur, {sigma} px": partial(degrade.blur, sigma=sigma) for sigma in (1, 2)},
        **{f"noise, {sigma} levels": partial(grain, sigma=sigma) for sigma in (5, 15)},
        "darker, x 0.6": partial(degrade.brighten, factor=0.6),
        "brighter, x 1.4": partial(degrade.brighten, factor=1.4),
        "warm light": partial(degrade.colour_cast, warmth=0.15),
        "cold light": partial(degrade.colour_cast, warmth=-0.15),
        "screenshot": degrade.screenshot,
        "crop 10 % tighter": partial(degrade.crop_tighter, share=0.1),
        "crop 10 % looser": partial(degrade.crop_looser, share=0.1),
    }


def plot_stress(results: Mapping, path: Path) -> None:
    """Plot the AUC and the shares of verdicts, with a line for each condition.

    Args:
        results: what `stress` returns.
        path: PNG file to write.
    """
    names, figures = zip(*results["conditions"].items(), strict=True)
    figure = Figure(figsize=(12, 1.8 + 0.3 * len(names)), layout="constrained")
    auc_axes, *share_axes = figure.subplots(1, 3, sharey=True)
    _plot_auc(auc_axes, [condition["roc_auc"] for condition in figures])
    for axes, (title, series) in zip(share_axes, PANELS.items(), strict=True):
        for name, marker, size, colour in series:
            values = [condition[name]["value"] for condition in figures]
            style = {"color": colour, "markersize": size, "label": SHARES[name]}
            axes.plot(values, range(len(names)), marker, **style)
        axes.set(xlabel=title, xlim=(-0.02, max(0.5, axes.get_xlim()[1])))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(series), fontsize=8)
    for axes in (auc_axes, *share_axes):
        axes.grid(alpha=0.3)
    auc_axes.set_yticks(range(len(names)), names)
    auc_axes.set_ylim(len(names) - 0.5, -0.5)  # the first on top
    figure.savefig(path, dpi=120)


def _identify(detector: Detector) -> dict:
    """Return which model was measured, and what it judges."""
    config = detector.config
    return {
        "model": detector.name,
        "sha256": config.sha256,
        "thresholds": dict(config.thresholds),
        "faces": config.framing == FACE,
    }


def _judge(
    detector: Detector, photos: Sequence[Photo], split: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return probabilities of fake and verdicts, each `[photos]`, by condition."""
    judge = judge_with(detector)
    answers = {name: [] for name in conditions()}
    progress = tqdm(photos, desc=f"Judging {split}, changed", unit="photo")
    for index, photo in enumerate(progress):
        pixels = np.asarray(open_photo(photo.path))
        for name, change in conditions(index).items():
            answers[name].append(judge(change(pixels)))
    scores = {
        name: np.array([answer.probability for answer in column])
        for name, column in answers.items()
    }
    verdicts = {
        name: np.array([answer.verdict for answer in column]) for name, column in answers.items()
    }
    return scores, verdicts


def _figures(
    photos: Sequence[Photo],
    scores: Mapping[str, np.ndarray],
    verdicts: Mapping[str, np.ndarray],
    samples: int,
) -> dict[str, dict]:
    """Return the figures with their intervals by condition."""
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    groups = [photo.group for photo in photos]
    clean_auc = weighted_auc(truth, scores[CLEAN])
    figures = {}
    for name in tqdm(scores, desc="Computing intervals", unit="condition"):
        auc = weighted_auc(truth, scores[name])
        shares = _shares(truth, verdicts[name], verdicts[CLEAN])

        def statistics(weights: np.ndarray, auc=auc, shares=shares) -> dict[str, float]:
            value = auc(weights)
            return {
                "roc_auc": value,
                "auc_change": value - clean_auc(weights),
                **{kind: weighted_share(weights, *members) for kind, members in shares.items()},
            }

        figures[name] = estimate(statistics, groups, samples=samples)
        figures[name]["by_source"] = _by_source(photos, scores[name], scores[CLEAN], samples)
    return figures


def _by_source(
    photos: Sequence[Photo], scores: np.ndarray, clean: np.ndarray, samples: int
) -> dict[str, dict]:
    """Return AUC and its difference from clean by source, on the same samples of its groups."""
    sources = np.array([photo.source for photo in photos])
    figures = {}
    for source in sorted(set(sources.tolist())):
        members = np.flatnonzero(sources == source)
        own = [photos[index] for index in members]
        if len({photo.label for photo in own}) == len(LABELS):
            figures[source] = _of_source(own, scores[members], clean[members], samples)
    return figures


def _of_source(
    photos: Sequence[Photo], scores: np.ndarray, clean: np.ndarray, samples: int
) -> dict[str, dict]:
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    auc, clean_auc = weighted_auc(truth, scores), weighted_auc(truth, clean)

    def statistics(weights: np.ndarray) -> dict[str, float]:
        value = auc(weights)
        return {"roc_auc": value, "auc_change": value - clean_auc(weights)}

    return estimate(statistics, [photo.group for photo in photos], samples=samples)


def _shares(
    truth: np.ndarray, verdicts: np.ndarray, clean: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return two masks `[photos]` for each share: the photos that count, and those it is of."""
    fake, all_photos = verdicts == "fake", np.ones(len(truth), dtype=bool)
    undecided, changed = verdicts == "inconclusive", verdicts != clean
    return {
        "real_called_fake": (fake, truth == 0),
        "fake_called_fake": (fake, truth == 1),
        "inconclusive": (undecided, all_photos),
        "verdict_changed": (changed, all_photos),
        "verdict_reversed": (changed & ~undecided & (clean != "inconclusive"), all_photos),
    }


def _plot_auc(axes, estimates: Sequence[Mapping[str, float]]) -> None:
    """Plot AUCs with their intervals from top to bottom, with a vertical line at the first."""
    values, low, high = (
        np.array([auc[key] for auc in estimates]) for key in ("value", "low", "high")
    )
    axes.axvline(values[0], linestyle="--", color="black", linewidth=1, label="clean")
    axes.axvline(0.5, linestyle=":", color="black", linewidth=1, label="chance")
    # A percentile interval of few samples need not contain the value.
    spread = np.maximum([values - low, high - values], 0)
    axes.errorbar(
        values, range(len(values)), xerr=spread, fmt="o", capsize=3, color="#0072B2", label="AUC"
    )
    axes.set(xlabel="ROC AUC, 95 % interval")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)


def _write(results: Mapping, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    plot_stress(results, output / PLOT)
    write_json(output / RESULTS, results)
    tables = filter(None, (stress_table(results), stress_sources_table(results)))
    log.info("%s:\n%s", output / RESULTS, "\n\n".join(tables))
