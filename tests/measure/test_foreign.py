from pathlib import Path

import pytest

from tests.measure.test_tiers import photo
from training.errors import UserError
from training.measure.foreign import read_bona_fide, read_elsewhere, read_foreign
from training.measure.tiers import ORDINARY, UNSEEN


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_foreign_fakes_need_no_real_photos(tmp_path):
    fill(tmp_path, "fake/clip1__a.jpg", "fake/clip1__b.jpg", "fake/other.png", "fake/notes.txt")
    photos = read_foreign(f"swaps={tmp_path}")
    assert [photo.label for photo in photos] == ["fake"] * 3
    assert {photo.source for photo in photos} == {"swaps"}
    assert len({photo.group for photo in photos}) == 2  # frames of one clip share a group
    fill(tmp_path, "real/clip1__clip1.jpg")
    labelled = read_foreign(f"swaps={tmp_path}")
    assert sorted(photo.label for photo in labelled) == ["fake"] * 3 + ["real"]
    assert len({photo.group for photo in labelled}) == 2


def test_ordinary_photos_are_all_below_a_folder(tmp_path):
    fill(tmp_path, "a.jpg", "deeper/b.webp", "real/c.png", ".hidden/d.jpg", ".e.jpg", "notes.txt")
    photos, traits = read_bona_fide(f"mine={tmp_path}")
    assert [photo.path.name for photo in photos] == ["a.jpg", "b.webp", "c.png"]
    assert {photo.label for photo in photos} == {"real"}
    assert len({photo.group for photo in photos}) == 3
    assert traits == {}


def test_groups_and_what_is_told_of_people_come_from_a_table(tmp_path):
    fill(tmp_path, "a.jpg", "b.jpg", "c/d.jpg", "e.jpg")
    (tmp_path / "groups.csv").write_text(
        "file,group,sex,skin\na.jpg,anna,female,\nc/d.jpg,anna,female,II\nb.jpg,,male,I\n"
    )
    photos, traits = read_bona_fide(f"mine={tmp_path}")
    groups = dict(
        zip([photo.path.name for photo in photos], [photo.group for photo in photos], strict=True)
    )
    assert groups["a.jpg"] == groups["d.jpg"]
    assert len(set(groups.values())) == 3
    order = [photo.path.name for photo in photos]
    assert dict(zip(order, traits["sex"], strict=True)) == {
        "a.jpg": "female", "b.jpg": "male", "d.jpg": "female", "e.jpg": "",
    }  # fmt: skip
    assert traits["skin"][order.index("d.jpg")] == "II"


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ((), "mine", "names no folder: give NAME=FOLDER"),
        ((), "mine={}/missing", "missing is not a folder"),
        (("notes.txt",), "mine={}", "no photos in"),
    ],
)
def test_bad_folders_are_a_sentence(tmp_path, names, given, message):
    fill(tmp_path, *names)
    for read in (read_foreign, read_bona_fide):
        with pytest.raises(UserError, match=message):
            read(given.format(tmp_path))


def test_foreign_photos_want_labels_and_endings(tmp_path):
    fill(tmp_path, "a.jpg")
    with pytest.raises(UserError, match="put fakes into a folder `fake`"):
        read_foreign(f"mine={tmp_path}")
    fill(tmp_path / "other", "fake/a.txt")
    with pytest.raises(UserError, match="none with a photo's ending"):
        read_foreign(f"mine={tmp_path / 'other'}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,group\na.jpg,x\n", "no column `file`"),
        ("file,group\nb.jpg,x\n", "names 1 photos that are not there, the first b.jpg"),
        ("file,group\na.jpg,x,y\n", "more values than columns"),
    ],
)
def test_bad_tables_are_a_sentence(tmp_path, table, message):
    fill(tmp_path, "a.jpg")
    (tmp_path / "groups.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        read_bona_fide(f"mine={tmp_path}")


def test_photos_that_the_model_was_made_with_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO")
    fakes = fill(tmp_path / "f", "fake/x.jpg")
    reals = fill(tmp_path / "r", "a.jpg", "b.jpg")
    (reals / "groups.csv").write_text("file,age\nb.jpg,40\n")
    used = [photo("a", source="mine"), photo("x", source="mine")]
    elsewhere = read_elsewhere([f"swaps={fakes}"], [f"mine={reals}"], used)
    assert [photo.path.name for photo in elsewhere.photos] == ["x.jpg", "b.jpg"]
    assert elsewhere.tiers == [UNSEEN, ORDINARY]
    assert elsewhere.traits == {"age": ["", "40"]}
    assert "left out 1 that the model was made with" in caplog.text
    with pytest.raises(UserError, match="made with all of these photos"):
        read_elsewhere([f"mine={fakes}"], [], used)


def test_photos_that_tell_whom_they_show_are_left_out_like_others(tmp_path):
    reals = fill(tmp_path, "26_1_3_20170116.jpg", "30_0_0_20170117.jpg")
    used = [photo("26_1_3_20170116", source="utk")]
    elsewhere = read_elsewhere([], [f"utk={reals}"], used)
    assert elsewhere.tiers == [ORDINARY]
    assert elsewhere.traits["apparent sex"] == ["male"]
