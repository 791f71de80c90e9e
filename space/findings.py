"""What a file says of itself, as findings: a sentence, what the file holds, how far to trust it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

MAX_VALUE = 2000  # characters of what a file holds that are kept
MAX_QUOTE = 120  # and that are shown in a sentence


class Trust(StrEnum):
    """How far a finding can be trusted."""

    SIGNED = "signed"  # by a signer on the list of those whom this program trusts
    UNKNOWN_SIGNER = "signed, signer unknown"
    INVALID = "signature invalid"
    ANYBODY = "written by anybody"
    UNKNOWN = "unknown"  # there is no statement to trust


class Kind(StrEnum):
    """What a finding is about."""

    CREDENTIALS = "credentials"  # the signature, or that there is none
    ORIGIN = "origin"  # how the picture came to be
    GENERATOR = "generator"
    EDITING = "editing"
    INGREDIENTS = "ingredients"
    PREVIEW = "preview"
    CAMERA = "camera"
    SOFTWARE = "software"
    TIME = "time"
    PLACE = "place"
    ENCODING = "encoding"
    UNREADABLE = "unreadable"


class Claim(StrEnum):
    """What a finding states about how a picture was made."""

    AI = "made by AI"
    PARTLY_AI = "made with AI in part"
    EDITED = "edited"
    CAMERA = "taken by a camera"
    NOTHING = ""


@dataclass(frozen=True)
class Finding:
    """One thing that a file says of itself.

    Attributes:
        kind: what it is about.
        sentence: for people.
        value: what the file holds, made safe to be shown: see `clean`.
        trust: how far it can be trusted.
        source: where in the file it stands, `"XMP"` for instance.
        claim: what it states about how the picture was made, if it does.
        pictures: JPEG files with the name of each, where there is something to look at.
    """

    kind: Kind
    sentence: str
    value: str = ""
    trust: Trust = Trust.ANYBODY
    source: str = ""
    claim: Claim = Claim.NOTHING
    pictures: tuple[tuple[str, bytes], ...] = ()

    def as_dict(self) -> dict[str, str]:
        """Return it in the types that JSON has, without the pictures."""
        return {
            "kind": str(self.kind),
            "sentence": self.sentence,
            "value": self.value,
            "trust": str(self.trust),
            "source": self.source,
            "claim": str(self.claim),
        }


def clean(text: object, limit: int = MAX_VALUE) -> str:
    """Return text from a file without what could deceive whoever reads it.

    Control characters, invisible ones and those that turn the direction of the text around become
    spaces, and so does any white space; double curly quotes become straight ones, as sentences put
    their own around such text. It still has to be escaped where it becomes part of HTML.

    Args:
        text: from a file; anything but `str` is written out first.
        limit: characters that are kept; an ellipsis stands for the rest.
    """
    text = text if isinstance(text, str) else str(text)
    cut = text[: 4 * limit]  # before the work, not after it
    kept = "".join(
        " " if unicodedata.category(one)[0] in "CZ" else {"“": '"', "”": '"'}.get(one, one)
        for one in cut
    )
    short = " ".join(kept.split())
    if len(short) > limit or len(text) > len(cut):
        return short[: limit - 1] + "…"
    return short


def decoded(data: object, limit: int = 4 * MAX_VALUE) -> str:
    """Return text that a file holds as bytes in UTF-8, or else Latin-1; at most `limit` bytes."""
    if not isinstance(data, bytes):
        return str(data)
    data = data[:limit].rstrip(b"\0")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        # A character that the limit cut in two is no reason to take the text for Latin-1.
        cut_off = len(data) == limit and error.start > limit - 4
        return data[: error.start].decode() if cut_off else data.decode("latin-1")


def quote(text: object) -> str:
    """Return text from a file in curly quotes, short enough for a sentence."""
    return f"“{clean(text, MAX_QUOTE)}”"
