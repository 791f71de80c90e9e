"""Look for leaks in a set of photos: `python -m training audit DATA [--output FILE]`.

A leak is anything that reveals the label but is no trace of the edit: how the files were encoded,
what surrounds the face, how the face is framed, or a photo in both training and test. A detector
that reads a leak scores well on its own set and fails everywhere else (shortcut learning, Geirhos
et al. 2020, https://arxiv.org/abs/2004.07780), so no check looks at the face itself. The fakes that
training makes from a prepared folder are checked as well.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from training.folders import write_json
from training.measure.audit.checks import (
    SEED,
    Check,
    check_border,
    check_byte_duplicates,
    check_framing,
    check_groups,
    check_metadata,
    check_perceptual_duplicates,
    check_shuffled,
)
from training.measure.audit.drawn import check_batches, check_composites
from training.measure.audit.traces import FOLDS, PhotoSet, read_photos
from training.measure.markdown import markdown_table, show
from training.measure.metrics import SAMPLES

OUTPUT = "audit.json"

log = logging.getLogger(__name__)


def audit(data: Path, output: Path | None = None, *, samples: int = SAMPLES) -> dict:
    """Look for leaks in a set of photos, log a table of the findings and return them.

    Args:
        data: folder that `prepare` wrote, or any folder with real and fake photos, where the audit
            searches for the fakes' sources. Without splits, duplicates are no leak: `prepare` keeps
            them together.
        output: JSON file to write; without it, only a prepared folder gets an `audit.json`.
        samples: number of bootstrap samples of the intervals.

    Returns:
        JSON-serialisable: `photos`, `fakes`, `groups`, `prepared`, `unreadable` (names), `seed`,
        `folds`, `bootstrap_samples`, and `checks`, a `Check` as a dict by name. Without splits,
        there is no check of groups across splits or of what training draws; without landmarks, none
        of composites.

    Raises:
        UserError: there are no photos, fewer than 20, or fewer than 5 groups of a label.
    """
    data = Path(data)
    photos = read_photos(data)
    checks = _checks(data, photos, samples)
    if photos.splits:
        output = output or data / OUTPUT
    results = {
        "photos": len(photos.names),
        "fakes": int(photos.truth.sum()),
        "groups": len(set(photos.groups)),
        "prepared": bool(photos.splits),
        "unreadable": photos.unreadable,
        "seed": SEED,
        "folds": FOLDS,
        "bootstrap_samples": samples,
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    for line in audit_table(results).splitlines():
        log.info(line)
    if output:
        write_json(Path(output), results)
        log.info("Written to %s.", output)
    return results


def _checks(data: Path, photos: PhotoSet, samples: int) -> dict[str, Check]:
    checks = {
        "metadata": check_metadata(photos, samples),
        "border": check_border(photos, samples),
        "framing": check_framing(photos, samples),
        "shuffled": check_shuffled(photos),
    }
    if photos.splits:
        composites = check_composites(data, photos, samples)
        if composites:
            checks["composites"] = composites
        checks |= check_batches(data, photos, samples)
        checks["groups_across_splits"] = check_groups(photos)
    checks["byte_duplicates"] = check_byte_duplicates(photos)
    checks["perceptual_duplicates"] = check_perceptual_duplicates(photos)
    return checks


def found_leak(results: dict) -> bool:
    """Return whether a check of an audit found a leak."""
    return any(check["leak"] for check in results["checks"].values())


def audit_table(results: dict) -> str:
    """Return the findings of an audit as a Markdown table."""
    rows = []
    for name, check in results["checks"].items():
        figures = check["figures"]
        figure = f"AUC {show(figures['roc_auc'])}" if "roc_auc" in figures else figures["count"]
        leak = "yes" if check["leak"] else "no"
        rows.append((name.replace("_", " "), figure, leak, check["finding"]))
    return markdown_table(("check", "figure (95 % interval)", "leak", "finding"), rows)
