import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.drawing import draw_face
from training.config import SPLITS
from training.data import splits as splits_module
from training.data.find import SourcePhoto
from training.data.rows import CERTAIN_INLIERS
from training.data.source_pairs import SourcePair
from training.data.splits import (
    assign_folds,
    assign_splits,
    named_pairs,
    pairs_by_source,
    read_given_splits,
    same_original,
    split_by_source,
)
from training.errors import UserError

STRATA = ["real"] * 160 + ["fakeeasy"] * 80 + ["fakehard"] * 80
ALONE = [str(number) for number in range(len(STRATA))]
GROUPS = [str(number % 130) for number in range(len(STRATA))]  # across labels as well


def test_shares_and_strata():
    splits = assign_splits(STRATA, ALONE, seed=7)
    for stratum in set(STRATA):
        members = Counter(
            split for split, name in zip(splits, STRATA, strict=True) if name == stratum
        )
        total = sum(members.values())
        assert members["train"] / total == pytest.approx(0.70, abs=0.02)
        assert members["validation"] / total == pytest.approx(0.15, abs=0.02)
        assert members["test"] / total == pytest.approx(0.15, abs=0.02)


def test_groups_stay_together():
    splits = assign_splits(STRATA, GROUPS, seed=7)
    assert len(set(zip(GROUPS, splits, strict=True))) == 130


def test_seed_decides():
    first, same, different = (assign_splits(STRATA, GROUPS, seed) for seed in (1, 1, 2))
    assert first == same != different


def test_a_rare_stratum_is_spread_without_an_error():
    splits = assign_splits([*STRATA, "fakemid"], [*ALONE, "rare"], seed=7)
    assert len(splits) == len(STRATA) + 1
    assert "" not in splits


def test_too_few_sources():
    with pytest.raises(UserError, match="40 photos of 4 people or scenes are too few"):
        assign_splits(["real", "fake"] * 20, ["a", "b", "c", "d"] * 10, seed=7)


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_each_photo_is_tested_in_one_fold_with_its_group(folds):
    assigned = np.array(assign_folds(STRATA, GROUPS, seed=7, folds=folds))
    assert assigned.shape == (folds, len(STRATA))
    assert ((assigned == "test").sum(axis=0) == 1).all()
    for splits in assigned:
        assert len(set(zip(GROUPS, splits, strict=True))) == 130
        assert np.mean(splits == "test") == pytest.approx(1 / folds, abs=0.03)
        assert np.mean(splits == "validation") == pytest.approx(0.15, abs=0.03)


def test_number_of_folds_is_checked():
    with pytest.raises(UserError, match="--folds 3 is not"):
        assign_folds(STRATA, ALONE, seed=7, folds=3)


def found(label: str, stem: str, source: str = "mine", folder: str = "") -> SourcePhoto:
    """Return a photo as `find_photos` would."""
    place = f"{label}/{stem}.jpg"
    original, separator, _ = stem.partition("__")
    return SourcePhoto(
        Path(folder) / place, label, source, False, original if separator else "", place=place
    )


def write_splits(folder: Path, *rows: str, columns: str = "source,file,split") -> Path:
    path = folder / "splits.csv"
    path.write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8-sig")  # as Excel does
    return path


def test_splits_are_read_by_source_and_place(tmp_path, caplog):
    photos = [
        found("real", "a"),
        found("fake", "a"),
        found("real", "a", "other"),
        found("real", "b"),
    ]
    rows = ("train,other,real/a.jpg,x", "test,mine,fake/a.jpg,x", "test,mine,real/a.jpg,x")
    path = write_splits(
        tmp_path, *rows, "train,absent,real/z.jpg,x", columns="split,source,file,note"
    )
    with caplog.at_level(logging.INFO):
        given = read_given_splits(path, photos)
    assert given == {photos[2]: "train", photos[1]: "test", photos[0]: "test"}
    assert "gives the split of 3 of 4 photos" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["mine,real/a.jpg,train", "mine,real/z.jpg,test", "mine,real/y.jpg,test"],
            r"names photos that are not there \(2, the first real/y\.jpg of mine\): give",
        ),
        (["mine,real/a.jpg,valid"], "has the split 'valid': give train, validation, test"),
        (["mine,real/a.jpg"], "has the split '': give train"),
        (
            ["mine,real/a.jpg,test", "mine,real/a.jpg,train"],
            r"puts real/a\.jpg of mine into test and train: give it one split",
        ),
    ],
    ids=["missing photos", "wrong split", "short line", "two splits"],
)
def test_a_wrong_line_of_the_splits_is_one_sentence(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        read_given_splits(write_splits(tmp_path, *rows), [found("real", "a")])


def test_a_file_that_is_no_list_of_splits_is_one_sentence(tmp_path):
    photos = [found("real", "a")]
    with pytest.raises(UserError, match=r"splits\.csv lacks the columns file, split: add them"):
        read_given_splits(write_splits(tmp_path, columns="source,name"), photos)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="lacks the columns file, source, split"):
        read_given_splits(tmp_path / "empty.csv", photos)
    draw_face(1).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match="lacks the columns"):
        read_given_splits(tmp_path / "photo.png", photos)
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=rf"^--splits {path} cannot be read \({reason}"):
            read_given_splits(path, photos)


def numbered(label: str, source: str, number: int) -> list[SourcePhoto]:
    return [found(label, f"{source}-{label}-{index}", source) for index in range(number)]


def deal(
    photos: list[SourcePhoto], given: dict | None = None, groups: list[str] | None = None
) -> dict[SourcePhoto, str]:
    groups = groups or [photo.path.stem for photo in photos]
    strata = [photo.label for photo in photos]
    splits = split_by_source(photos, strata, groups, given or {}, 7)
    return dict(zip(photos, splits, strict=True))


def test_sources_of_one_label_are_dealt_by_themselves_and_move_no_other():
    mine = numbered("real", "mine", 40) + numbered("fake", "mine", 40)
    generated = numbered("fake", "a-generated", 100)
    splits = deal(mine + generated)
    assert {photo: splits[photo] for photo in mine} == deal(mine)
    assert {photo: splits[photo] for photo in generated} == deal(generated)
    generated_splits = [splits[photo] for photo in generated]
    assert [generated_splits.count(split) for split in SPLITS] == [70, 15, 15]


def test_small_sources_and_those_of_few_groups_are_dealt_with_the_largest():
    mine = numbered("real", "mine", 40) + numbered("fake", "mine", 40)
    small, clips = numbered("real", "small", 5), numbered("real", "clips", 60)
    photos = mine + small + clips
    groups = [photo.path.stem for photo in mine + small] + [f"clip {n % 3}" for n in range(60)]
    splits = deal(photos, groups=groups)
    assert set(splits.values()) == set(SPLITS)
    assert len({(splits[photo], group) for photo, group in zip(photos, groups, strict=True)}) == 88


def test_what_was_given_a_split_stays_there_and_takes_its_group_along():
    mine = numbered("real", "mine", 40) + numbered("fake", "mine", 40)
    groups = [photo.path.stem for photo in mine]
    groups[41] = groups[42] = groups[0]
    given = {mine[0]: "test", mine[1]: "validation", mine[50]: "test"}
    splits = deal(mine, given, groups)
    assert {photo: splits[photo] for photo in given} == given
    assert splits[mine[41]] == splits[mine[42]] == "test"
    assert list(splits.values()).count("train") > 40  # the others are dealt
    whole = {photo: SPLITS[number % 3] for number, photo in enumerate(mine)}
    assert deal(mine, whole) == whole


def test_a_group_on_two_sides_is_one_sentence():
    mine = numbered("real", "mine", 2)
    with pytest.raises(
        UserError,
        match=r"mine real/mine-real-0\.jpg and mine real/mine-real-1\.jpg share a source, but "
        "--splits puts them into train and test: give both one split",
    ):
        deal(mine, {mine[0]: "train", mine[1]: "test"}, ["same", "same"])


def test_a_given_split_overrules_likely_pairs_but_no_certain_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    mine = numbered("real", "mine", 40) + numbered("fake", "mine", 40)
    given = {photo: SPLITS[number % 3] for number, photo in enumerate(mine)}
    strata, hashes = [photo.label for photo in mine], [photo.path.stem for photo in mine]

    def dealt(inliers: int) -> tuple:
        pairs = [SourcePair(0, 1, inliers, 0.3), SourcePair(0, 3, inliers, 0.3)]
        monkeypatch.setattr(splits_module, "pairs_by_source", lambda *_: pairs)
        return splits_module.deal(mine, strata, hashes, given, group_by="sources", seed=7)

    pairs, groups, splits = dealt(CERTAIN_INLIERS - 1)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 3)]
    assert groups[0] == groups[3] != groups[1]
    assert dict(zip(mine, splits, strict=True)) == given
    assert "1 of the pairs that may share a source photo" in caplog.text
    with pytest.raises(UserError, match="share a source, but"):
        dealt(CERTAIN_INLIERS)


def test_names_tell_which_photo_a_fake_was_made_from():
    photos = [
        found("fake", "web__g1__a", "latent"),
        found("fake", "web__b", "latent"),
        found("fake", "absent__c", "latent"),
        found("real", "g1__a", "web"),
        found("real", "b", "web"),
        found("real", "b", "other"),
        found("real", "v__v", "dfdc"),
        found("real", "v__w", "dfdc"),
        found("fake", "v__x", "dfdc"),
        found("fake", "plain", "dfdc"),
    ]
    pairs = named_pairs(photos)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 3), (1, 4), (6, 8)]
    assert all((pair.inliers, pair.extent) == (0, 1.0) for pair in pairs)


def test_photos_whose_names_begin_alike_belong_together_where_that_means_something():
    photos = [
        found("real", "v__v", "dfdc"),
        found("fake", "v__x", "dfdc"),
        found("fake", "v__y", "other"),  # of another source
        found("fake", "v__z", "dfdc"),
        found("fake", "dfdc__1", "latent"),
        found("fake", "dfdc__2", "latent"),
        found("real", "p__1", "web"),  # names of this source say nothing
        found("real", "p__2", "web"),
    ]
    pairs = same_original(photos)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (1, 3)]


def test_sources_that_share_no_photos_are_not_searched(monkeypatch):
    searched = []
    monkeypatch.setattr(
        "training.data.splits.find_source_pairs", lambda paths, _: searched.append(paths) or []
    )
    photos = numbered("fake", "t2i", 3) + numbered("real", "mine", 2)
    assert pairs_by_source(photos, ["hash"] * 5) == []
    assert searched == [[photo.path for photo in photos[3:]]]
