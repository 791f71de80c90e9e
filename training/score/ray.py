"""Score a collection on a Ray cluster: `python -m training score INPUT --output OUT.parquet
--engine ray [--address ADDRESS]`; needs `pip install "ray[data]"` here and on every node.

The code is sent with the job. The photos are not: every node opens them by the same path or
address. https://docs.ray.io/en/latest/data/batch_inference.html
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset

from training.errors import UserError
from training.score.inputs import CHUNK_PHOTOS, Chunk, Collection, Photo, find_collection
from training.score.local import check_workers, count_rows, log_counts
from training.score.parts import ROW_GROUP
from training.score.rows import ScorerConfig, to_table
from training.score.workers import ScorerProcess

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as error:
    raise UserError(
        f'--engine ray needs Ray ({error}): `pip install "ray[data]"`, here and on every node.'
    ) from error

PACKAGES = [str(Path(__file__).parents[2] / name) for name in ("training", "space")]


def score_on_ray(
    where: str,
    output: Path,
    *,
    model: str | None = None,
    split: str | None = None,
    whole_picture: bool = False,
    provenance: bool = False,
    workers: int | None = None,
    address: str | None = None,
) -> None:
    """Score a collection of files; the rows are in any order.

    If a process or a node dies, another one repeats its work (Ray Data restarts actors without
    limit). Rows that the dead one did not hand over do not count, so none is lost or doubled.

    Args:
        where: see `find_collection`; no dataset. Every node must be able to open the same paths.
        output: folder to create for Parquet files; its name ends in `.parquet`, and every node can
            write there. It appears when all files are complete.
        model: see `score`; a folder must be on every node.
        split: see `find_collection`; an input with one is a dataset.
        whole_picture: see `score`.
        provenance: see `score`.
        workers: number of processes in the cluster, by default one per core.
        address: address of the cluster; by default `RAY_ADDRESS`, or else Ray is started here.

    Raises:
        UserError: the input, the model or the output cannot be used, or the job failed.
    """
    check_workers(workers)
    if output.suffix != ".parquet":
        raise UserError(f"--output {output} does not end in .parquet: Ray writes nothing else.")
    if output.exists():
        raise UserError(f"{output} exists already: remove it or give another --output.")
    config = ScorerConfig.read(model, whole_picture=whole_picture, provenance=provenance)
    collection = find_collection(where, split)
    if not collection.in_files:
        raise UserError(f"{where} is a dataset: --engine ray takes folders, globs and lists.")
    start = time.monotonic()
    try:
        with _connected(address), _appearing(output) as folder:
            _write_rows(collection, config, workers, folder)
    except (RayError, ConnectionError) as error:
        raise UserError(f"The job on Ray failed{_reason(error)}") from error
    counts = _count(output) + Counter(photo=collection.total)
    log_counts(output, config.judged, counts, counts, time.monotonic() - start)


class RayScorer:
    """An actor of the cluster, which runs one scorer process."""

    def __init__(self, config: ScorerConfig) -> None:
        # If a photo killed the actor itself, Ray would retry its batch forever.
        self._process = ScorerProcess(config)
        self._schema = config.schema

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Return the rows of a batch of photos, given by their `name` and `source`."""
        photos = [Photo(row["name"], row["source"]) for row in batch.to_pylist()]
        return to_table(self._process.score(Chunk(0, photos)), self._schema)


def _write_rows(
    collection: Collection, config: ScorerConfig, workers: int | None, folder: Path
) -> None:
    photos = [{"name": name, "source": _everywhere(path)} for name, path in collection.photos()]
    blocks = -(-len(photos) // CHUNK_PHOTOS)
    cores = int(ray.cluster_resources().get("CPU", 1))
    rows = ray.data.from_items(photos, override_num_blocks=blocks).map_batches(
        RayScorer,
        fn_constructor_args=(config,),
        batch_size=CHUNK_PHOTOS,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers or cores, blocks)),
        num_cpus=1,
    )
    # Writing reserves no core: the actors may occupy them all.
    rows.write_parquet(str(folder), min_rows_per_file=ROW_GROUP, ray_remote_args={"num_cpus": 0})


def _reason(error: Exception) -> str:
    """Return the end of an error message: our own error if one ended the job (Ray passes on only
    its text)."""
    match = re.search(rf"^{UserError.__module__}\.UserError: (.+)$", str(error), re.MULTILINE)
    if match:
        return f": {match[1]}"
    return f" ({type(error).__name__}): look at the messages above, then run it again."


def _everywhere(path: str) -> str:
    """Return a path that is valid in processes with another working directory."""
    return path if "://" in path else os.path.abspath(path)


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    ray.init(
        address=address,
        runtime_env={"py_modules": PACKAGES},
        logging_level="WARNING",
        log_to_driver=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _appearing(output: Path) -> Iterator[Path]:
    """Yield a folder that gets its name when the block ends without an error."""
    partial = output.absolute().with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _count(output: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for batch in pyarrow.dataset.dataset(output, format="parquet").to_batches():
        counts += count_rows(batch)
    return counts
