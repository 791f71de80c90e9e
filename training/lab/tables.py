"""Rewrite the tables of README and lab/RESULTS.md: `python -m training tables`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`. All figures come from files; none
is typed in by hand.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.errors import UserError
from training.lab.baselines import baselines_table
from training.lab.benchmark import limit_sentence, training_table
from training.lab.benchmark_growth import memory_rows, speed_rows
from training.lab.benchmark_network import networks_table
from training.lab.benchmark_page import page_table
from training.lab.benchmark_photo import photos_table
from training.lab.compare import comparison_table, leave_out_table
from training.lab.experiments import RESULTS
from training.measure.audit.audit import audit_table
from training.measure.explanation_tables import explanation_table
from training.measure.failures import failures_list
from training.measure.footprint import footprint_table
from training.measure.left_out import left_out_table
from training.measure.markdown import markdown_table, show
from training.measure.score_tables import (
    TITLES,
    formats_table,
    kinds_table,
    sources_table,
    verdicts_table,
)
from training.measure.stress_tables import stress_sources_table, stress_table
from training.measure.tier_tables import (
    accusations_table,
    caveats,
    found_table,
    stability_table,
    strengths_table,
    tiers_table,
    whom_sentences,
    whom_table,
)

PROJECT = Path(__file__).parents[2]
MODEL = PROJECT / "space" / "model"
DOCUMENTS = (PROJECT / "README.md", RESULTS.with_name("RESULTS.md"))
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
COMPARED = ("roc_auc", "paired_ranking", "accuracy", "balanced_accuracy", "average_precision")
COMPARED += ("equal_error_rate", "tpr_at_1_fpr", "tpr_at_5_fpr", "brier_score", "calibration_error")
ONE_SOURCE = "All of these photos come from one source: the figures above are that source's."
NOT_MEASURED = "Not measured for this model: run `python -m training evaluate MODEL --report`."

log = logging.getLogger(__name__)


def write_tables(documents: Sequence[Path] = DOCUMENTS) -> None:
    """Rewrite the tables of Markdown files.

    Raises:
        UserError: a file with figures is missing, or a table has an unknown name.
    """
    for document in documents:
        text = document.read_text(encoding="utf-8")
        filled = fill(text)
        document.write_text(filled, encoding="utf-8")
        log.info("%s: %s.", document, "unchanged" if filled == text else "written anew")


def fill(text: str) -> str:
    """Return a text with the table between each pair of marks rewritten.

    Raises:
        UserError: a file with figures is missing, or a table has an unknown name.
    """

    def table(match: re.Match) -> str:
        if match[2] not in TABLES:
            raise UserError(f"There is no table {match[2]}: use one of {', '.join(TABLES)}.")
        return f"{match[1]}\n{TABLES[match[2]]()}\n\n{match[3]}"

    return MARKED.sub(table, text)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise UserError(f"{path} is missing: run the verb that writes it.")
    return json.loads(path.read_text())


def _metrics_table() -> str:
    return _compared({"test split": _read(MODEL / "metrics.json")})


def _whom(figures: Mapping) -> str:
    return "\n\n".join(filter(None, (whom_table(figures), whom_sentences(figures))))


def _protocol_table() -> str:
    """Return a table of splits that keep sources together beside a random split."""
    folds, random_split = RESULTS / "folds.json", RESULTS / "random-split.json"
    return _compared({"five folds": _read(folds), "random split (leaks)": _read(random_split)})


def _compared(columns: Mapping[str, Mapping]) -> str:
    """Return a table of the figures of several splits side by side."""
    rows = [("photos", *(figures["photos"] for figures in columns.values()))]
    rows += [
        (TITLES[name], *(show(figures[name]) for figures in columns.values())) for name in COMPARED
    ]
    baseline = (f"{figures['majority_baseline']:.3f}" for figures in columns.values())
    rows.insert(4, ("accuracy of always naming the more frequent label", *baseline))
    return markdown_table(("figure (95 % interval)", *columns), rows)


def _of(make: Callable[[Mapping], str], path: Path, otherwise: str = "") -> Callable[[], str]:
    """Return a function that makes a table from a file, or `otherwise` where it is empty."""
    return lambda: make(_read(path)) or otherwise


def _of_verb(make: Callable[[Mapping], str], name: str, verb: str) -> Callable[[], str]:
    """Return a function that makes a table from a file that a verb wrote beside the model."""

    def table() -> str:
        try:
            return make(_read(MODEL / name)) or ONE_SOURCE
        except UserError:
            return f"Not measured for this model: run `python -m training {verb} space/model`."

    return table


def _of_report(make: Callable[[Mapping], str]) -> Callable[[], str]:
    return _of(make, MODEL / "metrics.json", NOT_MEASURED)


def _tiers_with_caveats(figures: Mapping) -> str:
    return "\n\n".join(filter(None, (tiers_table(figures), " ".join(caveats(figures)))))


def _of_part(part: str, make: Callable[[Mapping], str]) -> Callable[[], str]:
    return lambda: make(_read(RESULTS / "benchmark.json")[part])


TABLES: dict[str, Callable[[], str]] = {
    "tiers": _of_report(_tiers_with_caveats),
    "accusations": _of_report(accusations_table),
    "found": _of_report(found_table),
    "strengths": _of_report(strengths_table),
    "stability": _of_report(stability_table),
    "whom": _of_report(_whom),
    "left_out": _of_report(left_out_table),
    "failures": _of_report(failures_list),
    "footprint": _of_report(footprint_table),
    "metrics": _metrics_table,
    "protocol": _protocol_table,
    "verdicts": _of(verdicts_table, MODEL / "metrics.json"),
    "kinds": _of(kinds_table, MODEL / "metrics.json"),
    "sources": _of(sources_table, MODEL / "metrics.json", ONE_SOURCE),
    "stress": _of_verb(stress_table, "stress.json", "stress"),
    "stress_sources": _of_verb(stress_sources_table, "stress.json", "stress"),
    "ablation": _of(comparison_table, RESULTS / "ablation.json"),
    "folds_sources": _of(comparison_table, RESULTS / "folds-sources.json"),
    "folds_default": _of(comparison_table, RESULTS / "folds-default.json"),
    "leave_out": _of(leave_out_table, RESULTS / "leave-out.json"),
    "leave_out_no_composites": _of(leave_out_table, RESULTS / "leave-out-no-composites.json"),
    "data_curve": _of(comparison_table, RESULTS / "data-curve.json"),
    "explanation": _of_verb(explanation_table, "explanation.json", "explain-test"),
    "baselines": _of(baselines_table, RESULTS / "baselines.json"),
    "audit": _of(audit_table, RESULTS / "audit.json"),
    "audit_sources": _of(audit_table, RESULTS / "audit-sources.json"),
    "audit_cropped": _of(audit_table, RESULTS / "audit-cropped.json"),
    "audit_originals": _of(audit_table, RESULTS / "audit-originals.json"),
    "formats": _of(formats_table, MODEL / "export_report.json"),
    "limit": _of_part("network", limit_sentence),
    "networks": _of_part("network", networks_table),
    "photos": _of_part("photo", photos_table),
    "page": _of_part("page", page_table),
    "training": _of_part("training", training_table),
    "growth_speed": _of_part("growth", speed_rows),
    "growth_memory": _of_part("growth", memory_rows),
}
