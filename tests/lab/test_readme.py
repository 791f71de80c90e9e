import json
import re
from pathlib import Path

import pytest

import training.lab.tables
from training.errors import UserError
from training.lab.tables import DOCUMENTS, MODEL, ONE_SOURCE, TABLES, fill, write_tables

PROJECT = Path(__file__).parents[2]
OF_A_SOURCE = ("roc_auc", "paired_ranking", "real_called_fake", "fake_called_fake")
README, RESULTS = (document.read_text(encoding="utf-8") for document in DOCUMENTS)


def test_the_two_commands_are_there():
    assert "pip install -r space/requirements.txt && python space/app.py" in README
    assert "pip install -r requirements.txt && python -m pytest" in README
    assert "python -m pytest" in (PROJECT / ".ci" / "run").read_text()


def test_every_table_is_made_of_the_figures_in_the_files():
    marked = re.compile(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", re.DOTALL)
    shown = [table for text in (README, RESULTS) for table in marked.findall(text)]
    assert sorted(name for name, _ in shown) == sorted(TABLES)
    for name, text in shown:
        assert text.strip() == TABLES[name](), f"{name}: run `python -m training tables`"


def test_figures_in_the_text_are_those_of_the_bundled_model():
    counts = re.search(
        r"comes from ([\d,]+) photos, of which ([\d,]+) were trained on, ([\d,]+) chose .* and "
        r"([\d,]+) are the test",
        README,
    )
    total, train, validation, test = (int(count.replace(",", "")) for count in counts.groups())
    measured = json.loads((MODEL / "detector.json").read_text())["metrics"]
    assert (validation, test) == tuple(
        measured[split]["photos"] for split in ("validation", "test")
    )
    assert total == train + validation + test


def test_tables_are_written_anew(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table: page -->\n| old |\n<!-- end -->\nafter\n")
    write_tables([readme])
    text = readme.read_text()
    assert text == f"before\n<!-- table: page -->\n\n{TABLES['page']()}\n\n<!-- end -->\nafter\n"
    assert fill(text) == text
    with pytest.raises(UserError, match="There is no table magic"):
        fill("<!-- table: magic -->\n<!-- end -->")


def test_sources_are_told_apart_where_the_figures_do(tmp_path, monkeypatch):
    monkeypatch.setattr(training.lab.tables, "_read", lambda path: figures[path.name])
    source_figures = {name: {"value": 0.5, "low": 0.25, "high": 0.75} for name in OF_A_SOURCE}
    source_figures |= {"photos": 40, "fakes": 20, "pairs": 0}
    figures = {
        "metrics.json": {"by_source": {"dfdc": source_figures}},
        "stress.json": {"conditions": {"clean": {"by_source": {"dfdc": source_figures}}}},
    }
    for name in ("sources", "stress_sources"):
        assert TABLES[name]() == ONE_SOURCE
    figures["metrics.json"]["by_source"]["mine"] = source_figures
    figures["stress.json"]["conditions"]["clean"]["by_source"]["mine"] = source_figures
    assert TABLES["sources"]().splitlines()[-1].startswith("| mine | 40 (20) | 0.500 (0.250 to")
    assert TABLES["stress_sources"]().splitlines()[-1] == "| clean | 0.500 | 0.500 |"


LINKS = [
    (document, target)
    for document in (*DOCUMENTS, DOCUMENTS[1].with_name("LOG.md"))
    for target in sorted(set(re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8"))))
]


@pytest.mark.parametrize(("document", "target"), LINKS)
def test_links_lead_somewhere(document, target):
    assert (document.parent / target).exists()


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250
