import re
from pathlib import Path

import pytest

from training.errors import UserError
from training.tables import TABLES, fill, write_tables

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_are_there():
    assert "pip install -r space/requirements.txt && python space/app.py" in README
    assert "pip install -r requirements.txt && python -m pytest" in README
    assert "python -m pytest" in (PROJECT / ".ci" / "run").read_text()


def test_every_table_is_made_of_the_figures_in_the_files():
    shown = re.findall(r"<!-- table: (\w+) -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert {name for name, _ in shown} == TABLES.keys()
    for name, text in shown:
        assert text.strip() == TABLES[name](), f"{name}: run `python -m training tables`"


def test_figures_in_the_text_are_those_of_the_bundled_model():
    counts = re.search(r"comes from ([\d,]+) of the dataset's 2,041 photos \(([\d,]+) of", README)
    photos, trained_on = (int(count.replace(",", "")) for count in counts.groups())
    folds = re.search(r"^\| photos \| (\d+) \| (\d+) \|", README, re.MULTILINE)
    assert photos == int(folds[2])
    assert trained_on == photos - 2 * int(folds[1])  # validation and test are of one size


def test_tables_are_written_anew(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table: speed -->\n| old |\n<!-- end -->\nafter\n")
    write_tables(readme)
    text = readme.read_text()
    assert text == f"before\n<!-- table: speed -->\n\n{TABLES['speed']()}\n\n<!-- end -->\nafter\n"
    assert fill(text) == text
    with pytest.raises(UserError, match="There is no table magic"):
        fill("<!-- table: magic -->\n<!-- end -->")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (PROJECT / target).exists()
