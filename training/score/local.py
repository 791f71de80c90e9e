"""Score every face of a collection of photos on all cores of this machine:
`python -m training score INPUT --output OUT.parquet`. `rows.Scorer` scores a photo.

Only the photos in progress are in memory. Rows lie in `OUT.parquet.parts/` until they are complete,
so that a killed run can be resumed with `--resume`.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from training.errors import UserError
from training.score.inputs import (
    CHUNK_BYTES,
    CHUNK_PHOTOS,
    Chunk,
    Collection,
    chunked,
    find_collection,
)
from training.score.parts import WRITERS, Parts
from training.score.rows import ScorerConfig, to_table
from training.score.workers import score_chunks

log = logging.getLogger(__name__)


def score(
    where: str,
    output: Path,
    *,
    model: str | None = None,
    split: str | None = None,
    whole_picture: bool = False,
    provenance: bool = False,
    workers: int | None = None,
    resume: bool = False,
) -> None:
    """Score a collection in processes of this machine; the rows keep the order of the photos.

    Args:
        where: see `find_collection`.
        output: `.parquet` or `.csv` file for the rows, see `Scorer.rows`.
        model: folder or Hub repository; by default the bundled model.
        split: split of a dataset.
        whole_picture: judge the centred square of each photo instead of its faces.
        provenance: add columns with what each file says of how it was made, and how far to trust
            that.
        workers: number of processes, by default one per core.
        resume: continue an interrupted run.

    Raises:
        UserError: the input, the model or the output cannot be used.
    """
    if output.suffix not in WRITERS:
        raise UserError(f"--output {output} ends in neither {' nor '.join(WRITERS)}.")
    check_workers(workers)
    parts = Parts(output)
    started = parts.is_started(resume=resume)
    if resume and not started:
        log.info("%s is finished already.", output)
        return
    config = ScorerConfig.read(model, whole_picture=whole_picture, provenance=provenance)
    settings = _settings(where, split, config)
    if started:
        parts.check_settings(settings)
    collection = find_collection(where, split)
    if not started:
        parts.start(settings)
    _Run(collection, parts).score(config, workers or os.cpu_count() or 1)


def check_workers(workers: int | None) -> None:
    """Raise `UserError` if `workers` is less than 1."""
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers} would score nothing: give 1 or more.")


def count_rows(table: pa.Table | pa.RecordBatch) -> Counter[str]:
    """Return the numbers of rows by verdict, with any verdict, without a face and with an error."""
    counts = Counter(table["verdict"].to_pylist())
    errors = len(table) - table["error"].null_count
    counts["no face"], counts["error"] = counts.pop(None, 0) - errors, errors
    counts["judged"] = counts["fake"] + counts["inconclusive"] + counts["real"]
    return counts


def log_counts(
    output: Path, judged: str, counts: Counter[str], scored: Counter[str], seconds: float
) -> None:
    """Log what an output holds.

    Args:
        output: path of the output.
        judged: what has verdicts, such as `faces`.
        counts: see `count_rows`; `photo` is the number of photos.
        scored: the same counts for the photos that this run scored.
        seconds: time that scoring them took.
    """
    log.info(
        "%s: %d photos, %d %s (%d fake, %d inconclusive, %d real), %d without a face, %d with an "
        "error; %.1f photos/s, %.1f %s/s.",
        output,
        counts["photo"],
        counts["judged"],
        judged,
        *(counts[name] for name in ("fake", "inconclusive", "real", "no face", "error")),
        scored["photo"] / seconds,
        scored["judged"] / seconds,
        judged,
    )


class _Run:
    """One pass through a collection that scores the photos without rows."""

    def __init__(self, collection: Collection, parts: Parts) -> None:
        self._collection = collection
        self._parts = parts
        self._chunks = 0
        self._earlier: Counter[str] = Counter()
        self._scored: Counter[str] = Counter()

    def score(self, config: ScorerConfig, workers: int) -> None:
        start = time.monotonic()
        # The mean speed forecasts more steadily: the processes finish photos in bursts.
        progress = {"desc": "Scoring", "unit": "photo", "smoothing": 0}
        with tqdm(total=self._collection.total, **progress) as bar:
            for chunk, rows in score_chunks(self._unfinished(bar), config, workers, bar.update):
                table = to_table(rows, config.schema)
                self._parts.write(chunk, table)
                self._scored += _count_chunk(chunk, table)
        seconds = time.monotonic() - start
        self._parts.merge(self._chunks, config.schema)
        counts = self._earlier + self._scored
        log_counts(self._parts.output, config.judged, counts, self._scored, seconds)

    def _unfinished(self, bar: tqdm) -> Iterator[Chunk]:
        """Yield the chunks without rows; those with rows are counted."""
        for chunk in chunked(self._collection.photos()):
            self._chunks += 1
            table = self._parts.read(chunk)
            if table is None:
                yield chunk
                continue
            self._earlier += _count_chunk(chunk, table)
            bar.initial += len(chunk.photos)  # not scored now: no part of the speed
            bar.update(len(chunk.photos))


def _count_chunk(chunk: Chunk, table: pa.Table) -> Counter[str]:
    return count_rows(table) + Counter(photo=len(chunk.photos))


def _settings(where: str, split: str | None, config: ScorerConfig) -> dict[str, object]:
    """Return what must not change when a run is resumed; the likeliest changes come first."""
    description = asdict(config.description)
    return {
        "input": where,
        "split": split,
        "face_finder": config.finder,
        "provenance": config.provenance,
        "model_sha256": description["sha256"],
        **{name: description[name] for name in ("thresholds", "calibration", "crop_margin")},
        "chunk": [CHUNK_PHOTOS, CHUNK_BYTES],
        "columns": config.schema.names,
    }
