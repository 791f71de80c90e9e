"""Load a model: fetch its folder from the Hugging Face Hub and open its graph with LiteRT."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

if __package__:
    from .contract import (
        CONFIG_FILE,
        FINDER_CONFIG_FILE,
        FINDER_FILE,
        MODEL_FILE,
        DetectorConfig,
        DetectorError,
    )
else:
    from contract import (
        CONFIG_FILE,
        FINDER_CONFIG_FILE,
        FINDER_FILE,
        MODEL_FILE,
        DetectorConfig,
        DetectorError,
    )

ANY_NUMBER = -1  # batch size in the input shape of a graph that takes any


def load_graph(
    path: Path, config: DetectorConfig, threads: int
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the graph as a function that judges a batch of photos.

    It takes photos `[photos, size, size, 3]` and returns probabilities `[photos, 2]` and heatmaps
    `[photos, rows, columns]`.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DetectorError(f"{path} cannot be read: fetch the model folder again.") from error
    if hashlib.sha256(content).hexdigest() != config.sha256:
        raise DetectorError(
            f"{path} is not the file that {CONFIG_FILE} describes (sha256 differs): fetch the "
            "model again (with `hf download REPOSITORY --force-download` if it is from the Hub)."
        )
    try:
        interpreter = Interpreter(model_content=content, num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise DetectorError(f"{path} is not a LiteRT model ({error}): export it again.") from error
    batch_size, side, *_ = interpreter.get_input_details()[0]["shape_signature"]
    if side != config.input_size:
        raise DetectorError(
            f"{path} takes photos of {side} px where {CONFIG_FILE} says {config.input_size}: fetch "
            "the model folder again."
        )
    run = interpreter.get_signature_runner("serving_default")

    def judge(photos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # A graph that was exported for a batch of one takes the photos one by one.
        batches = [photos] if batch_size == ANY_NUMBER else np.split(photos, len(photos))
        outputs = [run(image=batch) for batch in batches]
        heatmaps = [output["heatmap"] for output in outputs]
        return (
            np.concatenate([output["probabilities"].reshape(-1, 2) for output in outputs]),
            np.concatenate([heatmap.reshape(-1, *heatmap.shape[-2:]) for heatmap in heatmaps]),
        )

    return judge


def download(model_id: str, revision: str | None) -> tuple[Path, str]:
    """Fetch a Hub repository's model folder; return it and a name that tells the commit."""
    # A snapshot takes all files from one commit, whatever is pushed meanwhile. Without a network it
    # fails at once; downloads of single files retry for half a minute.
    import httpx2
    from huggingface_hub import snapshot_download

    at_revision = f" at {revision}" if revision else ""
    required, optional = (CONFIG_FILE, MODEL_FILE), (FINDER_FILE, FINDER_CONFIG_FILE)
    try:
        folder = Path(
            snapshot_download(model_id, revision=revision, allow_patterns=[*required, *optional])
        )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        raise DetectorError(
            f"The model {model_id}{at_revision} is not a folder here, and on the Hugging Face Hub "
            f"it {_reason(error)}."
        ) from error
    for name in required:
        if not (folder / name).is_file():
            raise DetectorError(
                f"The repository {model_id}{at_revision} holds no {name}, or it was not "
                "downloaded when there was a network: name the repository of a detector, or "
                "connect."
            )
    return folder, f"{model_id} @ {folder.name[:8]}"


def _reason(error: Exception) -> str:
    """Return why a download failed and what to do, as the end of a sentence."""
    from huggingface_hub import errors

    reasons = {  # subclasses before their bases
        errors.HFValidationError: "is not a valid name; names there are NAMESPACE/NAME",
        errors.LocalEntryNotFoundError: (
            "cannot be reached while it is not in the cache either: try again with a network "
            "(and without HF_HUB_OFFLINE)"
        ),
        errors.GatedRepoError: "is gated: accept its terms on its page and set HF_TOKEN",
        errors.RepositoryNotFoundError: (
            "does not exist or is private: check the name, or set HF_TOKEN to a token that may "
            "read it"
        ),
        errors.RevisionNotFoundError: "has no such revision: name a branch, a tag or a full commit",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"could not be fetched ({status or type(error).__name__}): check the token and try again"
