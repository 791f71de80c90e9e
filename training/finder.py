"""What finds faces for the verbs."""

from __future__ import annotations

import logging
from pathlib import Path

from space.faces import FaceFinder, FaceFinderError, load_face_finder
from training.errors import UserError

log = logging.getLogger(__name__)


def load_finder(model: Path | None = None) -> FaceFinder:
    """Load what finds faces, for a verb; log which it is.

    Args:
        model: folder of the model that judges them, which may hold a finder.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        finder = load_face_finder(model)
    except FaceFinderError as error:
        raise UserError(str(error)) from error
    log.info(finder.notice)
    return finder
