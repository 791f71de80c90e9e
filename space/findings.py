"""What a file says about itself, as findings: a sentence, the file's text, how far to trust it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum

MAX_VALUE = 2000  # characters of a file's text that are kept
MAX_QUOTE = 120  # and those that are quoted in a sentence


class Trust(StrEnum):
    """How far a finding can be trusted."""

    SIGNED = "signed"  # by a signer whom this program trusts
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
    """One thing that a file says about itself.

    Attributes:
        kind: what it is about.
        sentence: for people.
        value: the file's own text, made safe to show: see `clean`.
        trust: how far it can be trusted.
        source: where in the file it is, `"XMP"` for instance.
        claim: what it states about how the picture was made, if it does.
        pictures: names and JPEG files, where there is something to look at.
    """

    kind: Kind
    sentence: str
    value: str = ""
    trust: Trust = Trust.ANYBODY
    source: str = ""
    claim: Claim = Claim.NOTHING
    pictures: tuple[tuple[str, bytes], ...] = ()

    def as_dict(self) -> dict[str, str]:
        """Return it in JSON types, without the pictures."""
        return {
            "kind": str(self.kind),
            "sentence": self.sentence,
            "value": self.value,
            "trust": str(self.trust),
            "source": self.source,
            "claim": str(self.claim),
        }


def clean(text: object, limit: int = MAX_VALUE) -> str:
    """Return text from a file without characters that could deceive a reader.

    Control, invisible and bidirectional characters become spaces, as does all white space; double
    curly quotes become straight ones, as sentences put their own around such text. HTML still needs
    it escaped.

    Args:
        text: from a file; anything but `str` is converted first.
        limit: characters that are kept; an ellipsis stands for the rest.
    """
    text = text if isinstance(text, str) else str(text)
    cut = text[: 4 * limit]  # before the work, not after it
    kept = "".join(
        " "
        if unicodedata.category(character)[0] in "CZ"
        else {"“": '"', "”": '"'}.get(character, character)
        for character in cut
    )
    short = " ".join(kept.split())
    if len(short) > limit or len(text) > len(cut):
        return short[: limit - 1] + "…"
    return short


def decoded(data: object, limit: int = 4 * MAX_VALUE) -> str:
    """Return the text in at most `limit` bytes of a file, in UTF-8 or else Latin-1."""
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
