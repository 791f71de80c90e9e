"""Small images for tests: drawn faces, and folders of them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from training.data.rows import METADATA

# Approximate bounding box and landmarks of the faces that `draw_face` draws, as shares of the side.
# The landmarks are in the order of `space.faces.Face`.
FACE_BOX = (0.2, 0.15, 0.6, 0.8)
FACE_LANDMARKS = ((0.365, 0.47), (0.635, 0.47), (0.5, 0.63), (0.42, 0.75), (0.58, 0.75))


def draw_face(seed: int, size: int = 96, *, tinted: bool = False) -> Image.Image:
    """Return an RGB drawing of a face that differs by seed.

    Args:
        seed: decides colours and proportions.
        size: side in px.
        tinted: colour the eyes green, a difference that a network learns in a few steps.
    """
    return _drawn(seed, size, tinted).copy()


@lru_cache(maxsize=512)  # many tests draw the same faces, and smooth edges take time
def _drawn(seed: int, size: int, tinted: bool) -> Image.Image:
    rng = np.random.default_rng(seed)
    scale = 4  # drawn larger and shrunk, so that edges are smooth
    side = size * scale

    def box(x: float, y: float, width: float, height: float) -> list[float]:
        return [side * v for v in (x - width / 2, y - height / 2, x + width / 2, y + height / 2)]

    skin = tuple(int(v) for v in rng.integers((190, 140, 110), (240, 190, 160)))
    dark = tuple(int(v * 0.72) for v in skin)
    hair = tuple(int(v) for v in rng.integers((20, 15, 10), (120, 80, 50)))
    eyes = (30, 200, 60) if tinted else (80, 60, 45)
    face = Image.new("RGB", (side, side), tuple(int(v) for v in rng.integers(120, 220, 3)))
    draw = ImageDraw.Draw(face)
    width = rng.uniform(0.56, 0.66)
    draw.ellipse(box(0.5, 0.44, width + 0.14, 0.84), hair)
    draw.ellipse(box(0.5, 0.55, width, 0.80), skin)
    for x in (0.5 - width * 0.22, 0.5 + width * 0.22):
        draw.ellipse(box(x, 0.47, 0.13, 0.065), "white")
        draw.ellipse(box(x, 0.47, 0.06, 0.06), eyes)
        draw.arc(box(x, 0.43, 0.16, 0.09), 200, 340, hair, scale * 2)
    draw.line([side * v for v in (0.5, 0.50, 0.475, 0.63, 0.52, 0.63)], dark, scale * 2)
    draw.chord(box(0.5, 0.75, 0.2, rng.uniform(0.05, 0.1)), 0, 180, (170, 70, 70))
    face = face.filter(ImageFilter.GaussianBlur(scale)).resize((size, size))
    # Each drawing has its own skin and light, or all would pass for versions of one photo.
    spots = Image.fromarray(rng.normal(0, 24, (16, 16)).astype(np.float32))
    texture = np.asarray(spots.resize((size, size), Image.Resampling.BICUBIC))[..., None]
    noise = rng.normal(0, 4, (size, size, 3))
    return Image.fromarray((np.asarray(face) + texture + noise).clip(0, 255).astype(np.uint8))


def write_source(folder: Path, per_label: int = 24, size: int = 96) -> Path:
    """Write a folder with the layout and file names of the Kaggle archive; return it."""
    real, fake = folder / "training_real", folder / "training_fake"
    for label_folder in (real, fake):
        label_folder.mkdir(parents=True)
    for number in range(per_label):
        draw_face(number, size).save(real / f"real_{number:05d}.jpg")
        difficulty = ("easy", "mid", "hard")[number % 3]
        name = f"{difficulty}_{number}_{number % 15 + 1:04b}.jpg"
        draw_face(1000 + number, size, tinted=True).save(fake / name)
    return folder


def edit_rows(folder: Path, split: str, edit: Callable[[list[dict]], Iterable[dict]]) -> None:
    """Replace the rows of a prepared folder's split with what `edit` returns for them."""
    path = folder / split / METADATA
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(edit(rows))


@contextmanager
def quick_search() -> Iterator[None]:
    """Find no faces and no shared sources in this context.

    Drawings have neither, and the searches take most of the time of `prepare` and `audit`.
    """
    finder = SimpleNamespace(name="none", find=lambda photo: [])
    with pytest.MonkeyPatch.context() as patch:
        for module in ("data.prepare", "measure.audit.traces"):
            patch.setattr(f"training.{module}.load_finder", lambda: finder)
        for module in ("data.splits", "measure.audit.traces"):
            patch.setattr(f"training.{module}.find_source_pairs", lambda paths, hashes: [])
        yield
