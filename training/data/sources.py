"""What is known of the sets of photos that a model is trained on: their fakes, origin and terms.

The sets themselves are in `sources.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OWN_TERMS = (
    "Its photos have terms of their own, on its page; nothing here passes on a right to use them."
)


@dataclass(frozen=True)
class Source:
    """A set of photos.

    Attributes:
        title: its name, for people.
        fakes: what its fakes are, as a part of a sentence; empty where it has none.
        fakes_in_short: the same in a few words, where several sets share a sentence.
        terms: under which terms its photos stand, as a sentence.
        url: of its page; empty where nobody knows one.
        citation: BibTeX entry; empty where there is none.
        changed: what of a fake is no photo, where its name does not tell the parts: `"all"` of it
            (generated), `"face"` (swapped), or `""` where that is not known.
        labels: which it has; one that lacks a label takes the other from other sources.
        shares_photos: whether two of its photos may show the same picture without saying so in
            their names, so that `prepare` has to look for that.
        named_groups: whether photos whose names begin alike, up to `__`, belong together.
        everyday: whether its real photos are what people send: of the open web, from any camera.
        unseen_kinds: whether its photos are named `KIND-...` and some kinds lie wholly in one
            split, so that those of the test split are of kinds that nobody trained on.
        where: what to give to `prepare --source`, where anybody can download it.
    """

    title: str
    fakes: str = ""
    fakes_in_short: str = ""
    terms: str = OWN_TERMS
    url: str = ""
    citation: str = ""
    changed: str = ""
    labels: tuple[str, ...] = ("real", "fake")
    shares_photos: bool = True
    named_groups: bool = True
    everyday: bool = False
    unseen_kinds: bool = False
    where: str = ""


def _read_known() -> dict[str, Source]:
    tables = tomllib.loads(Path(__file__).with_name("sources.toml").read_text(encoding="utf-8"))
    for table in tables.values():
        if "labels" in table:
            table["labels"] = tuple(table["labels"])
    return {name: Source(**table) for name, table in tables.items()}


KNOWN = _read_known()


def list_sources() -> str:
    """Return a line for each known source: its name, labels, what its fakes are, and where anybody
    can have it, as `prepare --source` takes it."""
    lines = []
    for name, source in sorted(KNOWN.items()):
        what = source.fakes or "real photos"
        place = source.where or source.url or "not to be downloaded"
        lines.append(f"{name}: {source.title} ({' and '.join(source.labels)}): {what}; {place}")
    return "\n".join(lines)


def lookup(name: str) -> Source:
    """Return what is known of a source by its name in the metadata."""
    unknown = Source(
        title=name,
        fakes="of a kind that only those know who collected them",
        fakes_in_short="of an unrecorded kind",
        terms="Its terms are not recorded: ask whoever collected the photos.",
    )
    return KNOWN.get(name, unknown)


def describe_training(names: Iterable[str]) -> str:
    """Return one part of a sentence about the photos of some sources: “photos of …”."""
    everyone = list(map(lookup, names))
    sources = [source for source in everyone if "fake" in source.labels]
    if len(sources) == len(everyone) == 1:
        return f"photos of the dataset “{sources[0].title}”, whose fakes are {sources[0].fakes}"
    *parts, last = [_fakes_and_title(source) for source in sources]
    listed = f"{', '.join(parts)} and {last}" if parts else last
    number = len(everyone) - len(sources)
    others = f" ({number} of them of real photos alone)" if number else ""
    return f"photos of {len(everyone)} datasets{others}, whose fakes are {listed}"


def _fakes_and_title(source: Source) -> str:
    """Return what a source's fakes are, and its title where that says more."""
    if set(source.title.split()) <= set(source.fakes_in_short.split()):
        return source.fakes_in_short
    return f"{source.fakes_in_short} (“{source.title}”)"
