"""Say which packets of a clip have to be decoded, where its frames are looked at far apart.

Left out are frames that no other frame refers to, and those between the last look before a key
frame and that key frame. Which frames are looked at, and their pixels, stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise

import numpy as np

EARLY = 1e-4  # of the time between two looks: times are rounded
WORTHWHILE = 8  # packets; to start anew at a key frame takes about as long as to decode so many


class Use(Enum):
    """What to do with a packet."""

    SHOW = auto()  # decode it
    REFERENCE = auto()  # decode it if other frames refer to it
    ENTRY = auto()  # a key frame: start anew, as what comes before was left out
    ALONE = auto()  # a key frame: start anew, and leave out what follows
    LEAVE = auto()  # do not decode it


@dataclass
class Outline:
    """The packets of a clip's picture, in the order in which they are stored.

    Attributes:
        seconds: how long the picture plays.
        stamps: time in s at which each is shown; NaN where it does not say.
        keys: whether each is a key frame.
        hidden: whether each is cut away by an edit list.
    """

    seconds: float = 0.0
    stamps: list[float] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)

    def uses(self, apart: float, stays: float) -> Sequence[Use]:
        """Return what to do with each packet; nothing where all have to be decoded.

        Args:
            apart: s between two looks. Where key frames come as often, they alone are decoded.
            stays: s after which a frame that is still there is looked at again.
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
    """Return which packets hold frames that are looked at: the first at or after each multiple of
    `apart`, those that stay, and the last."""
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
    """A key frame and what follows it up to the next one.

    Attributes:
        stamps: of its packets, in s.
        needed: which of them are looked at.
        is_cut: whether an edit list cuts away some of it.
    """

    stamps: np.ndarray
    needed: np.ndarray
    is_cut: bool

    @property
    def leads(self) -> np.ndarray:
        """Which packets are shown before the key frame, and may refer to the group before."""
        return self.stamps < self.stamps[0]

    def uses(self, following: _Group | None, left_out: bool, apart: float) -> list[Use]:
        """Return what to do with each packet.

        Args:
            following: the next group, if there is one.
            left_out: whether the last packets before this group are not decoded.
            apart: s between two looks.
        """
        count = len(self.stamps)
        last = self._last_needed(following, apart)
        uses = [Use.SHOW if looked_at else Use.REFERENCE for looked_at in self.needed]
        if self.is_cut:
            uses = [Use.SHOW] * count
        uses[last + 1 :] = [Use.LEAVE] * (count - 1 - last)
        if left_out:
            uses = [
                Use.LEAVE if leads else use for use, leads in zip(uses, self.leads, strict=True)
            ]
        is_alone = last == 0 and count > 1
        uses[0] = Use.ALONE if is_alone else Use.ENTRY if left_out else Use.SHOW
        return uses

    def _last_needed(self, following: _Group | None, apart: float) -> int:
        """Return the number of the last packet that is decoded."""
        end = len(self.stamps) - 1
        if self.is_cut or following is None or (following.leads & following.needed).any():
            return end
        if following.stamps[0] - self.stamps[0] <= (1 + EARLY) * apart:
            return 0
        last = int(np.flatnonzero(self.needed)[-1]) if self.needed.any() else 0
        return last if end - last >= WORTHWHILE else end
