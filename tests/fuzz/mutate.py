"""Damage files the way disks, networks and attackers do."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

MOST = 8  # changes per file
EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
PNG_START = b"\x89PNG\r\n\x1a\n"
AS_DAMAGED = 0.2  # share of PNG files whose checksums stay wrong
HEADER = 200  # bytes: most sizes and types are there, so half of the changes are


def mutated(files: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Return one of the files with one to eight changes.

    Most PNG files then get correct checksums, as a decoder stops at the first wrong one.

    Args:
        files: files of one format.
        rng: makes every random choice: the same seed gives the same file.
    """
    content = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, MOST + 1)):
        if len(content) < 4:
            break
        CHANGES[rng.integers(len(CHANGES))](content, files, rng)
    return bytes(content) if rng.random() < AS_DAMAGED else with_checksums(bytes(content))


def with_checksums(content: bytes) -> bytes:
    """Return a PNG file with the right checksum in each chunk; return other files unchanged."""
    if not content.startswith(PNG_START):
        return content
    repaired, start = bytearray(content), len(PNG_START)
    while start + 12 <= len(repaired):
        end = start + 8 + int.from_bytes(repaired[start : start + 4], "big")
        if end + 4 > len(repaired):  # the chunk goes on after the end of the file, or claims to
            break
        repaired[end : end + 4] = zlib.crc32(repaired[start + 4 : end]).to_bytes(4, "big")
        start = end + 4
    return bytes(repaired)


def _place(content: bytearray, rng: np.random.Generator) -> int:
    reach = min(HEADER, len(content)) if rng.random() < 0.5 else len(content)
    return int(rng.integers(reach))


def _span(content: bytearray, rng: np.random.Generator) -> slice:
    start = _place(content, rng)
    return slice(start, start + int(2 ** rng.uniform(0, np.log2(len(content)))))


def _flip(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    content[_place(content, rng)] ^= 1 << int(rng.integers(8))


def _number(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    size = int(rng.choice([1, 2, 4]))
    value = EDGES[rng.integers(len(EDGES))] % 256**size
    place = _place(content, rng)
    order = "big" if rng.random() < 0.5 else "little"
    content[place : place + size] = value.to_bytes(size, order)


def _noise(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    span = _span(content, rng)
    content[span] = rng.bytes(len(content[span]))


def _drop(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    del content[_span(content, rng)]


def _repeat(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    place = _place(content, rng)
    content[place:place] = content[_span(content, rng)]


def _cut(content: bytearray, _: Sequence[bytes], rng: np.random.Generator) -> None:
    del content[_place(content, rng) :]


def _splice(content: bytearray, files: Sequence[bytes], rng: np.random.Generator) -> None:
    donor = bytearray(files[rng.integers(len(files))])
    content[_place(content, rng) :] = donor[_place(donor, rng) :]


CHANGES: tuple[Callable[[bytearray, Sequence[bytes], np.random.Generator], None], ...] = (
    _flip,
    _number,
    _noise,
    _drop,
    _repeat,
    _cut,
    _splice,
)
