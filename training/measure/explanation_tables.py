"""Tables of the results of `training.measure.explain.explain_test`, and the names of its maps."""

from __future__ import annotations

from collections.abc import Mapping

from training.measure.markdown import markdown_table, show

SERVED, PRIOR = "grad_cam", "centre"  # the map under test, and the one to beat
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
    """Return the results of `explain_test` as two Markdown tables."""
    rows = [
        (KINDS[kind], TITLES[name], *(show(figures[column]) for column in COLUMNS))
        for kind, by_map in results["localisation"].items()
        for name, figures in by_map.items()
    ]
    head = ("mask", "map", *COLUMNS.values())
    curves = [
        (TITLES[name], show(areas["insertion_area"]), show(areas["deletion_area"]))
        for name, areas in results["curves"].items()
    ]
    curves_head = ("map", "insertion (higher is better)", "deletion (lower is better)")
    return f"{markdown_table(head, rows)}\n\n{markdown_table(curves_head, curves)}"
