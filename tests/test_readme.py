import json
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()
MODEL = PROJECT / "space" / "model"
METRICS = json.loads((MODEL / "metrics.json").read_text())


def table_after(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the first table after a heading."""
    text = README.split(heading, 1)[1]
    table = re.search(r"\n\|.*?\n\|[ -|]+\n((?:\|.*\n)+)", text)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_two_commands_are_there():
    assert "pip install -r space/requirements.txt && python space/app.py" in README
    assert "pip install -r requirements.txt && python -m pytest" in README
    assert "python -m pytest" in (PROJECT / ".ci" / "run").read_text()


def test_test_figures_are_those_of_the_bundled_model():
    shown = {row[0]: row[1] for row in table_after("## Results")}
    recall = METRICS["by_difficulty"]
    assert shown == {
        "ROC AUC": f"{METRICS['roc_auc']:.3f}",
        "average precision": f"{METRICS['average_precision']:.3f}",
        "accuracy": f"{METRICS['accuracy']:.3f}",
        "balanced accuracy": f"{METRICS['balanced_accuracy']:.3f}",
        "always naming the more frequent label": f"{METRICS['majority_baseline']:.3f}",
        "AUC of easy, mid, hard fakes against all real photos": ", ".join(
            f"{recall[difficulty]['roc_auc']:.3f}" for difficulty in ("easy", "mid", "hard")
        ),
    }


def test_formats_are_those_of_the_export():
    report = json.loads((MODEL / "export_report.json").read_text())
    rows = {row[0]: row[1:] for row in table_after("### Formats")}
    assert rows.pop("Keras")[-2] == f"{report['keras_validation_auc']:.4f}"
    assert rows == {
        variant["name"]: [
            f"{variant['megabytes']:.1f} MB",
            f"{variant['milliseconds']:.1f} ms",
            f"{variant['auc']:.4f}",
            "yes" if variant["passed"] else "no",
        ]
        for variant in report["variants"]
    }


def test_number_of_photos_is_that_of_the_model():
    assert f"{METRICS['photos']} test photos" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (PROJECT / target).exists()
