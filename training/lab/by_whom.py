"""Measure whom a network accuses: `python -m training.lab.by_whom RUN --bona-fide utk=FOLDER`.

A model cannot be measured on photos that it learned from. So `RUN` is an exported run of the same
recipe that left out the photos labelled by whom they show and the fakes made from them
(`train --set leave_out=utk,latent`). `evaluate --report` then reports these figures for models that
were trained on the same prepared folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from space.detector import Detector
from training.errors import UserError
from training.fit.history import read_history
from training.folders import write_json
from training.measure.answers import ORIGINAL
from training.measure.demographics import RESULTS, by_whom
from training.measure.evaluate import exported, made_with
from training.measure.foreign import read_elsewhere
from training.measure.served import judge_elsewhere
from training.measure.tier_tables import whom_sentences, whom_table
from training.run import Run, locate_data


def measure(run: Path, data: Path, bona_fide: str) -> dict:
    """Judge real photos with the export of a run that never saw them, and return the figures.

    Args:
        run: the run.
        data: the prepared folder that it was trained on.
        bona_fide: `NAME=FOLDER` of the photos.

    Returns:
        What `training.measure.demographics.read_by_whom` reads.

    Raises:
        UserError: the run was not exported, was trained on other data, or learned from all of
            these photos.
    """
    trained = Run.open(run)
    trained.check_data(data)
    detector = Detector(exported(run))
    elsewhere = read_elsewhere((), [bona_fide], made_with(detector, data, "test"))
    answers = judge_elsewhere(detector, elsewhere, [])[ORIGINAL]
    settings = trained.settings
    network = {
        "photos": len(read_history(run)) * settings["epoch_photos"],
        "input_size": settings["input_size"],
        "left_out": settings["leave_out"].split(","),
    }
    by_trait = by_whom(elsewhere.traits, [photo.group for photo in elsewhere.photos], answers)
    return {
        "data_fingerprint": trained.fingerprint,
        "figures": {"by_whom": by_trait, "by_whom_network": network},
    }


def main() -> int:
    """Measure, write the results and print them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="that left the photos out, exported")
    parser.add_argument("--bona-fide", required=True, metavar="NAME=FOLDER", help="the photos")
    parser.add_argument("--data", type=Path, help="that the run was trained on, if it was moved")
    parser.add_argument("--output", type=Path, default=RESULTS, help="file to write")
    options = parser.parse_args()
    try:
        data = locate_data(options.run, options.data)
        results = measure(options.run, data, options.bona_fide)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    write_json(options.output, results)
    print(whom_table(results["figures"]), whom_sentences(results["figures"]), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
