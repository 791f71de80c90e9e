import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from space.clips import VideoError, open_clip
from space.frames import upright
from tests.clips import RATE, write_clip

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 160, 120
FAST = {"preset": "ultrafast", "crf": "10"}
INTERLACED = FAST | {"x264-params": "interlaced=1"}
HASH = """
import sys
from tests.space.test_clips import hash_of
print(hash_of(sys.argv[1]))
"""


def bar(number: int) -> np.ndarray:
    """Return a grey frame with a white bar that moves to the right by 4 px a frame."""
    frame = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    frame[:, 20 + 4 * number : 50 + 4 * number] = 230
    return frame


def woven(number: int) -> np.ndarray:
    """Return a frame whose odd lines show the bar half a step later than the even ones."""
    frame = bar(number)
    frame[1::2] = np.roll(frame, 2, axis=1)[1::2]
    return frame


def read_clip(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield time and RGB pixels of each frame that can be converted."""
    with open_clip(path) as clip:
        for frame in clip.frames():
            pixels = frame.picture()
            if pixels is not None:
                yield frame.seconds, pixels


def hash_of(path: str | Path) -> str:
    pixels = hashlib.sha256()
    for _, picture in read_clip(path):
        pixels.update(picture.tobytes())
    return pixels.hexdigest()


def hash_in_new_process(path: Path, filler: int) -> str:
    """Return the hash of a clip, decoded where uninitialised memory holds `filler`."""
    environment = {**os.environ, "MALLOC_PERTURB_": str(filler), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HASH, str(path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def combs(picture: np.ndarray) -> float:
    """Return the mean difference between a line and the average of the lines next to it."""
    grey = picture[..., 1].astype(float)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean())


def test_interlaced_frames_are_deinterlaced(tmp_path):
    frames = [woven(number) for number in range(12)]
    path = write_clip(tmp_path / "a.mp4", frames, codec="libx264", options=INTERLACED)
    with av.open(str(path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    pictures = list(read_clip(path))
    assert [seconds for seconds, _ in pictures] == pytest.approx([n / RATE for n in range(12)])
    assert combs(frames[5]) > 3
    assert all(combs(picture) < 1 for _, picture in pictures[1:-1])
    for number, (_, picture) in enumerate(pictures):  # at the time of their first field
        assert np.abs(picture[::2].astype(int) - bar(number)[::2]).mean() < 6


@pytest.mark.parametrize("options", [INTERLACED, FAST])
def test_memory_of_another_clip_is_never_handed_out(tmp_path, options):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (10, HEIGHT, WIDTH, 3), np.uint8)
    another = write_clip(tmp_path / "another.mp4", noise)
    frames = [woven(number) for number in range(6)]
    path = write_clip(tmp_path / "a.mp4", frames, codec="libx264", options=options)
    with path.open("r+b") as file:  # some of it is damaged
        file.seek(path.stat().st_size // 2)
        file.write(rng.bytes(40))
    hash_of(another)
    here = hash_of(path)
    assert here == hash_in_new_process(path, 85) == hash_in_new_process(path, 170)


@pytest.mark.parametrize(("stretch", "size"), [(2, (320, 120)), (Fraction(1, 2), (160, 240))])
def test_square_pixels(tmp_path, stretch, size):
    ratio = Fraction(stretch)
    path = write_clip(tmp_path / "a.mp4", [bar(0)] * 3, sample_aspect_ratio=ratio)
    (_, picture), *_ = read_clip(path)
    assert picture.shape[1::-1] == size
    expected = Image.fromarray(bar(0)).resize(size, Image.Resampling.BICUBIC)
    assert np.abs(picture - np.asarray(expected, int)).mean() < 5


@pytest.mark.parametrize(
    ("rotation", "shown"),
    [
        ((90,), lambda frame: np.rot90(frame)),
        ((-90,), lambda frame: np.rot90(frame, -1)),
        ((180,), lambda frame: np.rot90(frame, 2)),
        ((0, True), lambda frame: frame[:, ::-1]),
        ((0, False, True), lambda frame: frame[::-1]),
    ],
)
def test_turned_and_mirrored(tmp_path, rotation, shown):
    frame = bar(0)
    frame[: HEIGHT // 3] = 0
    path = write_clip(tmp_path / "a.mp4", [frame] * 3, rotation=rotation)
    (_, picture), *_ = read_clip(path)
    expected = shown(frame).astype(int)
    assert picture.shape == expected.shape
    assert np.abs(picture - expected).mean() < 5


def test_turned_and_mirrored_at_once():
    picture = np.arange(2 * 3 * 3).reshape(2, 3, 3)
    transposed = upright(picture, np.array([[0, 1], [1, 0]]))
    assert np.array_equal(transposed, picture.transpose(1, 0, 2))


def test_ten_bits_and_high_dynamic_range(tmp_path):
    tags = {"color_trc": 16, "color_primaries": 9, "colorspace": 9}  # PQ, BT.2020
    frames = [bar(number) for number in range(3)]
    plain, tagged = (
        write_clip(
            tmp_path / f"{len(settings)}.mp4",
            frames,
            codec="libx264",
            options=FAST,
            pix_fmt="yuv420p10le",
            **settings,
        )
        for settings in ({}, tags)
    )
    for path in (plain, tagged):
        pictures = [picture for _, picture in read_clip(path)]
        assert len(pictures) == 3
        assert all(picture.dtype == np.uint8 for picture in pictures)
        assert np.abs(pictures[2].astype(int) - bar(2)).mean() < 5


def pictures_of(path: Path, apart: float | None = None) -> dict[float, np.ndarray]:
    """Return a clip's pictures by their time: all, or those that looks `apart` s apart need."""
    uses = ()
    if apart:
        with open_clip(path) as clip:
            uses = clip.outline(lambda seconds: None).uses(apart, stays=0.5)
    with open_clip(path) as clip:
        return {round(frame.seconds, 2): frame.picture() for frame in clip.frames(uses)}


def assert_same(some: dict[float, np.ndarray], every: dict[float, np.ndarray]) -> None:
    assert all(np.array_equal(picture, every[seconds]) for seconds, picture in some.items())


def test_key_frames_alone(tmp_path):
    frames = [bar(number % 20) for number in range(100)]
    path = write_clip(tmp_path / "a.mp4", frames, gop_size=10)
    every, some = pictures_of(path), pictures_of(path, apart=0.5)
    assert len(every) == 100
    assert list(some)[:9] == pytest.approx([0.4 * number for number in range(9)])
    assert len(some) < 20
    assert_same(some, every)
    assert len(pictures_of(path, apart=0.3)) == 100  # the key frames are 0.4 s apart


def test_key_frames_that_need_others_are_not_decoded_alone(tmp_path):
    options = {"preset": "veryfast", "x264-params": "keyint=10:intra-refresh=1"}
    frames = [bar(number % 20) for number in range(50)]
    path = write_clip(tmp_path / "a.mp4", frames, codec="libx264", options=options)
    assert_same(pictures_of(path, apart=1.0), pictures_of(path))


@pytest.mark.parametrize("open_gop", [0, 1])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_that_nobody_looks_at_are_left_out(tmp_path, codec, open_gop):
    parameters = f"keyint=40:min-keyint=40:scenecut=0:bframes=3:b-adapt=0:open-gop={open_gop}"
    options = {"preset": "superfast", f"{codec.removeprefix('lib')}-params": parameters}
    frames = [bar(number % 25) for number in range(120)]
    path = write_clip(tmp_path / "a.mp4", frames, codec=codec, options=options)
    every, some = pictures_of(path), pictures_of(path, apart=0.96)
    assert len(every) == 120
    assert len(some) < 70
    assert {0.0, 0.96, 1.92, 2.88, 3.84} <= {*some}
    assert max(some) == max(every)
    assert_same(some, every)


def test_nothing_else_on_this_machine_is_opened(tmp_path):
    secret = write_clip(tmp_path / "secret.mp4", [bar(0)] * 3)
    for content in (f"ffconcat version 1.0\nfile {secret}\n", f"#EXTM3U\n{secret}\n"):
        path = tmp_path / "playlist.mp4"
        for head in (b"", b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI "):
            path.write_bytes(head + content.encode())
            with pytest.raises(VideoError):
                list(read_clip(path))
    for address in (f"file:{secret}", f"concat:{secret}", "http://localhost/a.mp4"):
        with pytest.raises(VideoError, match="check its path"):
            list(read_clip(address))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(VideoError, match="no file at this path"):
            list(read_clip(path))


def test_names_may_hold_anything(tmp_path):
    plain = write_clip(tmp_path / "a.mp4", [bar(0)] * 3)
    for name in ("a:b|c?.mp4", os.fsdecode(b"clip_\xe9.mp4"), "%03d.mp4", "-i.mp4"):
        path = plain.rename(tmp_path / name)
        assert len(list(read_clip(path))) == 3
        plain = path
