"""Tables of what `training.measure.served.served_figures` returns, for report, card and README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from space.contract import strength_names
from training.data.sources import lookup
from training.measure.answers import BETWEEN, NO_FACE, ORIGINAL, UNREADABLE
from training.measure.markdown import markdown_table, show, show_rate
from training.measure.tiers import ORDINARY, TIERS

LEVEL = 0.05  # of significance, in the corrected tests of equality between people
REASONS = {
    BETWEEN: "probability between the thresholds",
    NO_FACE: "no face found",
    UNREADABLE: "file not readable",
    "cut": "face cut by the border",
    "too_small": "face too small",
    "too_dark": "face too dark",
    "blurred": "face too blurred",
}


def accusations_table(figures: Mapping) -> str:
    """Return how many real photos are called fake, by tier and source, as a Markdown table.

    It has a column for the photos as they are and one for each change. Empty if not measured.
    """
    return _changes_table(figures, "real_called_fake", "real photos called fake")


def found_table(figures: Mapping) -> str:
    """Return the same for fakes called fake."""
    return _changes_table(figures, "fake_called_fake", "fakes called fake")


def tiers_table(figures: Mapping) -> str:
    """Return the main figures of each tier, a column each, as a Markdown table."""
    tiers = figures.get("tiers", {})
    if not tiers:
        return ""
    rates = {
        "real_called_fake": "real photos called fake",
        "fake_called_fake": "fakes called fake",
        "fake_called_real": "fakes called real",
        "abstained": "no verdict",
    }
    estimates = {
        "roc_auc": "ROC AUC",
        "equal_error_rate": "equal error rate",
        "cllr": "cost of the likelihood ratios (Cllr), bits",
        "minimum_cllr": "the same, calibrated on these photos (minimum Cllr)",
    }
    rows = [
        (title, *(show_rate(tier_figures[name]) for tier_figures in tiers.values()))
        for name, title in rates.items()
    ]
    rows += [
        (title, *(_shown(tier_figures, name) for tier_figures in tiers.values()))
        for name, title in estimates.items()
    ]
    return markdown_table(("figure (95 % bounds)", *(TIERS[tier] for tier in tiers)), rows)


def caveats(figures: Mapping) -> list[str]:
    """Return what must precede all figures, a sentence each.

    These are the broken promises, and the photos about which the score is no evidence.
    """
    sentences = []
    if broken := figures.get("promises_broken"):
        breaches = " ".join(broken)
        sentences.append(
            f"**Not calibrated: its thresholds promise more than they keep.** {breaches}"
        )
    for tier, tier_figures in figures.get("tiers", {}).items():
        cost = tier_figures.get("cllr", {}).get("value")
        if cost is not None and cost >= 1:
            sentences.append(
                f"**No evidence about {TIERS[tier]}.** There the likelihood ratios cost {cost:.2f} "
                "bits; no answer at all costs 1."
            )
    return sentences


def strengths_table(figures: Mapping) -> str:
    """Return how many photos have evidence of each strength as a Markdown table.

    It has a column for each label and tier. Empty if not measured.
    """
    columns = {
        f"{label}, {TIERS[tier]}": counts
        for tier, tier_figures in figures.get("tiers", {}).items()
        for label, counts in tier_figures.get("strengths", {}).items()
        if counts
    }
    rows = [
        (name, *(counts.get(name, 0) for counts in columns.values()))
        for name in strength_names()
        if any(name in counts for counts in columns.values())
    ]
    return markdown_table(("evidence", *columns), rows) if rows else ""


def reasons_sentences(figures: Mapping) -> str:
    """Return why photos got no verdict, a sentence for each tier."""
    return " ".join(
        f"Of {rates['abstained']['photos']} photos ({TIERS[tier]}) "
        f"{rates['abstained']['hits']} got no verdict{_listed(rates['reasons'])}."
        for tier, rates in figures.get("tiers", {}).items()
    )


def stability_table(figures: Mapping) -> str:
    """Return how harmless changes move verdicts as a Markdown table; empty if not measured."""
    rows = [
        (
            name,
            show_rate(row["flipped"]),
            show_rate(row["reversed"]),
            *("" if row[size] is None else f"{row[size]:.2f}" for size in ("median", "largest")),
        )
        for name, row in figures.get("stability", {}).items()
    ]
    head = ("change", "another verdict", "real and fake swapped")
    head += ("median change of log10 LR", "largest")
    return markdown_table(head, rows) if rows else ""


def whom_table(figures: Mapping) -> str:
    """Return mistakes on real photos by people shown as a Markdown table; empty if unknown."""
    rows = [
        (trait, value, show_rate(rates["called_fake"]), show_rate(rates["abstained"]))
        for trait, results in figures.get("by_whom", {}).items()
        for value, rates in results["values"].items()
    ]
    return markdown_table(("by", "people", "called fake", "no verdict"), rows) if rows else ""


def whom_sentences(figures: Mapping) -> str:
    """Return what the tests of equality say, a sentence for each."""
    outcomes = {"called_fake": "called fake", "abstained": "left without a verdict"}
    sentences = [
        f"By {trait}, real photos are {outcomes[name]} "
        f"{'more often for some than for others' if row['corrected'] < LEVEL else 'about as often'}"
        f" (p {row['corrected']:.3f} after Holm's correction)."
        for trait, results in figures.get("by_whom", {}).items()
        for name, row in results["tests"].items()
    ]
    used = figures.get("by_whom_trained_on")
    if not sentences and used:
        return (
            f"Not measured: all {used} photos that tell whom they show went into the making of the "
            "model, and what it says of them tells nothing of others."
        )
    if sentences and "by_whom_network" in figures:
        sentences.insert(0, _whose_answers(figures["by_whom_network"]))
    return " ".join(sentences)


def _whose_answers(network: Mapping) -> str:
    names = " and ".join(lookup(name).title for name in network["left_out"])
    return (
        "The model itself learned from these photos, so these are the answers of another network, "
        f"trained by the same recipe without {names}, on {network['photos']} photos at "
        f"{network['input_size']} px."
    )


def _changes_table(figures: Mapping, name: str, title: str) -> str:
    tiers = figures.get("tiers", {})
    changes = list(next(iter(tiers.values()))["changed"]) if tiers else []
    rows = [
        (
            row_title,
            show_rate(rates[name]),
            *(_after(rates["changed"][change], name) for change in changes),
        )
        for row_title, rates in _tiers_and_sources(tiers)
        if rates[name]["photos"]
    ]
    return markdown_table((title, ORIGINAL, *changes), rows) if rows else ""


def _tiers_and_sources(tiers: Mapping) -> Iterator[tuple[str, Mapping]]:
    for tier, tier_figures in tiers.items():
        yield f"**{TIERS[tier]}**", tier_figures
        for source, source_figures in tier_figures["by_source"].items():
            # Readers take “ordinary photos” for photos of sets that the model never saw.
            known = tier == ORDINARY and source_figures.get("trained_on")
            yield lookup(source).title + ("; others trained on" if known else ""), source_figures


def _after(changed: Mapping, name: str) -> str:
    return show_rate(changed[name]) if changed["photos"] else "none is larger"


def _shown(figures: Mapping, name: str) -> str:
    return show(figures[name]) if name in figures else "not defined"


def _listed(reasons: Mapping[str, int]) -> str:
    parts = [f"{REASONS.get(reason, reason)} {number}" for reason, number in reasons.items()]
    return f" ({', '.join(parts)})" if parts else ""
