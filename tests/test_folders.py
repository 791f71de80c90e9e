from contextlib import suppress
from pathlib import Path

import pytest

from training.errors import UserError
from training.folders import check_replaceable, replaced_folder


def test_folder_appears_when_it_is_complete(tmp_path):
    output = tmp_path / "out"
    with replaced_folder(output, "marker") as folder:
        (folder / "marker").write_text("1")
        assert not output.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "marker").read_text() == "1"


def test_failure_leaves_the_old_folder(tmp_path):
    output = tmp_path / "out"
    with replaced_folder(output, "marker") as folder:
        (folder / "marker").write_text("old")
    with suppress(RuntimeError), replaced_folder(output, "marker") as folder:
        (folder / "marker").write_text("new")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (output / "marker").read_text() == "old"


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/half").write_text("")
    with replaced_folder(tmp_path / "out", "marker") as folder:
        assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_interruption_between_the_two_renames_costs_nothing(tmp_path):
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced/marker").write_text("old")
    with suppress(RuntimeError), replaced_folder(tmp_path / "out", "marker"):
        raise RuntimeError
    assert (tmp_path / "out/marker").read_text() == "old"


def test_link_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for text in ("1", "2"):
        with replaced_folder(tmp_path / "out", "marker") as folder:
            (folder / "marker").write_text(text)
        assert (tmp_path / "out").is_symlink()
        assert (tmp_path / "disk/marker").read_text() == text


@pytest.mark.parametrize("path", ["/dev/null", "/"])
def test_what_is_no_folder_is_not_touched(path):
    with pytest.raises(UserError, match="holds no marker"):
        check_replaceable(Path(path), "marker")


def test_foreign_folder_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no marker"), replaced_folder(tmp_path, "marker"):
        pass
    assert (tmp_path / "thesis.txt").read_text() == "mine"
