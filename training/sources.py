"""What is known of the sets of photos that a model is trained on: their fakes, origin and terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A set of photos.

    Attributes:
        title: its name, for people.
        fakes: what its fakes are, as a part of a sentence.
        terms: under which terms its photos stand, as a sentence.
        url: of its page; empty where nobody knows one.
        citation: BibTeX entry; empty where there is none.
    """

    title: str
    fakes: str
    terms: str
    url: str = ""
    citation: str = ""


# By the name in the column `source` of the metadata: the folder that holds a set's photos.
KNOWN = {
    "real_and_fake_face": Source(
        title="real and fake face detection",
        fakes=(
            "composites made by hand (eyes, nose, mouth or the whole face come from another "
            "person), not AI-generated faces"
        ),
        terms=(
            "Its photos have terms of their own, on its page; nothing here passes on a right to "
            "use them."
        ),
        url="https://www.kaggle.com/datasets/ciplab/real-and-fake-face-detection",
        citation=(
            "@misc{real_and_fake_face_detection,\n"
            "  title = {Real and Fake Face Detection},\n"
            "  author = {{Computational Intelligence and Photography Lab, Yonsei University}},\n"
            "  howpublished = {\\url{https://www.kaggle.com/datasets/ciplab/"
            "real-and-fake-face-detection}},\n"
            "}"
        ),
    )
}


def lookup(name: str) -> Source:
    """Return what is known of a source by its name in the metadata."""
    unknown = Source(
        title=name,
        fakes="of a kind that only those know who collected them",
        terms="Its terms are not recorded: ask whoever collected the photos.",
    )
    return KNOWN.get(name, unknown)


def describe_training(names: Iterable[str]) -> str:
    """Return one part of a sentence about the photos of some sources: “photos of …”."""
    parts = [
        f"photos of the dataset “{source.title}”, whose fakes are {source.fakes}"
        for source in map(lookup, names)
    ]
    return "; ".join(parts)
