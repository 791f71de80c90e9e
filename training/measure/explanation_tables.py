"""Tables of what `training.measure.explain.explain_test` found, and the names of the maps in it."""

from __future__ import annotations

from collections.abc import Mapping

from training.measure.markdown import markdown_table, show

SERVED, PRIOR = "grad_cam", "centre"  # names of the maps that the others are compared with
TITLES = {
    SERVED: "heatmap as served",
    PRIOR: "centre of the face",
    "random": "noise",
    "random_weights": "heatmap, random weights",
}
COLUMNS = {
    "pointing": "pointing game",
    "pointing_called_fake": "where called fake",
    "lead_over_centre": "ahead of the centre",
    "iou": "IoU",
    "energy": "energy inside",
}
KINDS = {"pair": "differs from its original", "box": "boxes of replaced parts"}


def explanation_table(results: Mapping) -> str:
    """Return what `explain_test` found as two Markdown tables."""
    rows = [
        (KINDS[kind], TITLES[name], *(show(of[figure]) for figure in COLUMNS))
        for kind, by_map in results["localisation"].items()
        for name, of in by_map.items()
    ]
    head = ("mask", "map", *COLUMNS.values())
    curves = [
        (TITLES[name], show(of["insertion_area"]), show(of["deletion_area"]))
        for name, of in results["curves"].items()
    ]
    curves_head = ("map", "insertion (higher is better)", "deletion (lower is better)")
    return f"{markdown_table(head, rows)}\n\n{markdown_table(curves_head, curves)}"
