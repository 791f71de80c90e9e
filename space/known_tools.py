"""Programs that name themselves in the files they write: generators, editors, face apps."""

from __future__ import annotations

import re

if __package__:
    from .findings import Claim, Finding, Kind, clean, quote
else:
    from findings import Claim, Finding, Kind, clean, quote

# Names that identify a program where a file names the software that wrote it. Words that have
# other meanings there as well (Flux, Sora) count only at the start.
GENERATORS = (
    r"midjourney",
    r"dall[·.\- ]?e\b",
    r"openai|chatgpt|gpt-4o|gpt-image",
    r"^sora\b",
    r"stable[ -]?diffusion|stability ai|dreamstudio",
    r"automatic1111|stable-diffusion-webui|sd\.next",
    r"comfyui|invokeai|novelai|fooocus|swarmui|draw things|diffusionbee|easy diffusion",
    r"adobe firefly",
    r"made with google ai|google gemini|^gemini\b|^imagen\b|^veo\b|nano banana",
    r"bing image creator|image creator from",
    r"imagined with ai|^meta ai\b",
    r"^flux\b|black forest labs",
    r"ideogram|leonardo\.?ai|playground ai|nightcafe|artbreeder|craiyon|dreamina|seedream",
    r"runway(ml)?\b|^pika\b|^kling\b|hailuo|luma dream machine|heygen|synthesia",
    r"^grok\b",
    r"this ?person ?does ?not ?exist|generated\.photos|stylegan",
)
FACE_APPS = (
    r"faceapp|faceswap|facefusion|deepfacelab|deepfacelive|\breface\b|\broop\b|avatarify|wombo",
    r"facetune|remini|meitu|beautyplus|youcam|airbrush|perfect365|\bb612\b",
)
EDITORS = (
    r"photoshop|lightroom|camera raw|adobe express|illustrator|premiere|after effects",
    r"\bgimp\b|affinity|pixelmator|capture one|dxo|luminar|topaz|darktable|rawtherapee|paintshop",
    r"paint\.net|photopea|pixlr|\bcanva\b|picsart|snapseed|vsco|polarr|fotor|acorn|photoscape",
    r"davinci resolve|final cut|imovie|capcut|inshot|kinemaster|filmora|shotcut|kdenlive|vegas pro",
)
CONVERTERS = (r"lavf|lavc|ffmpeg|handbrake|imagemagick|graphicsmagick|libvips|x26[45]|mencoder",)

_KINDS = [
    (re.compile("|".join(names), re.IGNORECASE), kind)
    for names, kind in (
        (GENERATORS, "generator"),
        (FACE_APPS, "face app"),
        (EDITORS, "editor"),
        (CONVERTERS, "converter"),
    )
]


def tool_kind(name: str) -> str:
    """Return the kind of the program with this name, or an empty string if it is unknown.

    The kinds are `"generator"`, `"face app"`, `"editor"` and `"converter"`.
    """
    return next((kind for pattern, kind in _KINDS if pattern.search(name[:500].strip())), "")


def tool_finding(name: object, source: str) -> Finding:
    """Return a finding about a program that a file names.

    Args:
        name: as it stands in the file.
        source: where in the file it stands.
    """
    value, quoted = clean(name), quote(name)
    match tool_kind(value):
        case "generator":
            kind, claim = Kind.GENERATOR, Claim.AI
            sentence = f"{source} names {quoted}, a program that makes pictures by AI."
        case "face app":
            kind, claim = Kind.EDITING, Claim.EDITED
            sentence = f"{source} names {quoted}, a program that changes faces."
        case "editor":
            kind, claim = Kind.EDITING, Claim.EDITED
            sentence = f"{source} names {quoted}, an editor: it may have changed much or nothing."
        case "converter":
            kind, claim = Kind.SOFTWARE, Claim.NOTHING
            sentence = f"{source} names {quoted}, which converts files: this is not the original."
        case _:
            kind, claim = Kind.SOFTWARE, Claim.NOTHING
            sentence = f"{source} names the software {quoted}."
    return Finding(kind, sentence, value, source=source, claim=claim)
