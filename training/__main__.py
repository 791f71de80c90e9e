"""The way from photos to a detector: `python -m training run`, or verb by verb with `python -m training VERB --help`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
import typing
from pathlib import Path

from training.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit code."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
