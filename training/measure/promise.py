"""What the thresholds promise, and whether the test photos keep it."""

from __future__ import annotations

from collections.abc import Mapping

from training.data.sources import lookup
from training.measure.tiers import TIERS, UNSEEN

MAX_REAL_CALLED_FAKE, MAX_FAKE_CALLED_REAL = 0.02, 0.05  # of new photos
PROMISED = {
    "real_called_fake": (MAX_REAL_CALLED_FAKE, "real photos are called fake", ""),
    "fake_called_real": (MAX_FAKE_CALLED_REAL, "fakes are called real", "of all fakes together "),
}


def promise_of(figures: Mapping) -> dict:
    """Return what `detector.json` says of the promise: `kept`, and `broken`, a sentence each.

    Args:
        figures: what `training.measure.served.served_figures` found on the test split.
    """
    broken = list(figures.get("promises_broken", ()))
    return {"kept": not broken, "broken": broken}


def broken_promises(tiers: Mapping[str, Mapping]) -> list[str]:
    """Return a sentence for each source whose share of mistakes lies above what the thresholds
    promise by more than chance: the exact lower bound does.

    Args:
        tiers: what `training.measure.tier_figures.tier_figures` found. Nothing was promised about
            fakes of kinds that the model never saw.
    """
    return [
        f"In “{lookup(source).title}” ({TIERS[tier]}), {of['hits']} of {of['photos']} {what} "
        f"({100 * of['value']:.1f} %; at least {100 * of['low']:.1f} %), "
        f"where {100 * limit:.0f} % {whose}were promised."
        for tier in TIERS
        for source, figures in tiers.get(tier, {}).get("by_source", {}).items()
        for name, (limit, what, whose) in PROMISED.items()
        if (of := figures[name])["photos"]
        and of["low"] > limit
        and not (tier == UNSEEN and name == "fake_called_real")
    ]
