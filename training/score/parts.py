"""Collect rows for one file in a folder of parts beside it; each part is written atomically."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from training.errors import UserError
from training.folders import check_replaceable, replaced_folder
from training.score.inputs import Chunk

WRITERS = {".parquet": pq.ParquetWriter, ".csv": pyarrow.csv.CSVWriter}
SETTINGS = "settings.json"
ROW_GROUP = 8192  # rows in memory at once while parts are merged
NAMES = b"names"  # metadata key for the digest of a part's photos


class Parts:
    """The parts of an output. Each holds the rows of one chunk of photos, in their order.

    Attributes:
        output: the file that they are merged into, Parquet or CSV.
        folder: holds the parts until then.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")

    def is_started(self, *, resume: bool) -> bool:
        """Return whether there is an interrupted run.

        Raises:
            UserError: there is one, or an output, and `resume` is false; or there is neither, and
                `resume` is true.
        """
        started = (self.folder / SETTINGS).is_file()
        if not started:
            check_replaceable(self.folder, SETTINGS)
        if started and not resume:
            raise UserError(
                f"{self.folder} holds an interrupted run: add --resume to go on, remove it to "
                "start anew, or give another --output."
            )
        if self.output.exists() and not resume:
            raise UserError(f"{self.output} exists already: remove it or give another --output.")
        if resume and not started and not self.output.exists():
            raise UserError(f"{self.folder} holds nothing to resume: leave out --resume.")
        return started

    def start(self, settings: Mapping[str, object]) -> None:
        """Create the folder."""
        with replaced_folder(self.folder, SETTINGS) as staging:
            (staging / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")

    def check_settings(self, settings: Mapping[str, object]) -> None:
        """Raise `UserError` if the parts were scored with other settings."""
        stored = json.loads((self.folder / SETTINGS).read_text())
        for name, value in json.loads(json.dumps(settings)).items():
            if stored.get(name) != value:
                raise UserError(
                    f"{self.folder} was started with {name} = {stored.get(name)}, not {value}: run "
                    "it with the same input and flags, or give another --output."
                )

    def write(self, chunk: Chunk, table: pa.Table) -> None:
        """Write the rows of a chunk, atomically."""
        path = self._path(chunk.number)
        partial = path.with_name(f".{path.name}.partial")
        pq.write_table(table.replace_schema_metadata({NAMES: _digest(chunk)}), partial)
        partial.replace(path)

    def read(self, chunk: Chunk) -> pa.Table | None:
        """Return the rows of a chunk, or `None` if they are missing.

        Raises:
            UserError: the part holds rows of other photos.
        """
        path = self._path(chunk.number)
        if not path.is_file():
            return None
        table = pq.read_table(path)
        if table.schema.metadata[NAMES] != _digest(chunk):
            raise self._changed()
        return table

    def merge(self, number: int, schema: pa.Schema) -> None:
        """Merge the parts into the output, atomically, and remove them.

        Args:
            number: number of parts.
            schema: columns of the output.

        Raises:
            UserError: there are more parts than `number`.
        """
        if self._path(number).is_file():
            raise self._changed()
        partial = self.output.with_name(f".{self.output.name}.partial")
        with WRITERS[self.output.suffix](partial, schema) as writer:
            for table in self._tables(number):
                writer.write_table(table)
        partial.replace(self.output)
        self.remove()

    def remove(self) -> None:
        """Remove the folder; if that is interrupted, what is left does not count as a run."""
        doomed = self.folder.with_name(f".{self.folder.name}.done")
        shutil.rmtree(doomed, ignore_errors=True)
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    def _tables(self, number: int) -> Iterator[pa.Table]:
        """Yield the rows of all parts in order, in tables of about `ROW_GROUP` rows."""
        tables: list[pa.Table] = []
        for part in range(number):
            tables.append(pq.read_table(self._path(part)).replace_schema_metadata())
            if sum(table.num_rows for table in tables) >= ROW_GROUP:
                yield pa.concat_tables(tables).combine_chunks()
                tables = []
        if tables:
            yield pa.concat_tables(tables).combine_chunks()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:07d}.parquet"

    def _changed(self) -> UserError:
        return UserError(
            f"The input holds other photos than when {self.folder} was started: give it as it was, "
            f"or remove {self.folder.name} and start anew without --resume."
        )


def _digest(chunk: Chunk) -> bytes:
    names = json.dumps([photo.name for photo in chunk.photos])
    return hashlib.sha256(names.encode()).hexdigest().encode()
