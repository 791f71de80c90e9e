"""Write what a file says of itself as HTML: a statement on top, and all findings to unfold."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from html import escape

if __package__:
    from .credentials import NO_CREDENTIALS
    from .findings import Claim, Finding, Kind, Trust
    from .provenance import Provenance
    from .verdicts import WORDS
else:
    from credentials import NO_CREDENTIALS
    from findings import Claim, Finding, Kind, Trust
    from provenance import Provenance
    from verdicts import WORDS

HEADLINES = {
    Trust.SIGNED: "Signed: {}.",
    Trust.UNKNOWN_SIGNER: "Signed by somebody who is not known here: {}.",
    Trust.ANYBODY: "Notes in the file say: {}. Anybody can write such notes.",
    Trust.INVALID: "The file says: {}. Its signature is not valid.",
}
NOTHING_SAID = "The file says nothing of how it was made. Most do not: that is no evidence."
NOT_THE_MODEL = "This is no part of the model's answer."
AI_CLAIMS = (Claim.AI, Claim.PARTLY_AI)
SIGNED = (Trust.SIGNED, Trust.UNKNOWN_SIGNER)


def provenance_html(found: Provenance, verdicts: Collection[str] = ()) -> str:
    """Return what a file says of itself, to be shown above the model's answer.

    Args:
        found: of a photo or clip.
        verdicts: `"real"`, `"fake"` or `"inconclusive"` for each face or person, to show where they
            contradict the file.
    """
    headline = _headline(found.statement)
    contradiction = conflict(found, verdicts)
    alarm = f'<p class="conflict">{contradiction}</p>' if contradiction else ""
    items = "".join(map(_item, found.findings))
    told = sum(finding != NO_CREDENTIALS for finding in found.findings)
    count = f" ({told})" if told else ""
    apart = f" {NOT_THE_MODEL}" if found.statement else ""
    return (
        '<section class="answer provenance" aria-label="What the file says of itself">'
        f'<p class="statement"><strong>{escape(headline)}</strong>{apart}</p>{alarm}'
        f"<details><summary>Details of the file{count}</summary><ul>{items}</ul></details>"
        "</section>"
    )


def framed(judged: str, found: Provenance, verdicts: Collection[str]) -> str:
    """Return the model's answer with what the file says of itself: above it where the file says how
    it was made, and below it where it is silent.

    Args:
        judged: HTML of the answer.
        found, verdicts: see `provenance_html`.
    """
    said = provenance_html(found, verdicts)
    return said + judged if found.statement else judged + said


def conflict(found: Provenance, verdicts: Collection[str]) -> str:
    """Return a sentence if the file and the model contradict each other, else an empty text.

    A note of a camera is no contradiction to a fake: most edited photos still carry it.
    """
    said = found.statement
    if said is None:
        return ""
    if said.claim in AI_CLAIMS and said.trust != Trust.INVALID and "real" in verdicts:
        verdict = "real"
    elif said.claim == Claim.CAMERA and said.trust in SIGNED and "fake" in verdicts:
        verdict = "fake"
    else:
        return ""
    return (
        f"File and model contradict each other: the file says “{said.claim}”, the model says "
        f"“{WORDS[verdict].lower()}”. Neither overrules the other here."
    )


def _headline(said: Finding | None) -> str:
    if said is None:
        return NOTHING_SAID
    if said.kind == Kind.PREVIEW:  # which shows more than it says
        return said.sentence
    return HEADLINES[said.trust].format(said.claim)


def _item(finding: Finding) -> str:
    shown = finding.value and finding.value not in finding.sentence
    raw = (
        f"<details><summary>As it stands in the file</summary><pre>{escape(finding.value)}</pre>"
        "</details>"
        if shown
        else ""
    )
    pictures = "".join(
        f'<figure><img src="data:image/jpeg;base64,{base64.b64encode(content).decode()}" '
        f'alt="The {escape(name)}"><figcaption>{escape(name)}</figcaption></figure>'
        for name, content in finding.pictures
    )
    beside = f'<div class="beside">{pictures}</div>' if pictures else ""
    return (
        f"<li><b>{escape(finding.kind)}</b> {_sentence(finding.sentence)} "
        f'<span class="trust">{escape(finding.trust)}</span>{beside}{raw}</li>'
    )


def _sentence(sentence: str) -> str:
    """Return a sentence as HTML in which quoted text keeps its own direction of writing."""
    return re.sub("“([^”]*)”", r"“<bdi>\1</bdi>”", escape(sentence))
