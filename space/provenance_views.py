"""Write what a file says about itself as HTML: a statement, and below it all findings, folded."""

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
NOTHING_SAID = (
    "The file does not say how it was made. Most files do not: that is no evidence either way."
)
NOT_THE_MODEL = "This is not part of the model's answer."
AI_CLAIMS = (Claim.AI, Claim.PARTLY_AI)
SIGNED = (Trust.SIGNED, Trust.UNKNOWN_SIGNER)


def provenance_html(found: Provenance, verdicts: Collection[str] = ()) -> str:
    """Return what a file says about itself, to be shown above the model's answer.

    Args:
        found: of a photo or clip.
        verdicts: `"real"`, `"fake"` or `"inconclusive"` for each face or person, to show whether
            they contradict the file.
    """
    headline = _headline(found.statement)
    contradiction = conflict(found, verdicts)
    warning = f'<p class="conflict">{contradiction}</p>' if contradiction else ""
    items = "".join(map(_item, found.findings))
    total = sum(finding != NO_CREDENTIALS for finding in found.findings)
    count = f" ({total})" if total else ""
    disclaimer = f" {NOT_THE_MODEL}" if found.statement else ""
    return (
        '<section class="answer provenance" aria-label="What the file says about itself">'
        f'<p class="statement"><strong>{escape(headline)}</strong>{disclaimer}</p>{warning}'
        f"<details><summary>Details of the file{count}</summary><ul>{items}</ul></details>"
        "</section>"
    )


def framed(judged: str, found: Provenance, verdicts: Collection[str]) -> str:
    """Return the model's answer together with what the file says about itself.

    The latter comes first if the file says how it was made, and else last.

    Args:
        judged: HTML of the answer.
        found, verdicts: see `provenance_html`.
    """
    provenance = provenance_html(found, verdicts)
    return provenance + judged if found.statement else judged + provenance


def conflict(found: Provenance, verdicts: Collection[str]) -> str:
    """Return a sentence if the file and the model contradict each other, else an empty string.

    An unsigned note of a camera does not contradict a fake: most edited photos still carry one.
    """
    statement = found.statement
    if statement is None:
        return ""
    if statement.claim in AI_CLAIMS and statement.trust != Trust.INVALID and "real" in verdicts:
        verdict = "real"
    elif statement.claim == Claim.CAMERA and statement.trust in SIGNED and "fake" in verdicts:
        verdict = "fake"
    else:
        return ""
    return (
        f"File and model contradict each other: the file says “{statement.claim}”, the model says "
        f"“{WORDS[verdict].lower()}”. Neither overrules the other here."
    )


def _headline(said: Finding | None) -> str:
    if said is None:
        return NOTHING_SAID
    if said.kind == Kind.PREVIEW:  # its sentence says more than its claim
        return said.sentence
    return HEADLINES[said.trust].format(said.claim)


def _item(finding: Finding) -> str:
    has_more = finding.value and finding.value not in finding.sentence
    raw = (
        f"<details><summary>As it stands in the file</summary><pre>{escape(finding.value)}</pre>"
        "</details>"
        if has_more
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
    """Return a sentence as HTML in which quoted text keeps its own text direction."""
    return re.sub("“([^”]*)”", r"“<bdi>\1</bdi>”", escape(sentence))
