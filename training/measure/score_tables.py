"""Tables of what `training.measure.figures.compute_metrics` found, and of an export's formats, for
report, card and README."""

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
    """Return how the verdicts fall as a Markdown table."""
    rows = [(title, show(figures["verdicts"][name])) for name, title in VERDICT_TITLES.items()]
    return markdown_table(("verdicts", "share (95 % interval)"), rows)


def kinds_table(figures: Mapping) -> str:
    """Return the figures by difficulty and replaced part as a Markdown table, and of the source
    where there is one only (`sources_table` is for several); empty where none is known."""
    kinds = ["by_difficulty", "by_part"]
    if len(figures["by_source"]) == 1:
        kinds.append("by_source")
    rows = [
        (name.replace("_", " "), of["fakes"], show(of["roc_auc"]), show(of["called_fake"]))
        for kind in kinds
        for name, of in figures[kind].items()
    ]
    head = ("fakes", "number", "AUC against real photos", "called fake")
    return markdown_table(head, rows) if rows else ""


def sources_table(figures: Mapping) -> str:
    """Return the figures by source as a Markdown table; empty where all photos are of one."""
    if len(figures["by_source"]) < 2:
        return ""
    rows = [
        (
            lookup(name).title,
            f"{of['photos']} ({of['fakes']})",
            show(of["roc_auc"]),
            f"{show(of['paired_ranking'])}, {of['pairs']} pairs" if of["pairs"] else "no pairs",
            show(of["real_called_fake"]),
            show(of["fake_called_fake"]),
        )
        for name, of in figures["by_source"].items()
    ]
    head = ("source", "photos (fakes)", "AUC", "paired ranking")
    return markdown_table((*head, "real called fake", "fakes called fake"), rows)


def formats_table(report: Mapping) -> str:
    """Return what `export` measured of the numeric formats as a Markdown table."""
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
