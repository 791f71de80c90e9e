"""What a Hugging Face Inference Endpoint runs in a model repository, as a custom handler
(https://huggingface.co/docs/inference-endpoints/guides/custom_handler).
"""

from __future__ import annotations

import base64
import binascii
import os

from PIL import Image

if __package__ == "space":  # an endpoint loads it as part of a package that does not exist
    from .detector import Detector
    from .findings import Finding, Kind, Trust
    from .photos import PhotoError
    from .provenance import Provenance, read
else:
    from detector import Detector
    from findings import Finding, Kind, Trust
    from photos import PhotoError
    from provenance import Provenance, read

DECODED = Finding(
    Kind.UNREADABLE,
    "The photo was sent as pixels, so what its file says about itself is unknown: send base64.",
    trust=Trust.UNKNOWN,
)
MAX_BYTES = 50_000_000  # of a photo's file


class EndpointHandler:
    """Judges the photos of requests."""

    def __init__(self, path: str | os.PathLike = ".") -> None:
        """Load the model.

        Args:
            path: folder of the model repository.

        Raises:
            DetectorError: the folder holds no model that this program can read.
        """
        self._detector = Detector(path)

    def __call__(self, data: dict) -> dict | list[dict]:
        """Answer one request.

        Args:
            data: the request; `inputs` is a photo or a list of them, each the bytes of a file, a
                PIL image, base64 text (a data URL as well), or `{"image": base64 text}`. Nothing
                is fetched: addresses and paths are refused.

        Returns:
            The prediction of `Detector.predict` in JSON types (see `Prediction`), with
            `provenance`, what the photo's file says about itself (see `Finding`); for a list, a
            list of them. Servers decode what is sent as a picture, so the file is lost:
            `provenance` then says so.

        Raises:
            PhotoError: a photo cannot be judged; the server that runs this answers 400 with the
                text.
        """
        inputs = data.get("inputs")
        if isinstance(inputs, list):
            return [self._judge(photo) for photo in inputs]
        return self._judge(inputs)

    def _judge(self, photo: object) -> dict:
        received = _received(photo)
        answer = self._detector.predict(received).as_dict()
        provenance = read(received) if isinstance(received, bytes) else Provenance((DECODED,))
        return answer | {"provenance": provenance.to_json()}


def _received(photo: object) -> bytes | Image.Image:
    """Return a photo of a request in a form that cannot be taken for a path."""
    if isinstance(photo, dict):
        photo = photo.get("image")
    if isinstance(photo, str):
        photo = _decoded(photo)
    if isinstance(photo, bytes | bytearray):
        if len(photo) > MAX_BYTES:
            raise PhotoError(
                f"The photo has more than {MAX_BYTES // 10**6} MB: send a smaller one."
            )
        return bytes(photo)
    if isinstance(photo, Image.Image):
        return photo
    raise PhotoError("`inputs` holds no photo: send the bytes of a file, or base64 text of them.")


def _decoded(text: str) -> bytes:
    start, comma, rest = text.partition(",")
    if comma and start.startswith("data:") and start.endswith(";base64"):
        text = rest
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:  # `ValueError` for text that is not ASCII
        raise PhotoError(
            "The text in `inputs` is not base64: send the photo itself, not an address or a path."
        ) from error
