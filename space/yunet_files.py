"""Get YuNet's file: from a model folder, or from the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

if __package__:
    from .contract import FINDER_CONFIG_FILE, FINDER_FILE
    from .finder import FaceFinderError
else:
    from contract import FINDER_CONFIG_FILE, FINDER_FILE
    from finder import FaceFinderError

# The only file that is fetched from the Hub, and the contents that are accepted: the network as
# published in March 2023, and the same network as OpenCV exported it again in May 2026.
YUNET_REPOSITORY = "opencv/face_detection_yunet"
YUNET_REVISION = "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = (
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
)
HUB_TIMEOUT = 5  # s to wait for the Hub before the cascade takes over


def converted_yunet(folder: Path) -> Path | None:
    """Return the LiteRT file of YuNet in a model folder; `None` if there is none.

    Raises:
        FaceFinderError: it does not match its description, or was made from another network.
    """
    path = folder / FINDER_FILE
    if not path.is_file():
        return None
    advice = "fetch the model folder again, or delete this file."
    try:
        description = json.loads((folder / FINDER_CONFIG_FILE).read_bytes())
        made_from, sha256 = description["made_from"], description["sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FaceFinderError(
            f"{path} comes without a {FINDER_CONFIG_FILE} that can be read: {advice}"
        ) from error
    if made_from not in YUNET_SHA256:
        raise FaceFinderError(f"{path} was not made from YuNet's published file: {advice}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise FaceFinderError(
            f"{path} is not the file that {FINDER_CONFIG_FILE} describes (sha256 differs): {advice}"
        )
    return path


def fetch_yunet() -> Path:
    """Return the YuNet file of the Hub, from its cache or after a download.

    Raises:
        FaceFinderError: it cannot be fetched, or is not the expected file.
    """
    file = {"filename": YUNET_FILE, "revision": YUNET_REVISION}
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            path = hf_hub_download(YUNET_REPOSITORY, **file, local_files_only=True)
        except LocalEntryNotFoundError:
            # Ask first: if the Hub does not answer, the download would retry for half a minute.
            get_hf_file_metadata(hf_hub_url(YUNET_REPOSITORY, **file), timeout=HUB_TIMEOUT)
            path = hf_hub_download(YUNET_REPOSITORY, **file)
    except Exception as error:  # errors of HTTP share no class, and the package may be missing
        raise FaceFinderError(
            f"YuNet could not be fetched from the Hugging Face Hub ({type(error).__name__}): check "
            "the network, or set FACE_DETECTOR to a copy of its ONNX file."
        ) from error
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() not in YUNET_SHA256:
        raise FaceFinderError(
            f"{path} is not the YuNet file that was expected (sha256 differs): delete it, to fetch "
            "it again."
        )
    return Path(path)
