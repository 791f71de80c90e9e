"""Where a detector fails, in words and counts, because no photo may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from training.data.sources import lookup
from training.measure.markdown import show_rate
from training.measure.tier_tables import REASONS
from training.measure.tiers import TIERS

# What is reported, in this order: the least share of photos, and the largest number of sources.
LEAST = {"real_called_fake": 0.01, "fake_called_real": 0.05, "missed": 0.8}
MOST = 4


def failures(figures: Mapping) -> list[str]:
    """Return a sentence for each of the worst failures by source, the largest share first.

    Failures are real photos called fake, fakes called real, and fakes that are rarely found.

    Args:
        figures: what `training.measure.served.served_figures` returned.
    """
    rows = list(_of_sources(figures.get("tiers", {})))
    sentences = []
    for name, least in LEAST.items():
        shares = [(share, text) for kind, share, text in rows if kind == name and share >= least]
        sentences += [text for _, text in sorted(shares, key=lambda pair: -pair[0])[:MOST]]
    return sentences


def failures_list(figures: Mapping) -> str:
    """Return the sentences of `failures` as a Markdown list; empty where there are none."""
    return "\n".join(f"- {sentence}" for sentence in failures(figures))


def _of_sources(tiers: Mapping) -> Iterator[tuple[str, float, str]]:
    """Yield the kind of failure, its share and a sentence, for each source of each tier."""
    for tier, tier_figures in tiers.items():
        for name, rates in tier_figures["by_source"].items():
            where = f"{lookup(name).title}, {TIERS[tier]}"
            accused = rates["real_called_fake"]
            if accused["photos"]:
                text = f"{where}: {show_rate(accused)} of the real photos are called fake."
                yield "real_called_fake", accused["value"], text
            if rates["fake_called_fake"]["photos"]:
                yield from _of_fakes(where, lookup(name).fakes, rates)


def _of_fakes(where: str, kind: str, rates: Mapping) -> Iterator[tuple[str, float, str]]:
    found, mistaken = rates["fake_called_fake"], rates["fake_called_real"]
    kind = f" They are {kind}." if kind else ""
    text = f"{where}: {show_rate(mistaken)} of the fakes are called real.{kind}"
    yield "fake_called_real", mistaken["value"], text
    undecided = found["photos"] - found["hits"] - mistaken["hits"]
    reasons = [f"{REASONS.get(name, name)} {number}" for name, number in rates["reasons"].items()]
    why = f" (of all its photos: {', '.join(reasons)})" if reasons else ""
    text = (
        f"{where}: only {show_rate(found)} of the fakes are called fake; {undecided} get no verdict"
    )
    yield "missed", 1 - found["value"], f"{text}{why}.{kind}"
