"""Tables of the results of `training.measure.stress.stress`."""

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
    """Return the results of `stress` as a Markdown table, a row for each condition."""
    head = ("condition", "ROC AUC (95 % interval)", "AUC against clean", *SHARES.values())
    rows = [
        (
            name,
            show(figures["roc_auc"]),
            "" if name == CLEAN else show_change(figures["auc_change"]),
            *(f"{100 * figures[share]['value']:.1f} %" for share in SHARES),
        )
        for name, figures in results["conditions"].items()
    ]
    return markdown_table(head, rows)


def stress_sources_table(results: Mapping) -> str:
    """Return each source's AUC and its difference from clean photos as a Markdown table.

    It has a row for each condition. It is empty if all photos are from one source.
    """
    # Older results, from before there were several sources, have no figures by source.
    by_source = {
        name: figures.get("by_source", {}) for name, figures in results["conditions"].items()
    }
    if len(by_source[CLEAN]) < 2:
        return ""
    head = ("AUC (difference)", *(lookup(source).title for source in by_source[CLEAN]))
    rows = [
        (
            name,
            *(
                f"{figures['roc_auc']['value']:.3f}"
                + ("" if name == CLEAN else f" ({figures['auc_change']['value']:+.3f})")
                for figures in sources.values()
            ),
        )
        for name, sources in by_source.items()
    ]
    return markdown_table(head, rows)
