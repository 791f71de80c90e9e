"""Compare runs on the same photos: `python -m training compare RUN RUN ...`.

Each ingredient of a recipe must earn its place. Runs are measured on one split, or their settings
out of fold on all photos, source by source; their difference from the first run is bootstrapped on
the same photos. Runs that differ only in their seed count as one recipe, whose figures are the mean
over its runs. A RUN may also be an exported model: is a new run better than what is served?
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from space.contract import CONFIG_FILE
from training.config import RECIPES, complete_settings
from training.data.rows import Photo, read_all, read_report, read_source_pairs, read_split
from training.errors import UserError
from training.folders import write_json
from training.measure.evaluate import FOLDS_FOLDER, read_fold_scores
from training.measure.markdown import markdown_table, show, show_change
from training.measure.metrics import SAMPLES, estimate, opposed, paired_ranking, weighted_auc
from training.measure.scores import open_model, scores
from training.run import Run, check_data, trained_on

MEAN_AUC, RANKING = "mean_auc", "paired_ranking"
MODEL = "model"  # all that is known of an exported model: its folder
MAX_NAMED = 6  # settings in a table; a recipe that differs in more is shown by its runs' names
IGNORED = ("seed", "backbone_weights")  # these do not make another recipe

log = logging.getLogger(__name__)


def compare(
    runs: Sequence[Path],
    data: Path,
    split: str | None = None,
    output: Path | None = None,
    *,
    folds: bool = False,
    samples: int = SAMPLES,
) -> dict:
    """Write a JSON file, log its table and return the results.

    Args:
        runs: folders of finished runs or of exported models; others are compared with the first.
        data: the prepared folder that they were trained on.
        split: the split to judge, by default `"validation"`. Choose recipes on that one, so that
            `"test"` stays unseen.
        output: file to write, by default `comparison.json` in the folder of the first run or of its
            folds. Required where the first is an exported model: its folder is pushed and served as
            it is.
        folds: measure the runs' settings, not the runs, on all photos, with the scores that
            `evaluate --folds` wrote into each run.
        samples: bootstrap samples for the intervals.

    Returns:
        A JSON-compatible dict: `split` (or the number of folds), `data_fingerprint`, and `recipes`,
        each with `differs` (settings other than the first recipe's, or the name of another recipe
        and what differs from that), `runs` (their names), `figures`, and `lead`, the figures'
        differences from the first recipe. The figures are `mean_auc` (over the sources), `auc_` of
        each source with fakes (against all real photos where it has none), and `paired_ranking`,
        with intervals. A recipe that leaves out a source with fakes also has `foreign`: `source`,
        and `photos`, `fakes`, `pairs` and `figures` of all its photos.

    Raises:
        UserError: a run is unfinished, was trained on other data, has no fold scores or those of
            another number of folds; `folds` is given with `split` or with an exported model; or an
            exported model comes first without `output`.
    """
    if folds and split:
        raise UserError("--folds measures all photos: leave out --split.")
    _check_exported(runs, output, folds=folds)
    results = _compare(runs, data, None if folds else split or "validation", samples)
    path = output or Path(runs[0]) / (FOLDS_FOLDER if folds else "") / "comparison.json"
    write_json(path, results)
    log.info("%s\n%s", path, comparison_table(results))
    return results


def comparison_table(results: Mapping) -> str:
    """Return the results of `compare` as a Markdown table."""
    names = list(results["recipes"][0]["figures"])
    titles = {MEAN_AUC: "mean AUC", RANKING: "paired ranking"}
    head = ["recipe", "runs", "mean AUC against the first"]
    head += [titles.get(name, name.removeprefix("auc_").replace("_", " ")) for name in names]
    rows = []
    for number, recipe in enumerate(results["recipes"]):
        changes = ", ".join(f"{name} {value}" for name, value in recipe["differs"].items())
        if len(recipe["differs"]) > MAX_NAMED:
            changes = ", ".join(recipe["runs"])
        lead = show_change(recipe["lead"][MEAN_AUC]) if number else ""
        figures = [show(recipe["figures"][name]) for name in names]
        rows.append((changes or "the first", str(len(recipe["runs"])), lead, *figures))
    return markdown_table(head, rows)


def leave_out_table(results: Mapping) -> str:
    """Return a Markdown table of the recipes that left a source out, beside the first recipe."""
    first = results["recipes"][0]
    head = ["source", "its photos of the split: trained with it", "without it", "difference"]
    head += ["all of its photos (fakes)", "AUC of all without it", "their paired ranking"]
    rows = []
    for recipe in results["recipes"]:
        foreign = recipe.get("foreign")
        if foreign and recipe is not first:
            area, pairs = f"auc_{foreign['source']}", foreign["pairs"]
            figures = (first["figures"][area], recipe["figures"][area])
            rows.append(
                (
                    foreign["source"].replace("_", " "),
                    *map(show, figures),
                    show_change(recipe["lead"][area]),
                    f"{foreign['photos']} ({foreign['fakes']})",
                    show(foreign["figures"][area]),
                    f"{show(foreign['figures'][RANKING])}, {pairs} pairs" if pairs else "no pairs",
                )
            )
    return markdown_table(head, rows)


def _compare(runs: Sequence[Path], data: Path, split: str | None, samples: int) -> dict:
    """Return the results on a split or, without one, out of fold on all photos."""
    photos = read_split(data, split) if split else read_all(data)
    recipes = _recipes(runs, data)
    described = [_describe(recipes[0][0], *recipe, data, photos, samples) for recipe in recipes]
    if split:
        judged = [_scores(members, photos) for _, members in recipes]
    else:
        split, judged = _fold_scores([members for _, members in recipes], data, photos)
    figures = _estimates(photos, read_source_pairs(data, photos), judged, samples)
    return {
        "split": split,
        "data_fingerprint": read_report(data)["fingerprint"],
        "recipes": [
            description | estimates
            for description, estimates in zip(described, figures, strict=True)
        ],
    }


def _scores(runs: Sequence[Path], photos: Sequence[Photo]) -> np.ndarray:
    """Return the probabilities of fake `[runs, photos]` of runs, or of an exported model."""
    return np.stack([scores(open_model(run), photos) for run in runs])


def _is_exported(folder: Path) -> bool:
    return (Path(folder) / CONFIG_FILE).is_file()


def _check_exported(runs: Sequence[Path], output: Path | None, *, folds: bool) -> None:
    """Raise `UserError` for what cannot be done with exported models."""
    if folds and any(map(_is_exported, runs)):
        raise UserError("--folds trains a run's settings anew: leave out exported models.")
    if _is_exported(runs[0]) and not output:
        raise UserError(f"{runs[0]} is an exported model, not a run: give --output.")


def _fold_scores(
    recipes: Sequence[Sequence[Path]], data: Path, photos: Sequence[Photo]
) -> tuple[str, list[np.ndarray]]:
    """Return the number of folds that all runs have, and each recipe's scores `[runs, photos]`."""
    scored = [[read_fold_scores(run, data, photos) for run in runs] for runs in recipes]
    numbers = sorted({number for recipe in scored for number, _ in recipe})
    if len(numbers) > 1:
        raise UserError(f"The runs have scores of {numbers} folds: compare equal numbers.")
    return f"{numbers[0]} folds", [np.stack([scores for _, scores in recipe]) for recipe in scored]


def _describe(
    first: Mapping,
    settings: Mapping,
    runs: Sequence[Path],
    data: Path,
    photos: Sequence[Photo],
    samples: int,
) -> dict:
    """Return a recipe's description, with its figures on a source that it left out."""
    described = {
        "differs": _differences(first, settings),
        "runs": [Path(run).name for run in runs],
    }
    source = settings.get("leave_out")  # figures are of one: none where several were left out
    foreign = [photo for photo in read_all(data) if photo.source == source] if source else []
    if any(photo.is_fake for photo in foreign):
        described["foreign"] = _foreign(runs, data, foreign, photos, samples)
    return described


def _foreign(
    runs: Sequence[Path],
    data: Path,
    photos: Sequence[Photo],
    others: Sequence[Photo],
    samples: int,
) -> dict:
    """Return figures of runs on all photos of a source that none of them has seen.

    A source of fakes only is set against the real photos of `others`.
    """
    fakes = sum(photo.is_fake for photo in photos)
    reals = [photo for photo in others if not photo.is_fake] if fakes == len(photos) else []
    measured = [*photos, *reals]
    pairs = read_source_pairs(data, photos)
    (estimates,) = _estimates(measured, pairs, [_scores(runs, measured)], samples)
    counts = {"source": photos[0].source, "photos": len(photos), "fakes": fakes}
    return counts | {"pairs": len(pairs), "figures": estimates["figures"]}


def _recipes(runs: Sequence[Path], data: Path) -> list[tuple[dict, list[Path]]]:
    """Return each recipe's settings and runs, in the order given."""
    recipes: dict[str, list[Path]] = {}
    for run in runs:
        check_data(run, trained_on(run), data)
        settings = {MODEL: str(run)} if _is_exported(run) else _settings(Run.open(run).settings)
        recipes.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    return [(json.loads(settings), members) for settings, members in recipes.items()]


def _settings(stored: Mapping) -> dict:
    """Return the stored settings that make a recipe."""
    settings = json.loads(json.dumps(complete_settings(stored)))  # turns tuples into lists
    return {name: value for name, value in settings.items() if name not in IGNORED}


def _differences(first: Mapping, other: Mapping) -> dict:
    """Return how settings differ from the first recipe, or from a named one where that is shorter.

    For an exported model, return its folder.
    """
    if MODEL in other:
        return {MODEL: other[MODEL]}
    named = [
        {"recipe": name} | _difference(_settings(settings), other)
        for name, settings in RECIPES.items()
    ]
    return min(_difference(first, other), *named, key=len)


def _difference(first: Mapping, other: Mapping) -> dict:
    """Return the settings in which a recipe differs."""
    return {
        name: other.get(name)
        for name in sorted({*first, *other})
        if other.get(name) != first.get(name)
    }


def _measure(
    photos: Sequence[Photo], pairs: Sequence[tuple[int, int]], scores: np.ndarray
) -> Callable[[np.ndarray], dict[str, float]]:
    """Return a function that computes a run's figures from weights `[photos]`."""
    truth = np.array([photo.is_fake for photo in photos], dtype=int)
    sources = np.array([photo.source for photo in photos])
    masks = opposed(truth, sources)
    areas = {name: weighted_auc(truth[mask], scores[mask]) for name, mask in masks.items()}
    shares = np.sqrt([np.sum(sources == name) for name in masks])  # as in `mean_auc`

    def measure(weights: np.ndarray) -> dict[str, float]:
        by_source = {f"auc_{name}": areas[name](weights[mask]) for name, mask in masks.items()}
        mean = float(np.average(list(by_source.values()), weights=shares))
        return {MEAN_AUC: mean, RANKING: paired_ranking(scores, pairs, weights), **by_source}

    return measure


def _estimates(
    photos: Sequence[Photo],
    pairs: Sequence[tuple[int, int]],
    scores: Sequence[np.ndarray],
    samples: int,
) -> list[dict]:
    """Return `figures` and `lead` of each recipe from its scores `[runs, photos]`."""
    measures = [
        [_measure(photos, pairs, run_scores) for run_scores in recipe_runs]
        for recipe_runs in scores
    ]

    def statistics(weights: np.ndarray) -> dict[str, float]:
        values: dict[str, float] = {}
        for number, recipe_runs in enumerate(measures):
            by_run = [measure(weights) for measure in recipe_runs]
            for name in by_run[0]:
                value = float(np.mean([figures[name] for figures in by_run]))
                values[f"{number} figures {name}"] = value
                values[f"{number} lead {name}"] = value - values[f"0 figures {name}"]
        return values

    estimates = estimate(statistics, [photo.group for photo in photos], samples=samples)
    described: list[dict] = [{"figures": {}, "lead": {}} for _ in scores]
    for key, value in estimates.items():
        number, kind, name = key.split(" ", 2)
        described[int(number)][kind][name] = value
    return described
