"""Tables of what `training.measure.stress.stress` found."""

from __future__ import annotations

from collections.abc import Mapping

from training.data.sources import lookup
from training.measure.markdown import markdown_table, show, show_change

CLEAN = "clean"
SHARES = {
    "real_called_fake": "real called fake",
    "fake_called_fake": "fakes called fake",
    "inconclusive": "inconclusive",
    "verdict_changed": "verdict changed",
    "verdict_reversed": "real and fake swapped",
}


def stress_table(results: Mapping) -> str:
    """Return what `stress` found as a Markdown table, a row for each condition."""
    head = ("condition", "ROC AUC (95 % interval)", "AUC against clean", *SHARES.values())
    rows = [
        (
            name,
            show(of["roc_auc"]),
            "" if name == CLEAN else show_change(of["auc_change"]),
            *(f"{100 * of[share]['value']:.1f} %" for share in SHARES),
        )
        for name, of in results["conditions"].items()
    ]
    return markdown_table(head, rows)


def stress_sources_table(results: Mapping) -> str:
    """Return the AUC of each source, and its difference to clean photos, as a Markdown table with a
    row for each condition; empty where all photos are of one source."""
    # Results from before there were several sources know none.
    by_source = {name: of.get("by_source", {}) for name, of in results["conditions"].items()}
    if len(by_source[CLEAN]) < 2:
        return ""
    head = ("AUC (difference)", *(lookup(source).title for source in by_source[CLEAN]))
    rows = [
        (
            name,
            *(
                f"{of['roc_auc']['value']:.3f}"
                + ("" if name == CLEAN else f" ({of['auc_change']['value']:+.3f})")
                for of in sources.values()
            ),
        )
        for name, sources in by_source.items()
    ]
    return markdown_table(head, rows)
