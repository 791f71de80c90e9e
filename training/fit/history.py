"""A run's figures by epoch: `history.csv`, as Keras' `CSVLogger` writes it."""

from __future__ import annotations

import csv
from pathlib import Path

from training.folders import replaced_file

HISTORY = "history.csv"


def read_history(run: Path) -> list[dict[str, float]]:
    """Return the figures of a run's epochs so far."""
    path = Path(run) / HISTORY
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def trim_history(run: Path, epochs: int) -> None:
    """Drop the line of an epoch that was logged but not backed up."""
    path = run / HISTORY
    if path.is_file():
        lines = path.read_text().splitlines(keepends=True)
        with replaced_file(path) as partial:
            partial.write_text("".join(lines[: epochs + 1] if epochs else []))
