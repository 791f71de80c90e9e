"""The IPTC's digital source types, with which C2PA and XMP say how a picture was made.

See https://cv.iptc.org/newscodes/digitalsourcetype/.
"""

from __future__ import annotations

if __package__:
    from .findings import Claim
else:
    from findings import Claim

# By the last part of the address, in lower case.
SOURCE_TYPES = {
    "trainedalgorithmicmedia": ("made by AI", Claim.AI),
    "compositewithtrainedalgorithmicmedia": ("edited or composed with AI", Claim.PARTLY_AI),
    "compositesynthetic": ("a composite with synthetic parts", Claim.PARTLY_AI),
    "algorithmicmedia": ("made by an algorithm without training data", Claim.NOTHING),
    "datadrivenmedia": ("drawn from data", Claim.NOTHING),
    "algorithmicallyenhanced": ("enhanced by an algorithm", Claim.EDITED),
    "composite": ("a composite of several pictures", Claim.EDITED),
    "compositecapture": ("a composite of several photos", Claim.EDITED),
    "humanedits": ("edited by a person", Claim.EDITED),
    "minorhumanedits": ("edited slightly by a person", Claim.EDITED),
    "digitalcapture": ("taken by a camera", Claim.CAMERA),
    "computationalcapture": ("taken by a camera that computes its pictures", Claim.CAMERA),
    "negativefilm": ("scanned from negative film", Claim.CAMERA),
    "positivefilm": ("scanned from positive film", Claim.CAMERA),
    "print": ("scanned from a print", Claim.CAMERA),
    "digitalart": ("drawn with a program", Claim.NOTHING),
    "digitalcreation": ("made with a program", Claim.NOTHING),
    "softwareimage": ("made by software", Claim.NOTHING),
    "virtualrecording": ("a recording of a virtual scene", Claim.NOTHING),
    "screencapture": ("a picture of a screen", Claim.NOTHING),
    "empty": ("an empty picture at first", Claim.NOTHING),
}


def source_type(address: object) -> tuple[str, Claim] | None:
    """Return what a digital source type says, in words and as a claim; `None` if it is unknown."""
    return SOURCE_TYPES.get(str(address).strip().rstrip("/").rsplit("/", 1)[-1].lower())
