"""What the model says about a face: the types that the page, the shell and programs share."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

if __package__:
    from .contract import ScoreBin
    from .faces import Face
else:
    from contract import ScoreBin
    from faces import Face


@dataclass(frozen=True)
class Prediction:
    """What the model says about a photo.

    Attributes:
        probability: of fake, 0 to 1, calibrated.
        verdict: `"real"`, `"fake"` or `"inconclusive"`.
        meaning: how many validation photos had such a probability, and what share of them was fake;
            `None` if unknown.
        heatmap: `float32` array `[rows, columns]`, 0 to 1: the evidence for fake at each place of
            the photo's centred square, divided by its maximum; all zero if there is none. The
            evidence is the log-odds that the model's head gives for each place, or else Grad-CAM
            (https://arxiv.org/abs/1610.02391).
    """

    probability: float
    verdict: str
    meaning: ScoreBin | None
    heatmap: np.ndarray

    def as_dict(self) -> dict:
        """Return the prediction in JSON types."""
        return asdict(self) | {"heatmap": self.heatmap.tolist()}


@dataclass(frozen=True)
class FaceCrop:
    """A face cropped from its photo, or a whole photo, ready to be judged.

    Attributes:
        face, crop, landmarks, reason: as in `Judgement`.
        pixels: `float32` `[size, size, 3]`, the network's input.
    """

    face: Face | None
    crop: Image.Image
    landmarks: np.ndarray | None
    pixels: np.ndarray
    reason: str | None = None


@dataclass(frozen=True)
class Judgement:
    """What the model says about one face of a photo.

    Attributes:
        face: where it is; `None` if the whole picture was judged.
        crop: the RGB square that was judged, upright, at most 448 px wide.
        landmarks: of the face in the crop, `float32` `[5, 2]`, as shares of its side (see `Face`);
            `None` if they are unknown.
        prediction: what the model says; if there is a reason, the verdict is `"inconclusive"`.
        reason: a key of `REASONS` if the model cannot be trusted with this face; otherwise `None`,
            whatever the verdict.
    """

    face: Face | None
    crop: Image.Image
    landmarks: np.ndarray | None
    prediction: Prediction
    reason: str | None = None

    def as_dict(self) -> dict:
        """Return the judgement in JSON types, without the pixels."""
        box = self.face and [round(float(value), 1) for value in self.face.box]
        too_small = bool(self.face and self.face.too_small)
        prediction = self.prediction.as_dict()
        return {"box": box, "too_small": too_small, "reason": self.reason, **prediction}
