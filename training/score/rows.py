"""Score a photo and return its rows; every engine calls this code, in processes of its own.

No state is kept between photos, so that they can be scored anywhere and in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import fsspec
import pyarrow as pa

from space.contract import DetectorConfig, DetectorError
from space.detector import Detector, load_bundled
from space.faces import FaceFinder, FaceFinderError, load_face_finder
from space.judgements import Judgement
from space.photos import PhotoError, printable
from space.provenance import read as read_provenance
from training.errors import UserError
from training.score.inputs import Photo

SCHEMA = pa.schema(
    {
        "file": pa.string(),
        "face": pa.int32(),
        "left": pa.float64(),
        "top": pa.float64(),
        "width": pa.float64(),
        "height": pa.float64(),
        "probability": pa.float64(),
        "verdict": pa.string(),
        "too_small": pa.bool_(),
        "reason": pa.string(),
        "model_sha256": pa.string(),
        "error": pa.string(),
    }
)

PROVENANCE = {"provenance": pa.string(), "provenance_trust": pa.string()}  # on request

Row = dict[str, object]


@dataclass(frozen=True)
class ScorerConfig:
    """Everything that a process needs to score like every other one; small enough to be sent.

    Attributes:
        model: folder or Hub repository of the model; `None` for the bundled one.
        description: configuration of that model.
        finder: name of the face finder; `None` if the whole picture is judged.
        provenance: whether to read what each file says about itself.
    """

    model: str | None
    description: DetectorConfig
    finder: str | None
    provenance: bool = False

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows."""
        more = PROVENANCE if self.provenance else {}
        return pa.schema([*SCHEMA, *(pa.field(name, kind) for name, kind in more.items())])

    @property
    def judged(self) -> str:
        """What has a verdict, for messages."""
        return "faces" if self.finder else "whole pictures"

    @classmethod
    def read(
        cls, model: str | None, *, whole_picture: bool, provenance: bool = False
    ) -> ScorerConfig:
        """Return the configuration of what is loaded on this machine.

        Raises:
            UserError: the model or the face finder cannot be loaded.
        """
        detector, finder = _load(model, whole_picture=whole_picture)
        return cls(model, detector.config, finder and finder.name, provenance)

    def load(self) -> Scorer:
        """Return the scorer, for a process that runs beside others like it.

        Raises:
            UserError: model or face finder cannot be loaded, or differ from this configuration.
        """
        cv2.setNumThreads(1)
        return Scorer(self)

    def row(self, name: str, **values: object) -> Row:
        """Return a row of a photo; columns that are not given are null."""
        # Parquet holds only names that are UTF-8.
        return {"file": printable(name), "model_sha256": self.description.sha256, **values}


def to_table(rows: Iterable[Row], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Return rows as a table with the columns of a schema."""
    return pa.Table.from_pylist(list(rows), schema)


class Scorer:
    """A detector and a face finder, in the process that uses them."""

    def __init__(self, config: ScorerConfig) -> None:
        """Load both.

        Raises:
            UserError: they cannot be loaded, or differ from the configuration.
        """
        self._config = config
        self._detector, self._finder = _load(config.model, whole_picture=not config.finder)
        loaded = self._finder and self._finder.name
        if (self._detector.config, loaded) != (config.description, config.finder):
            raise UserError(
                f"A worker loaded {self._detector.name} and {loaded}, other than the main process: "
                "name the model by a folder, and the face finder as FACE_DETECTOR."
            )

    def rows(self, photo: Photo) -> list[Row]:
        """Score a photo.

        Returns:
            A row with the columns of `ScorerConfig.schema` for each face, largest first. `face`
            counts from 0; `left`, `top`, `width` and `height` are px of the upright photo;
            `probability` is that of fake. A photo without a face has one row without `face`,
            `verdict` and `error`; a whole picture one with a `verdict`, but no `face`; and one that
            cannot be scored one with an `error`.
        """
        try:
            content = _content(photo.source)
            judgements = self._judge(content)
            provenance = _provenance(content) if self._config.provenance else {}
        except PhotoError as error:
            return [self._config.row(photo.name, error=str(error))]
        except Exception as error:  # whatever it is, the other photos are scored
            text = f"The photo cannot be scored ({error!r}): leave it out."
            return [self._config.row(photo.name, error=text)]
        values = [_values(number, judgement) for number, judgement in enumerate(judgements)]
        return [self._config.row(photo.name, **columns, **provenance) for columns in values or [{}]]

    def _judge(self, content: str | bytes) -> list[Judgement]:
        if self._finder is None:
            return [self._detector.judge_whole(content)]
        return self._detector.judge(content, self._finder)


def _load(model: str | None, *, whole_picture: bool) -> tuple[Detector, FaceFinder | None]:
    options = {"threads": 1}  # the other cores have processes of their own
    try:
        detector = Detector.from_pretrained(model, **options) if model else load_bundled(**options)
        return detector, None if whole_picture else load_face_finder(detector.folder, **options)
    except (DetectorError, FaceFinderError) as error:
        raise UserError(str(error)) from error


def _content(source: str | bytes | None) -> str | bytes:
    """Return what the detector takes: a path or bytes."""
    if source is None:
        raise PhotoError("The row holds no photo.")
    if isinstance(source, bytes) or "://" not in source:
        return source
    try:
        with fsspec.open(source) as file:
            return file.read()
    except Exception as error:  # every file system raises its own; the text may contain signed URLs
        raise PhotoError(
            f"The photo cannot be fetched ({type(error).__name__}): check its address."
        ) from error


def _provenance(content: str | bytes) -> Row:
    """Return a file's statement of how it was made, and how far to trust it; empty without one."""
    statement = read_provenance(content).statement
    return (
        {"provenance": str(statement.claim), "provenance_trust": str(statement.trust)}
        if statement
        else {}
    )


def _values(number: int, judgement: Judgement) -> Row:
    values = judgement.as_dict()
    judged = {name: values[name] for name in ("probability", "verdict")}
    if judgement.face is None:
        return judged
    box = dict(zip(("left", "top", "width", "height"), values["box"], strict=True))
    marks = {name: values[name] for name in ("too_small", "reason")}
    return {"face": number, **box, **judged, **marks}
