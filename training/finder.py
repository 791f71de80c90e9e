"""Load the face finder for the verbs."""

from __future__ import annotations

import logging
from pathlib import Path

from space.faces import FaceFinder, FaceFinderError, load_face_finder
from training.errors import UserError

log = logging.getLogger(__name__)


def load_finder(model: Path | None = None) -> FaceFinder:
    """Return the face finder, and log which one it is.

    Args:
        model: folder of the model that judges the faces; it may hold its own finder.

    Raises:
        UserError: the finder cannot be loaded.
    """
    try:
        finder = load_face_finder(model)
    except FaceFinderError as error:
        raise UserError(str(error)) from error
    log.info(finder.notice)
    return finder
