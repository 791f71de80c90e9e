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
            `None` where the model does not tell.
        heatmap: `float32` array `[rows, columns]`, 0 to 1: how much each place of the centred
            square of the photo spoke for fake, divided by its own maximum; all zero where nothing
            did. The log-odds that the model gives to places, or Grad-CAM
            (https://arxiv.org/abs/1610.02391) where its head knows none.
    """

    probability: float
    verdict: str
    meaning: ScoreBin | None
    heatmap: np.ndarray

    def as_dict(self) -> dict:
        """Return it in the types that JSON has."""
        return asdict(self) | {"heatmap": self.heatmap.tolist()}


@dataclass(frozen=True)
class FaceCrop:
    """A face cut out of its photo, or all of a photo, ready to be judged.

    Attributes:
        face, crop, landmarks, reason: those of the `Judgement` to be.
        pixels: `float32` `[size, size, 3]`, what the network is shown.
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
        face: where it is; `None` where the whole picture was judged.
        crop: RGB square that was judged, upright, at most 448 px wide.
        landmarks: of the face in the crop, `float32` `[5, 2]`, as shares of its side (see `Face`);
            `None` where nobody knows them.
        prediction: what the model says; where there is a reason, its verdict is `"inconclusive"`.
        reason: a key of `REASONS` where the face is one that the model is not to be trusted with;
            `None` for all others, whatever their verdict.
    """

    face: Face | None
    crop: Image.Image
    landmarks: np.ndarray | None
    prediction: Prediction
    reason: str | None = None

    def as_dict(self) -> dict:
        """Return it in the types that JSON has, without the pixels."""
        box = self.face and [round(float(value), 1) for value in self.face.box]
        too_small = bool(self.face and self.face.too_small)
        judged = self.prediction.as_dict()
        return {"box": box, "too_small": too_small, "reason": self.reason, **judged}
