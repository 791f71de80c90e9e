"""Measure speed, memory and the cost of scoring: `python -m training benchmark`.

Candidates take turns within one run, so that all of them see the same state of the machine.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from training.folders import write_json
from training.lab.benchmark_growth import measure_growth, memory_rows, plot_growth, speed_rows
from training.lab.benchmark_network import networks_table, time_networks, time_training
from training.lab.benchmark_page import page_table, time_page
from training.lab.benchmark_photo import photos_table, time_photos
from training.measure.markdown import markdown_table

RUNS = 30
TRAINING_RUNS = 5

log = logging.getLogger(__name__)


def benchmark(
    output: Path | None = None, *, growth: bool = False, plot: Path | None = None
) -> dict:
    """Time the bundled model, the page and training.

    Args:
        output: JSON file to write the figures into.
        growth: also score collections of up to 100,000 photos, which takes a quarter of an hour.
        plot: image file to draw the growth into.

    Returns:
        A JSON-compatible dict: `machine`, and `network`, `photo`, `page`, `training` and `growth`
        as returned by `time_networks`, `time_photos`, `time_page`, `time_training` and
        `measure_growth`.

    Raises:
        RuntimeError: a page did not start, or a collection could not be scored.
    """
    cores = os.cpu_count() or 1
    figures = {
        "machine": {"architecture": platform.machine(), "cores": cores},
        "network": time_networks(RUNS),
        "photo": time_photos(RUNS),
        "page": time_page(),
        "training": time_training(TRAINING_RUNS),
    }
    if growth:
        figures["growth"] = measure_growth(sorted({1, cores, cores + 1}))
        if plot:
            plot_growth(figures["growth"], plot)
    if output:
        write_json(output, figures)
    log.info("%s, %d cores.\n\n%s", platform.machine(), cores, "\n\n".join(tables(figures)))
    return figures


def tables(figures: Mapping) -> list[str]:
    """Return the figures as Markdown tables, with the sentence that some of them need."""
    parts = [
        limit_sentence(figures["network"]),
        networks_table(figures["network"]),
        photos_table(figures["photo"]),
        page_table(figures["page"]),
        training_table(figures["training"]),
    ]
    if "growth" in figures:
        parts += [speed_rows(figures["growth"]), memory_rows(figures["growth"])]
    return parts


def limit_sentence(figures: Mapping) -> str:
    """Return a sentence about the network's limit on this machine."""
    rates = ", ".join(
        f"{rate:.0f} GFLOP/s with {threads} thread{'s' if int(threads) > 1 else ''} "
        f"({1000 * figures['gflop'] / rate:.1f} ms a photo)"
        for threads, rate in figures["gemm"].items()
    )
    return (
        f"The network takes {figures['gflop']:.2f} GFLOP for a photo of {figures['side']} px; "
        f"matrices are multiplied at {rates}."
    )


def training_table(figures: Mapping[str, float]) -> str:
    """Return the figures of `time_training` as a Markdown table."""
    rows = [(f"{side} px", f"{rate:.0f}") for side, rate in figures.items()]
    return markdown_table(("side of the photos", "photos a second"), rows)
