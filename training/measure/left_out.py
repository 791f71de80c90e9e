"""Results of `python -m training lab leave-one-out`: kinds of fakes left out of training in turn.

Its networks are not the one that is measured: they were trained with the same recipe, but shorter.
They show how many fakes of a kind the recipe finds without having seen the kind.
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
    """Return the results on each source with fakes that some runs left out of training.

    Args:
        fingerprint: of the prepared folder; results for other folders are ignored.
        path: file that `training.lab.compare.compare` wrote.

    Returns:
        JSON-serialisable, for each source: `source`, `photos`, `fakes`, `roc_auc` (on all its
        photos, by networks that saw none of them), `with_it` and `without_it` (ROC AUC on its
        photos of the split). Empty if no such runs were compared.
    """
    if not path.is_file():
        return []
    results = json.loads(path.read_text())
    if results["data_fingerprint"] != fingerprint:
        return []
    first, *others = results["recipes"]
    return [_describe(first, recipe) for recipe in others if "foreign" in recipe]


def left_out_table(figures: Mapping) -> str:
    """Return the results on kinds left out in turn as a Markdown table, or `NOT_RUN`."""
    rows = [
        (
            lookup(kind["source"]).title,
            f"{kind['photos']} ({kind['fakes']})",
            show(kind["roc_auc"]),
            *(
                show(kind[name]) if kind[name] else "not there"
                for name in ("with_it", "without_it")
            ),
        )
        for kind in figures.get("left_out", [])
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
