"""Markdown tables, and figures with their intervals in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def show(estimate: Mapping[str, float | None]) -> str:
    """Return a figure with its interval for a table."""
    if estimate["value"] is None:
        return "not defined"
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Return a Markdown table without a line break at its end."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
