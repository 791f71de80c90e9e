"""Decide which packets of a clip to decode if only few of its frames are looked at.

Two kinds of frames are skipped: those that no other frame refers to, and those between the last
look before a key frame and that key frame. The frames looked at, and their pixels, stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

import numpy as np

EARLY = 1e-4  # tolerance, in shares of the time between two looks: times are rounded
WORTHWHILE = 8  # packets; a restart at a key frame takes about as long as decoding so many


class Use(Enum):
    """What to do with a packet."""

    SHOW = auto()  # decode it
    REFERENCE = auto()  # decode it if other frames refer to it
    ENTRY = auto()  # a key frame: restart the decoder, as packets before it were skipped
    ALONE = auto()  # a key frame: restart the decoder, and skip what follows
    LEAVE = auto()  # do not decode it


@dataclass
class Outline:
    """The packets of a clip's picture track, in the order in which they are stored.

    Attributes:
        seconds: duration of the track.
        stamps: presentation time of each packet in s; NaN if it has none.
        keys: whether each is a key frame.
        hidden: whether an edit list cuts each away.
    """

    seconds: float = 0.0
    stamps: list[float] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)

    def uses(self, apart: float, stays: float) -> Sequence[Use]:
        """Return what to do with each packet; empty if all must be decoded.

        Args:
            apart: s between two looks. If key frames come this often, only they are decoded.
            stays: s after which a frame that is still on screen is looked at again.
        """
        stamps, hidden = np.array(self.stamps), np.array(self.hidden, bool)
        starts = np.flatnonzero(self.keys)
        if not starts.size or starts[0] or np.isnan(stamps).any() or hidden.all():
            return ()
        needed = _needed(stamps, hidden, apart, stays)
        groups = [
            _Group(stamps[start:end], needed[start:end], bool(hidden[start:end].any()))
            for start, end in pairwise([*starts, len(stamps)])
        ]
        uses: list[Use] = []
        for group, following in pairwise([*groups, None]):
            left_out = bool(uses) and uses[-1] is Use.LEAVE
            uses += group.uses(following, left_out, apart)
        return uses


def _needed(stamps: np.ndarray, hidden: np.ndarray, apart: float, stays: float) -> np.ndarray:
    """Return which packets hold frames that are looked at: `bool` `[packets]`.

    These are the first at or after each multiple of `apart`, those that stay, and the last.
    """
    played = np.flatnonzero(~hidden)
    played = played[np.argsort(stamps[played], kind="stable")]
    shown = stamps[played]
    due = (np.arange(int(max(shown[-1], 0) / apart) + 2) - EARLY) * apart
    first = np.searchsorted(shown, due)
    needed = np.zeros(len(stamps), bool)
    needed[played[first[first < len(played)]]] = True
    needed[played[:-1][np.diff(shown) > stays]] = True
    needed[played[-1]] = True
    return needed


@dataclass
class _Group:
    """A key frame and the packets that follow it up to the next one.

    Attributes:
        stamps: presentation times of its packets, in s.
        needed: which of them are looked at.
        is_cut: whether an edit list cuts away any of them.
    """

    stamps: np.ndarray
    needed: np.ndarray
    is_cut: bool

    @property
    def leads(self) -> np.ndarray:
        """Which packets are shown before the key frame; they may refer to the previous group."""
        return self.stamps < self.stamps[0]

    def uses(self, following: _Group | None, left_out: bool, apart: float) -> list[Use]:
        """Return what to do with each packet.

        Args:
            following: the next group, if there is one.
            left_out: whether the last packets before this group are skipped.
            apart: s between two looks.
        """
        count = len(self.stamps)
        last = self._last_needed(following, apart)
        uses = [Use.SHOW if is_needed else Use.REFERENCE for is_needed in self.needed]
        if self.is_cut:
            uses = [Use.SHOW] * count
        uses[last + 1 :] = [Use.LEAVE] * (count - 1 - last)
        if left_out:
            uses = [
                Use.LEAVE if is_leading else use
                for use, is_leading in zip(uses, self.leads, strict=True)
            ]
        is_alone = last == 0 and count > 1
        uses[0] = Use.ALONE if is_alone else Use.ENTRY if left_out else Use.SHOW
        return uses

    def _last_needed(self, following: _Group | None, apart: float) -> int:
        """Return the index of the last packet to decode."""
        end = len(self.stamps) - 1
        if self.is_cut or following is None or (following.leads & following.needed).any():
            return end
        if following.stamps[0] - self.stamps[0] <= (1 + EARLY) * apart:
            return 0
        last = int(np.flatnonzero(self.needed)[-1]) if self.needed.any() else 0
        return last if end - last >= WORTHWHILE else end
