"""Put verdicts into words, symbols and bars, for photos and clips alike.

`contract.py` and `quality.py` decide the verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

if __package__:
    from .contract import (
        REASONS,
        DetectorConfig,
        likelihood_ratio,
        strength_of_evidence,
        verdict_at,
    )
    from .judgements import Judgement
    from .people import Person
    from .score_meaning import meaning_of
else:
    from contract import (
        REASONS,
        DetectorConfig,
        likelihood_ratio,
        strength_of_evidence,
        verdict_at,
    )
    from judgements import Judgement
    from people import Person
    from score_meaning import meaning_of

# Words for programs.
VERDICTS = {"fake": "Likely fake", "real": "Likely real", "inconclusive": "Inconclusive"}
# Words for people: they say what was found, not what the photo is.
WORDS = {"real": "No signs found", "inconclusive": "Cannot tell", "fake": "Signs of manipulation"}
SYMBOLS = {"fake": "▲", "real": "●", "inconclusive": "◆"}  # colours alone are not enough
URGENCY = ("fake", "inconclusive", "real")
ADVICE = {  # by the keys of `REASONS`
    "cut": "Try a picture that shows the whole face.",
    "too_small": "Try a larger copy of the picture.",
    "too_dark": "Try a lighter copy.",
    "blurred": "Try a sharper copy.",
    "seen_too_little": "Try a longer part of the clip.",
}
BETWEEN = (
    "Scores like this come from real and from manipulated faces: to call it either would be wrong "
    "too often."
)
NO_PROOF = (
    "This is not proof. The model can be wrong either way, and says nothing about the person shown."
)


def headline(verdicts: Sequence[str], thing: str = "face") -> str:
    """Return the answer about some faces, people or photos in plain words.

    Args:
        verdicts: of each.
        thing: what they are: `"face"`, `"person"`, `"photo"` or `"picture"`.
    """
    counts = {verdict: verdicts.count(verdict) for verdict in URGENCY}
    total, things = len(verdicts), "people" if thing == "person" else f"{thing}s"
    if total == 1:
        return {
            "fake": f"Signs of manipulation in this {thing}",
            "real": f"No signs of manipulation in this {thing}",
            "inconclusive": f"The model cannot tell about this {thing}",
        }[verdicts[0]]
    if counts["fake"] == total:
        return f"Signs of manipulation in all {total} {things}"
    if counts["fake"]:
        return f"Signs of manipulation in {counts['fake']} of {total} {things}"
    if counts["real"] == total:
        return f"No signs of manipulation in any of {total} {things}"
    if counts["inconclusive"] == total:
        return f"The model cannot tell about any of {total} {things}"
    return (
        f"No signs of manipulation in {counts['real']} of {total} {things}; the model cannot tell "
        f"about {counts['inconclusive']}"
    )


def urgency(verdict: str, reason: str | None, probability: float) -> tuple:
    """Return a sort key: most suspicious first; within a verdict, those with a reason last."""
    return URGENCY.index(verdict), reason is not None, -probability


def by_urgency(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Return judgements with the most suspicious first."""
    return sorted(
        judgements,
        key=lambda judgement: urgency(
            judgement.prediction.verdict, judgement.reason, judgement.prediction.probability
        ),
    )


def by_urgency_of_people(people: Sequence[Person]) -> list[Person]:
    """Return people with the most suspicious first."""
    return sorted(
        people, key=lambda person: urgency(person.verdict, person.reason, person.probability)
    )


def badge(verdict: str) -> str:
    """Return a verdict's words with its symbol."""
    return (
        f'<span class="badge {verdict}"><span aria-hidden="true">{SYMBOLS[verdict]}</span> '
        f"{WORDS[verdict]}</span>"
    )


def explain(verdict: str, reason: str | None, probability: float, config: DetectorConfig) -> str:
    """Return the bar and the sentences that explain a verdict about a face of a photo.

    Args:
        verdict: about the face.
        reason: why it gets no verdict: a key of `REASONS`, or `None`.
        probability: of fake.
        config: of the model.
    """
    if reason:
        return explain_reason(reason)
    sentences = [BETWEEN] if verdict == "inconclusive" else []
    sentences.append(_meaning(verdict, probability, config))
    text = "".join(f"<p>{sentence}</p>" for sentence in sentences if sentence)
    return zone_bar(probability, config.thresholds) + text


def explain_person(person: Person, config: DetectorConfig) -> str:
    """Return the bar and the sentences that explain a verdict about a person of a clip.

    What scores meant was measured on photos, and does not apply to clips.
    """
    if person.reason:
        return explain_reason(person.reason)
    text = f"<p>{BETWEEN}</p>" if person.verdict == "inconclusive" else ""
    return zone_bar(person.probability, config.thresholds) + text


def explain_reason(reason: str) -> str:
    """Return why a face gets no verdict, and what would help."""
    return f'<p class="reason"><strong>{REASONS[reason]}</strong> {ADVICE.get(reason, "")}</p>'


def weight_of(probability: float, config: DetectorConfig) -> str:
    """Return a score's likelihood ratio, its strength in words, and how to use it.

    Args:
        probability: of fake.
        config: of the model.
    """
    limit, cost = config.max_likelihood_ratio, config.cost_of_unseen_kinds
    ratio = likelihood_ratio(probability, limit)
    ratio_text = f"{ratio:.3g}" if ratio >= 1 else f"1/{1 / ratio:.3g}"
    if limit is not None and max(ratio, 1 / ratio) >= limit:
        ratio_text += ", the strongest that the validation photos support"
    text = (
        f"{ratio_text} ({strength_of_evidence(probability, limit)}): multiply by it the odds of "
        "fake that you would have given before."
    )
    if cost is not None and cost >= 1:
        text += " About kinds of fakes that the model never saw it is no evidence."
    return text


def _meaning(verdict: str, probability: float, config: DetectorConfig) -> str:
    """Return what such a score meant on the validation photos.

    It is empty if that would contradict the verdict, as it may if these photos are few.
    """
    meaning = meaning_of(probability, config.score_bins)
    if meaning is None:
        return ""
    contradicts = {
        "fake": meaning.fake_share <= meaning.base_share,
        "real": meaning.fake_share >= meaning.base_share,
    }
    if contradicts.get(verdict, False):
        return ""
    return (
        f"Of the validation photos that scored like this, {meaning.fake_share:.0%} were fake (95% "
        f"interval {meaning.low:.0%} to {meaning.high:.0%}, {meaning.photos} photos), compared "
        f"with {meaning.base_share:.0%} of all validation photos."
    )


def zone_bar(probability: float, thresholds: Mapping[str, float], *, small: bool = False) -> str:
    """Return a bar of three zones of equal width, with the score marked in its zone.

    On a true scale, thresholds close to an end would leave no room for words.

    Args:
        probability: of fake.
        thresholds: where the zones meet.
        small: leave out the words, which must then stand beside the bar.
    """
    place = _place(probability, thresholds["real"], thresholds["fake"])
    zone = verdict_at(probability, thresholds)
    spans = "".join(
        f'<span class="{name}{" here" if name == zone else ""}"></span>' for name in WORDS
    )
    words = "".join(
        f'<span class="{name}{" here" if name == zone else ""}">{word.lower()}</span>'
        for name, word in WORDS.items()
    )
    label = f"{WORDS[zone]}; probability of fake {probability:.2f}"
    return (
        f'<div class="bar{" small" if small else ""}" role="img" aria-label="{escape(label)}">'
        f'<div class="zones">{spans}<i class="pin" style="left:{place:.1f}%"></i></div>'
        + ("" if small else f'<div class="zone-words">{words}</div>')
        + "</div>"
    )


def _place(probability: float, real: float, fake: float) -> float:
    """Return where a score lies on the bar, in percent."""
    edges = (0.0, real, fake, 1.0)
    zone = 2 if probability >= fake else 0 if probability < real else 1
    start, end = edges[zone], edges[zone + 1]
    share = (probability - start) / (end - start) if end > start else 0.5
    return (zone + share) * 100 / 3
