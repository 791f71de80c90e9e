import numpy as np
import pytest

from space.photos import model_input, open_photo
from tests.drawing import draw_face
from training.fit import degrade


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.asarray(draw_face(3, 128))


def error(photo: np.ndarray, changed: np.ndarray) -> float:
    return float(np.square(changed.astype(float) - photo).mean())


def detail(photo: np.ndarray) -> float:
    """Return how much neighbouring pixels differ."""
    grey = photo.astype(float).mean(axis=-1)
    return float(np.abs(np.diff(grey)).mean() + np.abs(np.diff(grey, axis=0)).mean())


def eye_distance(photo: np.ndarray) -> float:
    """Return how far apart the two green eyes are, as a share of what the model sees."""
    red, green, blue = np.moveaxis(model_input(open_photo(photo), 224), -1, 0)
    columns = np.nonzero(green - np.maximum(red, blue) > 60)[1]
    left, right = columns[columns < 112], columns[columns >= 112]
    return float(right.mean() - left.mean()) / 224


CHANGES = {
    "jpeg": lambda photo: degrade.jpeg(photo, 50),
    "shrink": lambda photo: degrade.shrink(photo, 60),
    "blur": lambda photo: degrade.blur(photo, 1),
    "noise": lambda photo: degrade.noise(photo, 5, np.random.default_rng(0)),
    "brighten": lambda photo: degrade.brighten(photo, 1.3),
    "colour_cast": lambda photo: degrade.colour_cast(photo, 0.1),
    "reencode": lambda photo: degrade.reencode(photo, np.random.default_rng(0)),
    "screenshot": degrade.screenshot,
    "random": lambda photo: degrade.degrade(photo, np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_photos_keep_size_and_type_and_the_original_stays(name):
    photo = np.random.default_rng(0).integers(0, 256, (90, 121, 3), dtype=np.uint8)
    before = photo.copy()
    changed = CHANGES[name](photo)
    assert (changed.shape, changed.dtype) == (photo.shape, np.uint8)
    assert not np.array_equal(changed, photo)
    assert np.array_equal(photo, before)


def test_jpeg_loses_more_the_lower_its_quality(photo):
    errors = [error(photo, degrade.jpeg(photo, quality)) for quality in (95, 75, 50, 30)]
    assert errors == sorted(errors)
    assert 0 < errors[0] < errors[-1] / 2


def block_edge(photo: np.ndarray) -> int:
    """Return which of every eight columns begins a JPEG block."""
    steps = np.abs(np.diff(photo.astype(float).mean(axis=-1), n=3)).mean(axis=0)
    steps = np.append(steps, np.full(-len(steps) % 8, np.nan))
    return int(np.nanmean(steps.reshape(-1, 8), axis=0).argmax())


def test_another_history_shifts_the_blocks_of_jpeg_or_resamples():
    ramp = np.linspace(40, 200, 160)[None, :, None] + np.linspace(0, 40, 160)[:, None, None]
    grain = np.random.default_rng(0).normal(0, 2, (160, 160, 3))
    photo = np.rint(ramp + grain).astype(np.uint8)
    assert len({block_edge(degrade.jpeg(photo, quality)) for quality in (60, 70, 80)}) == 1
    changed = [degrade.reencode(photo, np.random.default_rng(seed)) for seed in range(40)]
    assert len({picture.tobytes() for picture in changed}) == 40
    assert len({block_edge(picture) for picture in changed}) >= 6
    kept = [detail(picture) / detail(photo) for picture in changed]
    assert min(kept) < 0.6  # some come out softer, but none is another picture
    assert max(error(photo, picture) for picture in changed) < 40


def test_jpeg_keeps_red_and_blue_apart():
    red = np.full((32, 32, 3), (200, 20, 20), np.uint8)
    assert np.abs(degrade.jpeg(red, 95).astype(int) - red).max() < 6


def test_shrinking_loses_more_detail_the_smaller(photo):
    details = [detail(degrade.shrink(photo, side)) for side in (32, 64, 96)]
    assert details == sorted(details)
    assert details[-1] < detail(photo)


def test_shrinking_to_more_than_there_is_changes_nothing(photo):
    assert np.array_equal(degrade.shrink(photo, 128), photo)


def test_blur_loses_more_detail_the_stronger(photo):
    assert detail(degrade.blur(photo, 2)) < detail(degrade.blur(photo, 1)) < detail(photo)


def test_noise_has_its_strength_and_follows_its_seed():
    grey = np.full((100, 100, 3), 128, np.uint8)
    noisy, same, different = (
        degrade.noise(grey, 10, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (noisy.astype(int) - 128).std() == pytest.approx(10, rel=0.05)
    assert np.array_equal(noisy, same)
    assert not np.array_equal(noisy, different)


def test_brightening_clips_instead_of_wrapping_around():
    values = np.array([[[0, 100, 250]]], np.uint8)
    assert degrade.brighten(values, 1.4).tolist() == [[[0, 140, 255]]]
    assert degrade.brighten(values, 0.6).tolist() == [[[0, 60, 150]]]


def test_warm_light_is_red_and_cold_light_is_blue():
    grey = np.full((2, 2, 3), 100, np.uint8)
    assert degrade.colour_cast(grey, 0.15)[0, 0].tolist() == [115, 100, 85]
    assert degrade.colour_cast(grey, -0.15)[0, 0].tolist() == [85, 100, 115]


def test_screenshot_moves_nothing_but_is_no_plain_jpeg(photo):
    changed = degrade.screenshot(photo)
    aligned = error(photo, changed)
    assert aligned > 2 * error(photo, degrade.jpeg(photo, 80))
    for shift in (-2, 2):
        assert error(np.roll(photo, shift, axis=1), changed) > aligned


def test_crops_enlarge_and_shrink_the_face():
    face = np.asarray(draw_face(3, 256, tinted=True))
    before = eye_distance(face)
    tighter, looser = degrade.crop_tighter(face, 0.1), degrade.crop_looser(face, 0.1)
    assert eye_distance(tighter) == pytest.approx(before / 0.9, rel=0.02)
    assert eye_distance(looser) == pytest.approx(before / 1.1, rel=0.02)


def test_looser_crop_holds_the_photo_with_mirrored_edges(photo):
    looser = degrade.crop_looser(photo, 0.25)
    assert looser.shape == (160, 160, 3)
    assert np.array_equal(looser[16:-16, 16:-16], photo)
    assert np.array_equal(looser[16:-16, 15], photo[:, 1])


def test_random_changes_follow_the_generator(photo):
    first, same, different = (
        degrade.degrade(photo, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, different)


def test_photos_of_any_size_are_degraded_alike(photo, monkeypatch):
    qualities = []
    monkeypatch.setattr(
        degrade, "jpeg", lambda photo, quality: qualities.append(int(quality)) or photo
    )
    for seed in range(40):
        generators = [np.random.default_rng(seed) for _ in range(2)]
        degrade.degrade(photo, generators[0])
        degrade.degrade(photo[:-20, :-20], generators[1])
        assert generators[0].random() == generators[1].random()
    assert len(qualities) > 10
    assert qualities[::2] == qualities[1::2]
