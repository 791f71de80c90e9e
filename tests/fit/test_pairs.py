from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.drawing import FACE_BOX, FACE_LANDMARKS, draw_face
from tests.fit.test_variation import ALL, AS_IT_IS
from training.data.rows import PARTS, Photo
from training.errors import UserError
from training.fit import pairs as module
from training.fit import variation as framing
from training.fit.pairs import PairBatches, pair_batches
from training.fit.variation import UNKNOWN

SIDE, SIZE = 96, 128
FRONTAL = np.array(FACE_LANDMARKS, np.float32) * SIDE
FRAMED = replace(AS_IT_IS, rotation=15.0, shift=0.1, flip=True)
OPTIONS = {"batch_size": 4, "input_size": SIZE, "epoch_photos": 0, "composites": 0.0, "seed": 0}


@pytest.fixture
def make_photo(tmp_path):
    """Write photos whose blue is one flat value, which tells them apart however they are framed: 20
    in the first, 29 in the next, and so on."""
    count = 0

    def make(
        label: str,
        source: str = "own",
        face: np.ndarray | None = FRONTAL,
        group: str = "",
        **parts: float,
    ) -> Photo:
        nonlocal count
        pixels = np.array(draw_face(count, SIDE))
        pixels[..., 2] = 20 + 9 * count
        path = tmp_path / f"{count}.png"
        count += 1
        Image.fromarray(pixels).save(path)
        columns = {part: parts.get(part) for part in PARTS}
        box = [] if face is None else [SIDE * share for share in FACE_BOX]
        points = [] if face is None else list(np.ravel(face))
        return Photo(
            file_name=path.name,
            label=label,
            source=source,
            difficulty="",
            **columns,
            group=group or path.stem,
            face=" ".join(f"{value:.1f}" for value in [*box, *points]),
            path=path,
        )

    return make


def make_batches(photos, **options) -> PairBatches:
    defaults = {"originals": {}, "edits": {}, "variation": AS_IT_IS, "masks": True}
    return PairBatches(photos, **{**OPTIONS, **defaults, **options})


def code(photo: np.ndarray) -> int:
    """Return which photo this is, 0 for the first that was made."""
    return round((float(np.median(photo[..., 2])) - 20) / 9)


def draw(batches: PairBatches, n_batches: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the photos and masks of some batches."""
    drawn = [batches[number] for number in range(n_batches)]
    return (
        np.concatenate([photos for photos, _ in drawn]),
        np.concatenate([targets["evidence"][..., 0] for _, targets in drawn]),
    )


@pytest.fixture
def six(make_photo) -> list[Photo]:
    """Three real photos, then three fakes."""
    return [make_photo("real") for _ in range(3)] + [make_photo("fake") for _ in range(3)]


@pytest.fixture
def marked(monkeypatch):
    """Replace composites with their base and a white square, off centre."""

    def compose(base, *rest):
        composite, share = base.copy(), np.zeros(base.shape[:2], np.float32)
        square = np.s_[SIDE // 3 : SIDE // 2, SIDE // 3 : SIDE // 2]
        composite[square], share[square] = 255, 1
        return composite, share

    monkeypatch.setattr(module, "compose", compose)


def test_real_photos_and_fakes_alternate(six):
    batches = make_batches(six, batch_size=6)
    photos, targets = batches[0]
    assert (photos.shape, photos.dtype) == ((6, SIZE, SIZE, 3), np.float32)
    assert 0 <= photos.min() < 100 < photos.max() <= 255
    assert targets["evidence"].shape == (6, SIZE // 16, SIZE // 16, 1)
    assert targets["evidence"].dtype == np.float32
    np.testing.assert_array_equal(targets["probabilities"], [[1, 0], [0, 1]] * 3)
    seen = [code(photo) for photo in draw(batches, 20)[0]]
    assert set(seen[0::2]) == {0, 1, 2}
    assert set(seen[1::2]) == {3, 4, 5}


def test_masks_come_where_they_are_asked_for(six):
    _, targets = make_batches(six, masks=False)[0]
    assert set(targets) == {"probabilities"}


@pytest.mark.parametrize(
    ("epoch_photos", "n_batches"), [(0, 1), (20, 5), (23, 5), (1, 1)], ids=lambda value: str(value)
)
def test_an_epoch_is_as_long_as_asked(six, epoch_photos, n_batches):
    assert len(make_batches(six, epoch_photos=epoch_photos)) == n_batches


def test_a_composite_and_its_base_are_varied_alike(six, monkeypatch):
    untouched = np.zeros((SIDE, SIDE), np.float32)
    monkeypatch.setattr(module, "compose", lambda base, *rest: (base.copy(), untouched))
    photos, masks = draw(make_batches(six, composites=1.0, variation=ALL), 8)
    np.testing.assert_array_equal(photos[0::2], photos[1::2])
    assert not masks.any()
    assert len({photo.tobytes() for photo in photos}) == len(photos) / 2  # each pair in its own way


def test_composites_are_made_of_the_real_photos_beside_them(six):
    photos, masks = draw(make_batches(six, composites=1.0, variation=FRAMED), 6)
    assert {code(photo) for photo in photos[0::2]} == {0, 1, 2}
    assert not masks[0::2].any()
    for real, fake, mask in zip(photos[0::2], photos[1::2], masks[1::2], strict=True):
        change = np.abs(real - fake).max(axis=2)
        cells = change.reshape(SIZE // 16, 16, SIZE // 16, 16).max(axis=(1, 3))
        assert mask.max() > 0.3
        assert cells[mask > 0.3].min() > 0
        around = cv2.dilate(mask, np.ones((3, 3)))  # resizing mixes neighbours
        # JPEG carries some change over the border of its blocks.
        assert cells[around == 0].max(initial=0) < 30
        assert cells[around == 0].mean() < 0.1 * cells[mask > 0.3].mean()


@pytest.mark.usefixtures("marked")
def test_masks_move_with_the_photos(six):
    photos, masks = draw(make_batches(six, composites=1.0, variation=FRAMED), 10)
    middles = set()
    for fake, mask in zip(photos[1::2], masks[1::2], strict=True):
        white = fake.min(axis=2) / 255 > 0.9  # nothing else has so much blue
        cells = white.reshape(SIZE // 16, 16, SIZE // 16, 16).mean(axis=(1, 3))
        assert cells.max() > 0.3
        np.testing.assert_allclose(mask, cells, atol=0.25)
        assert np.corrcoef(mask.ravel(), cells.ravel())[0, 1] > 0.98
        middles.add(int(np.nonzero(white)[1].mean()) // 16)
    assert {column >= SIZE // 32 for column in middles} == {True, False}  # some are mirrored


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_the_fakes_is_composed(six, share, marked):
    _, masks = draw(make_batches(six, composites=share, batch_size=40), 10)
    fakes = masks[1::2]
    composed = np.mean([mask.max() > 0 for mask in fakes])  # the data set's own fakes are unknown
    assert composed == pytest.approx(share, abs=0.1)


@pytest.mark.usefixtures("marked")
def test_photos_without_landmarks_are_no_bases(make_photo):
    real = [make_photo("real", face=None), make_photo("real"), make_photo("real", face=())]
    photos, _ = draw(make_batches([*real, make_photo("fake")], composites=1.0), 6)
    assert {code(photo) for photo in photos} == {1}
    none = [make_photo("real", face=None), make_photo("fake")]
    photos, _ = draw(make_batches(none, composites=1.0), 3)
    assert [code(photo) for photo in photos[:4]] == [4, 5, 4, 5]


def test_donors_are_real_photos_of_the_source_with_a_like_pose(make_photo, monkeypatch):
    aside = FRONTAL + np.float32([[6, 0], [-4, 0], [12, 0], [6, 0], [0, 0]])
    photos = [make_photo("real", face=face) for face in (FRONTAL, FRONTAL + 2, aside, aside)]
    photos += [make_photo("fake"), make_photo("real", "other"), make_photo("fake", "other")]
    seen = []

    def compose(base, base_landmarks, donor, donor_landmarks, rng):
        seen.append((code(base), code(donor)))
        pose = {0: FRONTAL, 1: FRONTAL + 2, 2: aside, 3: aside, 5: FRONTAL}
        np.testing.assert_allclose(base_landmarks, pose[code(base)], atol=0.1)
        np.testing.assert_allclose(donor_landmarks, pose[code(donor)], atol=0.1)
        return base.copy(), np.zeros(base.shape[:2], np.float32)

    monkeypatch.setattr(module, "compose", compose)
    monkeypatch.setattr(module, "DONORS", 60)  # so that every photo is among the donors
    batches = make_batches(photos, composites=1.0, batch_size=20)
    monkeypatch.setattr(module, "SELF_BLENDED", 0.0)
    draw(batches, 6)
    alike = [{0, 1}, {2, 3}, {5}]
    assert all(any({*pair} <= poses for poses in alike) for pair in seen)
    assert {base for base, _ in seen} == {0, 1, 2, 3, 5}
    monkeypatch.setattr(module, "SELF_BLENDED", 1.0)
    seen.clear()
    draw(batches, 2)
    assert seen
    assert all(base == donor for base, donor in seen)


def test_both_of_a_pair_are_shown_by_their_parts_or_neither(make_photo, monkeypatch):
    shown = []

    def vary(photo, mask, face, variation, size, rng):
        shown.append(rng.random() < variation.parts)
        return np.zeros((size, size, 3), np.float32), np.zeros((size // 16,) * 2, np.float32)

    monkeypatch.setattr(module, "vary", vary)
    closer = replace(AS_IT_IS, parts=0.5)
    with_landmarks = [make_photo("real"), make_photo("fake")]
    draw(make_batches(with_landmarks, variation=closer), 10)
    assert shown[0::2] == shown[1::2]
    assert 3 < sum(shown[0::2]) < 17
    shown.clear()
    draw(make_batches([make_photo("real", face=None), with_landmarks[1]], variation=closer), 5)
    assert not any(shown)


def test_a_seed_draws_the_same(six):
    options = {"variation": ALL, "composites": 0.5, "epoch_photos": 20}
    first, same = (make_batches(six, **options) for _ in range(2))
    for number in (3, 0):
        for left, right in zip(first[number], same[number], strict=True):
            if isinstance(left, dict):
                left, right = left["evidence"], right["evidence"]
            np.testing.assert_array_equal(left, right)
    assert (first[0][0] != first[1][0]).any()
    assert (first[0][0] != make_batches(six, **options | {"seed": 1})[0][0]).any()


def test_every_epoch_draws_others_and_goes_on_after_an_interruption(six):
    options = {"variation": ALL, "composites": 0.5}
    batches = make_batches(six, **options)
    epochs = []
    for _ in range(3):
        epochs.append(batches[0][0])
        batches.epoch += 1
    assert (epochs[0] != epochs[1]).any()
    assert (epochs[1] != epochs[2]).any()
    resumed = make_batches(six, first_epoch=1, **options)
    np.testing.assert_array_equal(resumed[0][0], epochs[1])
    resumed.epoch += 1
    np.testing.assert_array_equal(resumed[0][0], epochs[2])


def masks_of(photos, n_batches: int = 2, **options) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of the real photos and of the fakes."""
    _, masks = draw(make_batches(photos, **options), n_batches)
    return masks[0::2], masks[1::2]


@pytest.mark.parametrize("face", [FRONTAL, None], ids=["face", "no face"])
def test_what_nobody_knows_is_unknown_everywhere(make_photo, face):
    real, fake = masks_of([make_photo("real", face=face), make_photo("fake", face=face)])
    assert not real.any()
    assert (fake == UNKNOWN).all()


def test_fakes_whose_parts_are_known_need_landmarks(make_photo):
    _, fake = masks_of([make_photo("real"), make_photo("fake", face=None, mouth=1.0, nose=0.0)])
    assert (fake == UNKNOWN).all()


def test_generated_photos_are_changed_everywhere(make_photo):
    for face in (FRONTAL, None):
        photos = [make_photo(label, "stylegan_ffhq", face) for label in ("real", "fake")]
        real, fake = masks_of(photos, variation=ALL)
        assert not real.any()
        np.testing.assert_allclose(fake, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "parts"), [("dfdc", {}), ("own", dict.fromkeys(PARTS, 1.0))], ids=["dfdc", "parts"]
)
def test_swapped_faces_are_changed_in_one_piece(make_photo, source, parts):
    real, fake = masks_of([make_photo("real", source), make_photo("fake", source, **parts)])
    assert not real.any()
    assert set(np.unique(np.rint(fake))) == {0, 1}
    middle = SIZE // 32
    assert (fake[:, middle - 1 : middle + 1, middle - 1 : middle + 1] > 0.99).all()
    assert not fake[:, [0, -1]][:, :, [0, -1]].any()


@pytest.mark.parametrize("part", PARTS)
def test_replaced_parts_are_where_they_lie(make_photo, monkeypatch, part):
    monkeypatch.setattr(framing, "MARGINS", (1.33, 1.33))
    columns = dict.fromkeys(PARTS, 0.0) | {part: 1.0}
    _, fake = masks_of([make_photo("real"), make_photo("fake", **columns)])
    middle = (SIZE / 16 - 1) / 2
    down, across = (
        np.average(np.arange(SIZE / 16) - middle, weights=fake[0].sum(axis=axis)) for axis in (1, 0)
    )
    expected = {"left_eye": (-1.1, 0), "right_eye": (1.1, 0), "nose": (0, 0.7), "mouth": (0, 2.3)}
    np.testing.assert_allclose((across, down), expected[part], atol=0.6)
    assert 0.01 < fake.mean() < 0.25
    assert fake.max() > 0.5


def test_known_edits_come_before_all_else(make_photo, monkeypatch):
    monkeypatch.setattr(framing, "MARGINS", (9.0, 9.0))  # all of the photo
    edit = np.zeros((SIDE, SIDE), bool)
    edit[: SIDE // 2, : SIDE // 4] = True
    expected = np.zeros((SIZE // 16, SIZE // 16))
    expected[: SIZE // 32, : SIZE // 64] = 1
    for source, parts in (("own", {}), ("stylegan_ffhq", {}), ("own", {"mouth": 1.0})):
        photos = [make_photo("real", source), make_photo("fake", source, **parts)]
        real, fake = masks_of(photos, edits={1: edit})
        assert not real.any()
        np.testing.assert_allclose(fake, np.broadcast_to(expected, fake.shape), atol=1e-6)


def beside(batches: PairBatches, n_batches: int) -> dict[int, list[int]]:
    """Return the real photos that each fake stood beside, by fake."""
    codes = [code(photo) for photo in draw(batches, n_batches)[0]]
    reals_by_fake: dict[int, list[int]] = {}
    for real, fake in zip(codes[0::2], codes[1::2], strict=True):
        reals_by_fake.setdefault(fake, []).append(real)
    return reals_by_fake


@pytest.fixture
def at_home(monkeypatch):
    """Fakes stand beside real photos of their own source wherever it has some."""
    monkeypatch.setattr(module, "FOREIGN", 0.0)


def test_fakes_stand_beside_their_originals_half_of_the_time(make_photo):
    photos = [make_photo("real") for _ in range(10)] + [make_photo("fake"), make_photo("fake")]
    partners = beside(make_batches(photos, originals={10: 7}, batch_size=40, input_size=32), 15)
    assert np.mean(np.array(partners[10]) == 7) == pytest.approx(0.55, abs=0.13)
    assert np.mean(np.array(partners[11]) == 7) == pytest.approx(0.1, abs=0.09)


@pytest.mark.usefixtures("at_home")
def test_fakes_stand_beside_real_photos_of_their_group_half_of_the_time(make_photo):
    photos = [make_photo("real") for _ in range(8)] + [make_photo("real", group="her")] * 2
    photos += [make_photo("fake", group="her"), make_photo("fake")]
    partners = beside(make_batches(photos, batch_size=40, input_size=32), 15)
    her_real, her_fake, other_fake = (code_of(photo) for photo in photos[9:])
    # Half of the time by choice, and two times in ten of the rest by chance.
    assert np.mean(np.array(partners[her_fake]) == her_real) == pytest.approx(0.6, abs=0.13)
    assert np.mean(np.array(partners[other_fake]) == her_real) == pytest.approx(0.2, abs=0.11)


def code_of(photo: Photo) -> int:
    return int(photo.path.stem)


def test_a_group_of_another_source_is_none_of_its_own(make_photo):
    photos = [make_photo("real", "other", group="her"), make_photo("real", "own")]
    photos += [make_photo("fake", "own", group="her")]
    partners = np.array(beside(make_batches(photos, batch_size=40, input_size=32), 10)[2])
    assert np.mean(partners == 1) > 0.85  # all but those drawn from any source


@pytest.mark.usefixtures("at_home")
def test_sources_are_drawn_by_the_root_of_their_groups(make_photo):
    few = [make_photo("real", "few", group="one"), make_photo("fake", "few", group="one")]
    many = [make_photo(label, "many") for label in ("real", "fake")]
    many = [replace(photo, group=f"{n}") for n in range(16) for photo in many]
    batches = make_batches([*few * 30, *many], batch_size=40, input_size=32)
    partners = beside(batches, 25)
    assert {fake: set(reals) for fake, reals in partners.items()} == {1: {0}, 3: {2}}
    share = len(partners[1]) / (len(partners[1]) + len(partners[3]))
    assert share == pytest.approx(0.2, abs=0.06)  # 1 of 1 + 4, though it has more photos


def test_a_tenth_of_the_fakes_stands_beside_real_photos_of_any_source(make_photo):
    photos = [make_photo(label, "own") for label in ("real", "fake")]
    photos += [make_photo("real", name) for name in ("one", "two", "three")]
    partners = beside(make_batches(photos, batch_size=40, input_size=32), 25)[1]
    assert np.mean(np.array(partners) != 0) == pytest.approx(0.1 * 3 / (3 + 2**0.5), abs=0.04)
    assert set(partners) == {0, 2, 3, 4}


def test_fakes_without_real_photos_of_their_source_take_everyday_ones_first(make_photo):
    photos = [make_photo("fake", "t2i"), make_photo("real", "web")]
    photos += [make_photo("real", name) for name in ("one", "two", "three")]
    partners = np.array(beside(make_batches(photos, batch_size=40, input_size=32), 25)[0])
    assert np.mean(partners == 1) == pytest.approx(0.5 + 0.5 / 4, abs=0.09)
    assert set(partners.tolist()) == {1, 2, 3, 4}


def test_where_nothing_is_everyday_other_sources_do(make_photo):
    photos = [make_photo("fake", "t2i"), make_photo("real", "one"), make_photo("real", "two")]
    partners = np.array(beside(make_batches(photos, batch_size=40, input_size=32), 10)[0])
    assert np.mean(partners == 1) == pytest.approx(0.5, abs=0.15)


def test_a_latent_fake_stands_beside_the_photo_of_another_source_that_it_was_made_from(make_photo):
    photos = [make_photo("real", "web") for _ in range(6)] + [make_photo("fake", "latent")]
    partners = np.array(
        beside(make_batches(photos, originals={6: 2}, batch_size=40, input_size=32), 10)[6]
    )
    assert np.mean(partners == 2) == pytest.approx(0.5 + 0.5 / 6, abs=0.13)


def test_real_photos_of_sources_without_fakes_are_bases_of_composites(make_photo):
    photos = [make_photo("real", "web"), make_photo("fake", "t2i")]
    drawn, masks = draw(make_batches(photos, composites=1.0), 4)
    assert {code(photo) for photo in drawn[0::2]} == {0}
    assert (masks[1::2].max(axis=(1, 2)) > 0.1).all()


def test_photos_of_two_sources_get_another_history_half_of_the_time_each(make_photo, monkeypatch):
    grey = np.full((SIDE, SIDE, 3), 10, np.uint8)
    monkeypatch.setattr(module, "reencode", lambda photo, rng: grey)
    foreign = [make_photo("fake", "t2i"), make_photo("real", "web")]
    drawn, _ = draw(make_batches(foreign, batch_size=40, input_size=32), 10)
    changed = (drawn == 10).all(axis=(1, 2, 3)).reshape(-1, 2)  # real, fake
    assert changed.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.12)
    assert np.corrcoef(changed.T)[0, 1] == pytest.approx(0, abs=0.25)  # each by itself
    own = [make_photo(label, "own") for label in ("real", "fake")]
    drawn, _ = draw(make_batches(own, batch_size=40, input_size=32), 4)
    assert not (drawn == 10).all(axis=(1, 2, 3)).any()


def test_fakes_are_compared_with_their_originals_where_nothing_else_tells_the_change(
    six, make_photo, monkeypatch
):
    edit = np.zeros((SIDE, SIDE), bool)
    edit[:, : SIDE // 2] = True
    photos = [*six, make_photo("fake", "stylegan_ffhq"), make_photo("fake", "dfdc")]

    def known(given, pairs) -> tuple[dict, dict]:
        assert (given, pairs) == (photos, [(3, 2)])  # their source tells what the others changed
        return {3: edit}, {}

    monkeypatch.setattr(module, "pair_masks", known)
    monkeypatch.setattr(module, "ORIGINAL", 1.0)
    pairs = [(3, 2), (6, 0), (7, 1)]
    batches = pair_batches(photos, pairs, variation=AS_IT_IS, masks=True, **OPTIONS)
    drawn, masks = draw(batches, 40)
    codes = np.array([code(photo) for photo in drawn])
    for fake, real in pairs:
        assert set(codes[0::2][codes[1::2] == fake]) == {real}
    masks_by_fake = {fake: masks[1::2][codes[1::2] == fake] for fake in (3, 4, 6, 7)}
    assert (masks_by_fake[3].mean(axis=(1, 2)) > 0.3).all()
    assert (masks_by_fake[4] == UNKNOWN).all()
    np.testing.assert_allclose(masks_by_fake[6], 1, atol=1e-6)
    assert (masks_by_fake[7].max(axis=(1, 2)) > 0.9).all()


def test_what_gives_no_pairs_is_one_sentence(six, make_photo):
    with pytest.raises(UserError, match=r"^--batch-size 5 is odd: pairs need an even "):
        make_batches(six, batch_size=5)
    for label, missing in (("real", "fake"), ("fake", "real")):
        alone = [photo for photo in six if photo.label == label]
        message = f"^No source has {missing} training photos: pairs need both labels\\.$"
        with pytest.raises(UserError, match=message):
            make_batches([*alone, make_photo(label, "lonely")])
