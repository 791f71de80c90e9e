"""Kinds of fakes left out of training in turn: what `python -m training lab leave-one-out` found.

The networks are others than the one that is measured, shorter trained with its recipe: what they
tell is how much the recipe finds of a kind that it never saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from training.data.sources import lookup
from training.measure.markdown import markdown_table, show

EXPERIMENT = "leave-one-out"
RESULTS = Path(__file__).parents[1] / "lab" / "results" / f"{EXPERIMENT}.json"
NOT_RUN = (
    "Training without some kinds in turn was not run on these photos: `python -m training lab "
    f"{EXPERIMENT} --backbone-weights PATH` runs it."
)


def read_left_out(fingerprint: str, path: Path = RESULTS) -> list[dict]:
    """Return what runs that left a source with fakes out found of it.

    Args:
        fingerprint: of the prepared folder whose figures these go with; results of others are left.
        path: file that `training.lab.compare.compare` wrote.

    Returns:
        What JSON can hold, of each source: `source`, `photos`, `fakes`, `roc_auc` (of all its
        photos, by networks that saw none), `with_it` and `without_it` (ROC AUC on its photos of the
        split). Nothing where no such runs were compared.
    """
    if not path.is_file():
        return []
    results = json.loads(path.read_text())
    if results["data_fingerprint"] != fingerprint:
        return []
    first, *others = results["recipes"]
    return [_describe(first, one) for one in others if "foreign" in one]


def left_out_table(figures: Mapping) -> str:
    """Return what was found of kinds left out in turn as a Markdown table, or that nothing was."""
    rows = [
        (
            lookup(of["source"]).title,
            f"{of['photos']} ({of['fakes']})",
            show(of["roc_auc"]),
            *(show(of[name]) if of[name] else "not there" for name in ("with_it", "without_it")),
        )
        for of in figures.get("left_out", [])
    ]
    head = ("left out of training", "its photos (fakes)", "ROC AUC of all of them")
    head += ("of those of the split, trained with it", "without it")
    return markdown_table(head, rows) if rows else NOT_RUN


def _describe(first: Mapping, recipe: Mapping) -> dict:
    foreign = recipe["foreign"]
    area = f"auc_{foreign['source']}"
    return {
        **{name: foreign[name] for name in ("source", "photos", "fakes")},
        "roc_auc": foreign["figures"][area],
        "with_it": first["figures"].get(area),
        "without_it": recipe["figures"].get(area),
    }
