"""Where a detector fails, in words and counts: no photo is shown, as none may be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from training.data.sources import lookup
from training.measure.markdown import show_rate
from training.measure.tier_tables import REASONS
from training.measure.tiers import TIERS

# What is told, in this order: from which share of the photos on, and of how many sources at most.
LEAST = {"real_called_fake": 0.01, "fake_called_real": 0.05, "missed": 0.8}
MOST = 4


def failures(figures: Mapping) -> list[str]:
    """Return a sentence for each of the worst failures by source: real photos called fake, fakes
    called real, and fakes of which few are found, the largest share first.

    Args:
        figures: what `training.measure.served.served_figures` found.
    """
    found = list(_of_sources(figures.get("tiers", {})))
    told = []
    for name, least in LEAST.items():
        shares = [(share, text) for kind, share, text in found if kind == name and share >= least]
        told += [text for _, text in sorted(shares, key=lambda one: -one[0])[:MOST]]
    return told


def failures_list(figures: Mapping) -> str:
    """Return the sentences of `failures` as a Markdown list; empty where there are none."""
    return "\n".join(f"- {sentence}" for sentence in failures(figures))


def _of_sources(tiers: Mapping) -> Iterator[tuple[str, float, str]]:
    """Yield what failed, its share, and what to say of it, for each source of each tier."""
    for tier, of_tier in tiers.items():
        for name, of in of_tier["by_source"].items():
            where = f"{lookup(name).title}, {TIERS[tier]}"
            accused = of["real_called_fake"]
            if accused["photos"]:
                text = f"{where}: {show_rate(accused)} of the real photos are called fake."
                yield "real_called_fake", accused["value"], text
            if of["fake_called_fake"]["photos"]:
                yield from _of_fakes(where, lookup(name).fakes, of)


def _of_fakes(where: str, kind: str, of: Mapping) -> Iterator[tuple[str, float, str]]:
    found, mistaken = of["fake_called_fake"], of["fake_called_real"]
    kind = f" They are {kind}." if kind else ""
    text = f"{where}: {show_rate(mistaken)} of the fakes are called real.{kind}"
    yield "fake_called_real", mistaken["value"], text
    left = found["photos"] - found["hits"] - mistaken["hits"]
    reasons = [f"{REASONS.get(name, name)} {number}" for name, number in of["reasons"].items()]
    why = f" (of all its photos: {', '.join(reasons)})" if reasons else ""
    text = f"{where}: only {show_rate(found)} of the fakes are called fake; {left} get no verdict"
    yield "missed", 1 - found["value"], f"{text}{why}.{kind}"
