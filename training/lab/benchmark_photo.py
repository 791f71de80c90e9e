"""Time a photo from file bytes to verdict, step by step, as served and with Keras' `predict`.

With Keras instead of LiteRT there is no heatmap.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from space.crops import crop_face
from space.detector import Detector, load_bundled
from space.faces import Face, FaceFinder, load_face_finder
from space.photos import model_input, open_photo, open_reduced
from training.fit.degrade import noise
from training.lab.benchmark_network import build_like_bundled, show_spread
from training.measure.markdown import markdown_table
from training.ship.timing import spread_in_turn

PORTRAIT = Path(__file__).parents[2] / "space" / "examples" / "portrait.jpg"
FRAMED_SIDE, FRAMED_MARGIN = 256, 1.33  # px; framed like the training photos
CAMERA_SIZE, CAMERA_NOISE = (4000, 4000), 4.0  # px, grey levels
STEPS = ("decode", "find the face", "crop", "network", "verdict and heatmap")
FRAMED = "face that fills its photo"
WHOLE = f"{FRAMED}, judged whole"
OURS, KERAS = "as served", "with Keras `predict`"


def time_photos(runs: int) -> dict:
    """Time three photos through the bundled model, and one of them judged whole.

    The Keras network is an untrained one of the same layout: weights do not change its speed. They
    would change which faces get a second look, so none gets one.

    Args:
        runs: number of times that each is timed.

    Returns:
        A JSON-compatible dict: `finder` (its name) and `photos`, by description: `bytes`, `size`,
        the total time under `OURS` and `KERAS` (median and quartiles in ms), `times_faster`, and
        `steps`, the median of each in ms.
    """
    detector, yunet, network = load_bundled(), load_face_finder(), build_like_bundled()
    detector.config = replace(detector.config, second_look=None)
    examples = example_photos(yunet)
    photos = {}
    for name, content, finder in [
        *((name, content, yunet) for name, content in examples.items()),
        (WHOLE, examples[FRAMED], _WholePhoto()),
    ]:
        size = Image.open(io.BytesIO(content)).size
        calls = {
            OURS: lambda content=content, finder=finder: detector.judge(content, finder),
            KERAS: lambda content=content, finder=finder: _judge_with_keras(
                content, finder, detector, network
            ),
        }
        spreads = spread_in_turn(calls | _steps(content, finder, detector), runs)
        photos[name] = {
            "bytes": len(content),
            "size": list(size),
            **{way: spreads[way] for way in calls},
            "times_faster": spreads[KERAS]["median"] / spreads[OURS]["median"],
            "steps": {step: spreads[step]["median"] for step in STEPS},
        }
    return {"finder": yunet.name, "photos": photos}


def example_photos(finder: FaceFinder) -> dict[str, bytes]:
    """Return JPEG files that show one face, by description."""
    portrait = open_photo(PORTRAIT)
    (face,) = finder.find(portrait)
    framed = crop_face(portrait, face, FRAMED_MARGIN, FRAMED_SIDE)
    large = np.asarray(portrait.resize(CAMERA_SIZE, Image.Resampling.BICUBIC))
    grain = noise(large, CAMERA_NOISE, np.random.default_rng(0))
    return {
        "portrait": PORTRAIT.read_bytes(),
        FRAMED: _jpeg(framed),
        "the portrait as large as a camera's, with noise": _jpeg(Image.fromarray(grain)),
    }


def photos_table(figures: Mapping) -> str:
    """Return the figures of `time_photos` as a Markdown table."""
    rows = []
    for name, photo in figures["photos"].items():
        total = sum(photo["steps"].values())
        shares = [
            f"{milliseconds:.1f} ({100 * milliseconds / total:.0f} %)"
            for milliseconds in photo["steps"].values()
        ]
        width, height = photo["size"]
        ways = [show_spread(photo[way]) for way in (OURS, KERAS)]
        times = f"{photo['times_faster']:.1f}"
        rows.append((f"{name}, {width}x{height}", *shares, *ways, times))
    head = ("photo", *STEPS, f"{OURS}, ms", f"{KERAS}, ms", "times faster")
    return markdown_table(head, rows)


class _WholePhoto:
    """A finder that returns the whole photo as the face."""

    def find(self, photo: Image.Image) -> list[Face]:
        return [Face((0.0, 0.0, photo.width, photo.height), None, 1.0)]


def _jpeg(photo: Image.Image) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _judge_with_keras(content: bytes, finder: FaceFinder, detector: Detector, network) -> str:
    photo, _ = open_reduced(content)
    (face,) = finder.find(photo)
    crop = crop_face(photo, face, detector.config.crop_margin)
    pixels = model_input(crop, detector.config.input_size)
    probability = float(network.predict(pixels[None], verbose=0)[0, 1])
    return detector.config.verdict(detector.config.calibration.apply(probability))


def _steps(content: bytes, finder: FaceFinder, detector: Detector) -> dict[str, Callable]:
    """Return each step by its name, as a function that does only that step."""
    side, margin = detector.config.input_size, detector.config.crop_margin
    photo, _ = open_reduced(content)
    (face,) = finder.find(photo)
    pixels = model_input(crop_face(photo, face, margin), side)[None]
    probabilities, heatmaps = detector.run(pixels)
    return {
        "decode": lambda: open_reduced(content),
        "find the face": lambda: finder.find(photo),
        "crop": lambda: model_input(crop_face(photo, face, margin), side),
        "network": lambda: detector.run(pixels),
        "verdict and heatmap": lambda: detector.describe(probabilities[0], heatmaps[0]),
    }


def framed_photos(number: int, folder: Path) -> list[Path]:
    """Write slightly different photos of one face, framed like the training data; return paths."""
    finder, rng = load_face_finder(), np.random.default_rng(0)
    portrait = open_photo(PORTRAIT)
    (face,) = finder.find(portrait)
    paths = [folder / f"{index}.jpg" for index in range(number)]
    for path in paths:
        photo = crop_face(portrait, face, FRAMED_MARGIN + rng.uniform(0, 0.2), FRAMED_SIDE)
        photo.rotate(rng.uniform(-5, 5), Image.Resampling.BICUBIC).save(path, quality=92)
    return paths
