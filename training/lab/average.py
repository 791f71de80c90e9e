"""Average the weights of two runs: `python -m training.lab.average FIRST SECOND --output RUN`.

Where the second started from the first, or both from the same network, the mean is often better
than either (model soups; Wortsman et al. 2022, https://arxiv.org/abs/2203.05482). The result is a
run folder like any other, to be exported and measured. It keeps the settings, history and data of
the second run.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np

from training.config import CONFIG, FINAL, LAST
from training.errors import UserError
from training.fit.history import HISTORY
from training.fit.train import CURVES, LEGACY
from training.folders import replaced_folder, sha256_of
from training.run import DATA_NOTE, Run

log = logging.getLogger(__name__)


def average(
    first: Path, second: Path, output: Path, share: float = 0.5, *, last: bool = False
) -> Path:
    """Write a run folder whose weights are the mean of two runs' weights, and return it.

    Args:
        first: folder of a finished run.
        second: folder of another, whose settings are kept.
        output: folder to write.
        share: weight of the second run, 0 to 1.
        last: take the second run's network of the last epoch, not that of the best.

    Raises:
        UserError: a run is unfinished, networks or data differ, or the share is out of range.
    """
    if not 0 <= share <= 1:
        raise UserError(f"--share {share} is out of range: give a value from 0 to 1.")
    runs = [Run.open(folder) for folder in (first, second)]
    if runs[0].fingerprint != runs[1].fingerprint:
        raise UserError(
            f"{first} and {second} were trained on different data: average runs on the same data."
        )
    names = (FINAL, LAST if last else FINAL)
    networks = [run.network(name) for run, name in zip(runs, names, strict=True)]
    weights = [network.get_weights() for network in networks]
    if [array.shape for array in weights[0]] != [array.shape for array in weights[1]]:
        raise UserError(
            f"{first} and {second} have networks with different layers: average like with like."
        )
    networks[1].set_weights([_mean(*pair, share) for pair in zip(*weights, strict=True)])
    with replaced_folder(output, CONFIG) as folder:
        for name in (HISTORY, CURVES, DATA_NOTE):
            shutil.copy(second / name, folder / name)
        for name in (LEGACY, FINAL):
            networks[1].save(folder / name)
        _note(runs, names, (1 - share, share), folder)
    return output


def _mean(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return the mean of two weights; integer states of random generators are not averaged."""
    is_float = np.issubdtype(first.dtype, np.floating)
    return (1 - share) * first + share * second if is_float else second


def _note(
    runs: list[Run], names: tuple[str, str], shares: tuple[float, float], folder: Path
) -> None:
    """Write the settings of the second run, with a note of what was averaged."""
    stored = json.loads((runs[1].path / CONFIG).read_text())
    stored["averaged"] = [
        {"run": run.path.name, "sha256": sha256_of(run.path / name), "share": share}
        for run, name, share in zip(runs, names, shares, strict=True)
    ]
    (folder / CONFIG).write_text(json.dumps(stored, indent=2) + "\n")


def main() -> int:
    """Average two runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("first", type=Path, help="folder of a finished run")
    parser.add_argument("second", type=Path, help="of another, whose settings are taken")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1")
    parser.add_argument(
        "--last", action="store_true", help="the second as it was at the end, not in its best epoch"
    )
    options = parser.parse_args()
    arguments = (options.first, options.second, options.output, options.share)
    try:
        folder = average(*arguments, last=options.last)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder / FINAL}: written.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
