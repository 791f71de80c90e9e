"""Turn decoded frames of a clip into pictures as a player shows them: upright, with square pixels
and deinterlaced."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter

MAX_STRETCH = 4  # of a pixel: cameras and discs stretch it by 2 at most
FINER = 10  # width and height of a thumbnail's source, in multiples of the thumbnail's
MATRIX_BYTES = 36  # 3 x 3 numbers of 32 bits


@dataclass(frozen=True, eq=False)
class ClipFrame:
    """A frame of a clip.

    Attributes:
        seconds: time in s at which it appears.
        until: time in s at which it disappears, unless another frame comes first.
    """

    _converter: Converter
    _frame: av.VideoFrame
    seconds: float
    until: float

    @property
    def pixels(self) -> int:
        """Width x height as it is shown."""
        return math.prod(self._converter.shown_size(self._frame.width, self._frame.height))

    def picture(self, enough: float = math.inf) -> np.ndarray | None:
        """Return it as shown, `uint8` `[height, width, 3]` in RGB order; `None` where its
        pixels cannot be converted.

        Args:
            enough: width x height to which it is reduced where it has at least twice as many px.
        """
        scale = math.sqrt(enough / self.pixels) if self.pixels >= 2 * enough else 1.0
        return self._converter.picture(self._frame, scale)

    def thumbnail(self, width: int, height: int) -> np.ndarray | None:
        """Return its grey levels as stored, `uint8` `[height, width]`; `None` where its
        pixels cannot be converted. This takes a tenth of the time of `picture`."""
        return self._converter.thumbnail(self._frame, width, height)


class Converter:
    """Converts the frames of one clip. Frames that FFmpeg refuses to convert are never handed out:
    their memory may still hold what was judged before.

    Args:
        stretch: pixel aspect ratio: displayed width of a stored pixel divided by its height.
    """

    def __init__(self, stretch: Fraction) -> None:
        # Keeping one for each purpose saves setting them up for every frame.
        self._full, self._reduced, self._small = (VideoReformatter() for _ in range(3))
        is_likely = 1 / MAX_STRETCH <= stretch <= MAX_STRETCH
        self._stretch = stretch if is_likely else Fraction(1)

    def shown_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size at which a stored frame has square pixels and loses no detail."""
        if self._stretch > 1:
            return round(width * self._stretch), height
        return width, round(height / self._stretch)

    def picture(self, frame: av.VideoFrame, scale: float) -> np.ndarray | None:
        """See `ClipFrame.picture`."""
        size = self.shown_size(frame.width, frame.height)
        converter, interpolation = self._full, Interpolation.BICUBIC
        if scale < 1:
            size = tuple(max(1, round(side * scale)) for side in size)
            converter, interpolation = self._reduced, Interpolation.AREA
        pixels = _converted(converter, frame, size, "rgb24", interpolation)
        return None if pixels is None else upright(pixels, _display_matrix(frame))

    def thumbnail(self, frame: av.VideoFrame, width: int, height: int) -> np.ndarray | None:
        """See `ClipFrame.thumbnail`."""
        size = (FINER * width, FINER * height)
        fine = _converted(self._small, frame, size, "gray", Interpolation.POINT)
        if fine is None:
            return None
        return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _converted(
    converter: VideoReformatter,
    frame: av.VideoFrame,
    size: tuple[int, int],
    pixel_format: str,
    interpolation: Interpolation,
) -> np.ndarray | None:
    try:
        return converter.reformat(
            frame, *size, pixel_format, interpolation=interpolation, threads=1
        ).to_ndarray()
    except (FFmpegError, ValueError):
        return None


def _display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """Return the matrix, `[2, 2]`, that turns and mirrors a frame: what is stored at `[x, y]` is
    shown at `[x, y] @ matrix`, apart from a shift."""
    for data in frame.side_data:
        if data.type is Type.DISPLAYMATRIX and data.buffer_size >= MATRIX_BYTES:
            numbers = np.frombuffer(bytes(data)[:MATRIX_BYTES], np.int32)
            return numbers.reshape(3, 3)[:2, :2]
    return np.eye(2, dtype=np.int32)


def upright(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a picture turned by a display matrix, to the nearest 90 degrees, and mirrored.

    Args:
        pixels: `[height, width, 3]`.
        matrix: `[2, 2]`, as MP4 files hold it (ISO/IEC 14496-12, track header), of any scale.
    """
    (a, b), (c, d) = matrix.astype(np.int64)
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def deinterlaced(frames: Iterable[av.VideoFrame], time_base: Fraction) -> Iterator[av.VideoFrame]:
    """Yield frames, from the first interlaced one on through FFmpeg's filter bwdif, which fills in
    the lines of the other field.

    Args:
        frames: in display order.
        time_base: unit of their timestamps in s.
    """
    graph, kind = None, None
    for frame in frames:
        new_kind = (frame.width, frame.height, frame.format.name)
        if graph and new_kind != kind:
            yield from _filtered(graph, None)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, kind = _deinterlacer(frame, time_base), new_kind
        yield from _filtered(graph, frame) if graph else [frame]
    if graph:
        yield from _filtered(graph, None)


def _deinterlacer(frame: av.VideoFrame, time_base: Fraction) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _filtered(graph: av.filter.Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """Yield the frames that a filter makes of a frame; `None` flushes the filter."""
    try:
        graph.vpush(frame)
        while True:
            yield graph.vpull()
    except FFmpegError:  # the filter waits for more, has ended, or cannot take this frame
        return
