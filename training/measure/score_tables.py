"""Tables of figures and of an export's formats, for report, card and README.

The figures are those of `training.measure.figures.compute_metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping

from training.data.sources import lookup
from training.measure.markdown import markdown_table, show

TITLES = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "paired_ranking": "paired ranking: fake above the photo it was made from",
    "equal_error_rate": "equal error rate",
    "tpr_at_1_fpr": "fakes found at 1 % false alarms",
    "tpr_at_5_fpr": "fakes found at 5 % false alarms",
    "brier_score": "Brier score",
    "calibration_error": "expected calibration error",
}
VERDICT_TITLES = {
    "inconclusive": "inconclusive, of all photos",
    "real_called_fake": "called fake, of the real photos",
    "fake_called_real": "called real, of the fakes",
    "fake_called_fake": "called fake, of the fakes",
    "accuracy_where_decided": "right, of the photos with a verdict",
}


def metrics_table(figures: Mapping) -> str:
    """Return the main figures as a Markdown table."""
    rows = [(title, show(figures[name])) for name, title in TITLES.items()]
    rows.insert(3, ("always naming the more frequent label", f"{figures['majority_baseline']:.3f}"))
    return markdown_table(("figure", "value (95 % interval)"), rows)


def verdicts_table(figures: Mapping) -> str:
    """Return the shares of the verdicts as a Markdown table."""
    rows = [(title, show(figures["verdicts"][name])) for name, title in VERDICT_TITLES.items()]
    return markdown_table(("verdicts", "share (95 % interval)"), rows)


def kinds_table(figures: Mapping) -> str:
    """Return the figures by difficulty and replaced part as a Markdown table.

    A single source gets a row; `sources_table` is for several. Empty if no kind is known.
    """
    kinds = ["by_difficulty", "by_part"]
    if len(figures["by_source"]) == 1:
        kinds.append("by_source")
    rows = [
        (name.replace("_", " "), row["fakes"], show(row["roc_auc"]), show(row["called_fake"]))
        for kind in kinds
        for name, row in figures[kind].items()
    ]
    head = ("fakes", "number", "AUC against real photos", "called fake")
    return markdown_table(head, rows) if rows else ""


def sources_table(figures: Mapping) -> str:
    """Return the figures by source as a Markdown table; empty if all photos are from one source."""
    if len(figures["by_source"]) < 2:
        return ""
    rows = [
        (
            lookup(name).title,
            f"{row['photos']} ({row['fakes']})",
            show(row["roc_auc"]),
            f"{show(row['paired_ranking'])}, {row['pairs']} pairs" if row["pairs"] else "no pairs",
            show(row["real_called_fake"]),
            show(row["fake_called_fake"]),
        )
        for name, row in figures["by_source"].items()
    ]
    head = ("source", "photos (fakes)", "AUC", "paired ranking")
    return markdown_table((*head, "real called fake", "fakes called fake"), rows)


def formats_table(report: Mapping) -> str:
    """Return what `export` measured for each numeric format as a Markdown table."""
    rows = [("Keras", "", "", f"{report['keras_mean_validation_auc']:.4f}", "")]
    rows += [
        (
            variant["name"],
            f"{variant['megabytes']:.1f} MB",
            f"{variant['milliseconds']:.1f} ms",
            f"{variant['mean_auc']:.4f}",
            "yes" if variant["passed"] else "no",
        )
        for variant in report["variants"]
    ]
    return markdown_table(("format", "size", "time", "mean validation AUC", "passed"), rows)
