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
    """Return the promise for `detector.json`: `kept`, and `broken`, a sentence for each breach.

    Args:
        figures: what `training.measure.served.served_figures` returned for the test split.
    """
    broken = list(figures.get("promises_broken", ()))
    return {"kept": not broken, "broken": broken}


def broken_promises(tiers: Mapping[str, Mapping]) -> list[str]:
    """Return a sentence for each source whose mistakes exceed the promise by more than chance.

    The exact lower bound of their share must lie above the promised one.

    Args:
        tiers: what `training.measure.tier_figures.tier_figures` returned. Nothing was promised
            about fakes of kinds that the model never saw.
    """
    return [
        f"In “{lookup(source).title}” ({TIERS[tier]}), {rate['hits']} of {rate['photos']} {what} "
        f"({100 * rate['value']:.1f} %; at least {100 * rate['low']:.1f} %), "
        f"where at most {100 * limit:.0f} % {whose}were promised."
        for tier in TIERS
        for source, figures in tiers.get(tier, {}).get("by_source", {}).items()
        for name, (limit, what, whose) in PROMISED.items()
        if (rate := figures[name])["photos"]
        and rate["low"] > limit
        and not (tier == UNSEEN and name == "fake_called_real")
    ]
