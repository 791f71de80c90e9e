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


def show_change(change: Mapping[str, float]) -> str:
    """Return a difference with its interval for a table."""
    return f"{change['value']:+.3f} ({change['low']:+.3f} to {change['high']:+.3f})"


def show_rate(found: dict[str, int | float | None]) -> str:
    """Return a `rate` for a table: “3 of 460 (0.7 %; 0.1 to 1.9 %)”."""
    if not found["photos"]:
        return "none there"
    value, low, high = (100 * found[name] for name in ("value", "low", "high"))
    return f"{found['hits']} of {found['photos']} ({value:.1f} %; {low:.1f} to {high:.1f} %)"
