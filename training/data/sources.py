"""Describe the sets of photos that models are trained on: their fakes, origin and terms.

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
        title: its name, for humans.
        fakes: what its fakes are, as part of a sentence; empty if it has none.
        fakes_in_short: the same in a few words, for sentences about several sets.
        terms: the terms of its photos, as a sentence.
        url: address of its page; empty if unknown.
        citation: BibTeX entry; empty if there is none.
        changed: what is manipulated in a fake whose name does not state the parts: `"all"` of it
            (generated), `"face"` (swapped), or `""` if unknown.
        labels: the labels that it has; a set with one label is used together with other sets.
        shares_photos: whether two of its photos may show the same picture without saying so in
            their names, so that `prepare` has to search for such pairs.
        named_groups: whether photos whose names are equal up to `__` belong together.
        everyday: whether its real photos are what people send: from the open web and any camera.
        unseen_kinds: whether its photos are named `KIND-...` and some kinds lie wholly in one
            split, so that the test split holds kinds that no model was trained on.
        where: value for `prepare --source`, if anybody can download it.
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
    """Return a line for each known source: its name, title, labels and fakes, and where to get it,
    as a value of `prepare --source` if there is one."""
    lines = []
    for name, source in sorted(KNOWN.items()):
        content = source.fakes or "real photos"
        place = source.where or source.url or "not to be downloaded"
        lines.append(f"{name}: {source.title} ({' and '.join(source.labels)}): {content}; {place}")
    return "\n".join(lines)


def lookup(name: str) -> Source:
    """Return the description of a source by its name in the metadata."""
    unknown = Source(
        title=name,
        fakes="of a kind that only those know who collected them",
        fakes_in_short="of an unrecorded kind",
        terms="Its terms are not recorded: ask whoever collected the photos.",
    )
    return KNOWN.get(name, unknown)


def describe_training(names: Iterable[str]) -> str:
    """Return a phrase about the photos of some sources: “photos of …”."""
    known = list(map(lookup, names))
    fake_sets = [source for source in known if "fake" in source.labels]
    if len(fake_sets) == len(known) == 1:
        return f"photos of the dataset “{fake_sets[0].title}”, whose fakes are {fake_sets[0].fakes}"
    *parts, last = [_fakes_and_title(source) for source in fake_sets]
    fakes = f"{', '.join(parts)} and {last}" if parts else last
    real_only = len(known) - len(fake_sets)
    note = f" ({real_only} of them of real photos alone)" if real_only else ""
    return f"photos of {len(known)} datasets{note}, whose fakes are {fakes}"


def _fakes_and_title(source: Source) -> str:
    """Return what a source's fakes are, and its title if that says more."""
    if set(source.title.split()) <= set(source.fakes_in_short.split()):
        return source.fakes_in_short
    return f"{source.fakes_in_short} (“{source.title}”)"
