"""Cases on which Python and the page in the browser must agree: `python -m tests.web_cases OUT`.

Writes photos and raw pixels to `OUT`, and Python's results for them to `cases.json`. All are made
from the portrait that comes with the page. YuNet is the file that `FACE_DETECTOR` names.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from space.contract import DetectorConfig, log_odds
from space.crops import crop_face, crop_landmarks, face_square
from space.detector import Detector, load_bundled
from space.faces import load_face_finder
from space.finder import Face, FaceFinder
from space.judgements import Judgement
from space.photos import open_photo
from tests.serving import SPACE

PORTRAIT = SPACE / "examples/portrait.jpg"
BICUBIC = Image.Resampling.BICUBIC
# New width and height, and Pillow's `reducing_gap`.
RESIZES = [(160, 160, None), (224, 224, None), (131, 77, None), (75, 64, 1.0), (97, 300, 1.0)]
RESIZES += [(20, 31, 2.0), (448, 448, 2.0), (601, 599, None), (3, 200, None), (3700, 900, None)]
ROLLS = (-170.0, -95.0, -31.0, 4.0, 22.5, 88.0, 133.0)  # of cropped faces, in degrees
ROW_SIZES = ((384, 384), (300, 300), (555, 420))  # width and height


def make_cases(folder: Path, detector: Detector, finder: FaceFinder) -> dict:
    """Write the cases into a folder and return what `cases.json` holds."""
    folder.mkdir(parents=True, exist_ok=True)
    portrait = open_photo(PORTRAIT)
    write_pixels(folder / "portrait.rgb", portrait)
    cases = {
        "portrait": {"width": portrait.width, "height": portrait.height},
        "decoded": [decoded(folder, name, data) for name, data in encoded_photos(portrait)],
        "resized": [
            {"width": width, "height": height, "gap": gap}
            | {"digest": digest(portrait.resize((width, height), BICUBIC, reducing_gap=gap))}
            for width, height, gap in RESIZES
        ],
        "cropped": [cropped(portrait, roll) for roll in ROLLS],
        "rows": [
            rows(folder, finder, picture)
            for picture in (*map(portrait.resize, ROW_SIZES), crowd_of(portrait).resize((640, 480)))
        ],
        "judged": [judged(folder, name, data, detector, finder) for name, data in scenes(portrait)],
        "thresholds": detector.config.thresholds,
    }
    (folder / "cases.json").write_text(json.dumps(cases, indent=1))
    return cases


def encoded_photos(photo: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Yield the photo in the formats that browsers and Python read."""
    alpha = photo.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise to display
    kinds = {
        "420.jpg": (photo, {"quality": 85, "subsampling": 2}),
        "422.jpg": (photo, {"quality": 70, "subsampling": 1}),
        "444.jpg": (photo, {"quality": 95, "subsampling": 0}),
        "progressive.jpg": (photo, {"progressive": True}),
        "turned.jpg": (photo.crop((0, 0, 290, 211)), {"exif": exif}),
        "grey.jpg": (photo.convert("L"), {}),
        "cmyk.jpg": (photo.convert("CMYK"), {}),
        "rgb.png": (photo, {}),
        "alpha.png": (alpha, {}),
        "palette.png": (photo.quantize(64), {}),
        "grey.png": (photo.convert("L"), {}),
        "bits.png": (photo.convert("1"), {}),
        "lossy.webp": (photo, {"quality": 80}),
        "lossless.webp": (alpha, {"lossless": True}),
        "photo.avif": (photo, {"quality": 80}),
        "photo.gif": (photo, {}),
        "photo.bmp": (photo, {}),
    }
    for name, (picture, options) in kinds.items():
        file = io.BytesIO()
        picture.save(file, format=Path(name).suffix[1:].replace("jpg", "jpeg"), **options)
        yield name, file.getvalue()
    yield "without-its-end.jpg", saved(photo, "jpeg")[:-2]


def scenes(portrait: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Yield photos that together use every way of finding faces."""
    rng = np.random.default_rng(7)
    wide = Image.new("RGB", (1500, 500), "#7a8790")
    for place, side in (((60, 90), 200), ((520, 40), 110), ((900, 200), 280), ((1300, 300), 80)):
        wide.paste(portrait.resize((side, side), BICUBIC), place)
    dark = np.asarray(portrait, np.float32) * 0.08 + rng.normal(0, 2, (300, 300, 3))
    pictures = {
        "plain": portrait,
        "large": portrait.resize((900, 900), BICUBIC),
        "tilted": portrait.rotate(25, BICUBIC, fillcolor="#888888"),
        "tilted-far": portrait.rotate(-60, BICUBIC, fillcolor="#888888"),
        "on-its-side": portrait.rotate(90),
        "upside-down": portrait.rotate(180),
        "cut": portrait.crop((110, 0, 300, 300)),
        "low": portrait.crop((60, 80, 260, 300)),
        "dark": Image.fromarray(dark.clip(0, 255).astype(np.uint8)),
        "blurred": portrait.resize((60, 60), BICUBIC).resize((300, 300), BICUBIC),
        "tiny": portrait.resize((70, 70), BICUBIC),
        "wide": wide,
        "crowd": crowd_of(portrait),
        "nobody": Image.fromarray(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8)),
    }
    for name, picture in pictures.items():
        yield f"{name}.png", saved(picture, "png")
    huge = portrait.crop((20, 0, 300, 280)).resize((3000, 3000), BICUBIC)
    yield "huge.jpg", saved(huge, "jpeg")  # is searched at half its size
    yield "changed.jpg", (SPACE / "examples/portrait-mouth-replaced.jpg").read_bytes()


def crowd_of(portrait: Image.Image) -> Image.Image:
    """Return a picture with twelve faces."""
    crowd = Image.new("RGB", (1600, 1200), "#556655")
    for number in range(12):
        place = (60 + 390 * (number % 4), 60 + 380 * (number // 4))
        crowd.paste(portrait.resize((170, 170), BICUBIC), place)
    return crowd


def decoded(folder: Path, name: str, data: bytes) -> dict:
    """Write a photo and return what Python decodes."""
    (folder / name).write_bytes(data)
    photo = open_photo(data)
    write_pixels(folder / f"{name}.rgb", photo)
    return {"file": name, "width": photo.width, "height": photo.height}


def cropped(photo: Image.Image, roll: float) -> dict:
    """Return the crop of a face that is tilted by some degrees, and its landmarks."""
    upright = np.array([[-30, 0], [30, 0], [0, 25], [-20, 50], [20, 50]], np.float32)
    angle = np.radians(roll)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    landmarks = (upright @ rotation + [150, 110]).astype(np.float32)
    face = Face((90.0, 70.0, 118.0, 131.0), landmarks, 0.9)
    crop = crop_face(photo, face, 1.2)
    return {
        "box": face.box,
        "landmarks": landmarks.tolist(),
        "square": face_square(photo.size, face, 1.2),
        "in_crop": crop_landmarks(photo.size, face, 1.2).tolist(),
        "digest": digest(crop),
    }


def rows(folder: Path, finder: FaceFinder, picture: Image.Image) -> dict:
    """Write a picture and return OpenCV's rows for it."""
    name = f"rows-{picture.width}x{picture.height}.rgb"
    write_pixels(folder / name, picture)
    faces = [
        {"box": face.box, "landmarks": face.landmarks.tolist(), "score": face.confidence}
        for face in finder._detect(np.asarray(picture))
    ]
    return {"file": name, "width": picture.width, "height": picture.height, "rows": faces}


def judged(folder: Path, name: str, data: bytes, detector: Detector, finder: FaceFinder) -> dict:
    """Write a photo and return Python's judgements.

    `at_edge` marks those whose first score is so close to the edge of the second-look margin that
    the page's first score may lie on the other side.
    """
    (folder / name).write_bytes(data)
    faces = [
        {
            "box": judgement.face.box,
            "probability": judgement.prediction.probability,
            "verdict": judgement.prediction.verdict,
            "reason": judgement.reason,
            "at_edge": bool(detector.config.second_look)
            and is_at_edge(detector.config, first.prediction.probability),
        }
        for judgement, first in zip(
            detector.judge(data, finder), looked_at_once(detector, data, finder), strict=True
        )
    ]
    return {"file": name, "faces": faces}


def looked_at_once(detector: Detector, data: bytes, finder: FaceFinder) -> list[Judgement]:
    """Return a detector's judgements without second looks."""
    bare = copy.copy(detector)
    bare.config = replace(detector.config, second_look=None)
    return bare.judge(data, finder)


def is_at_edge(config: DetectorConfig, probability: float) -> bool:
    """Return whether a first score is near the edge of the margin around a threshold."""
    distances = [
        abs(log_odds(probability) - log_odds(threshold)) for threshold in config.thresholds.values()
    ]
    return abs(min(distances) - config.second_look.margin) < 0.1


def digest(picture: Image.Image) -> str:
    """Return a SHA-256 of a picture's RGB values."""
    return hashlib.sha256(np.asarray(picture.convert("RGB")).tobytes()).hexdigest()


def saved(picture: Image.Image, kind: str) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, format=kind, quality=92)
    return file.getvalue()


def write_pixels(path: Path, picture: Image.Image) -> None:
    """Write the bare RGB values of a picture."""
    path.write_bytes(np.asarray(picture.convert("RGB")).tobytes())


if __name__ == "__main__":
    make_cases(Path(sys.argv[1]), load_bundled(), load_face_finder())
