"""Read the frames of a clip: `with open_clip("clip.mp4") as clip: for frame in clip.frames(): ...`.

PyAV (FFmpeg's libraries) decodes it. Frames come as a player shows them: at the same times (edit
lists and start offsets are obeyed), upright, with square pixels and deinterlaced. Frames that
cannot be decoded or converted are never handed out.
"""

from __future__ import annotations

import math
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

if __package__:
    from .frames import ClipFrame, Converter, deinterlaced
    from .packets import Outline, Use
    from .photos import MIN_SIDE
else:
    from frames import ClipFrame, Converter, deinterlaced
    from packets import Outline, Use
    from photos import MIN_SIDE

# Limits for clips. The page shows the first two.
MAX_BYTES = 100_000_000
MAX_SECONDS = 300
MAX_FRAME_PIXELS = 8192 * 4320  # 8K; FFmpeg holds a dozen frames of that size
MAX_RATE = 240  # frames per second; a clip that claims more has wrong timestamps
MAX_FRAMES = MAX_SECONDS * MAX_RATE
MAX_PACKETS = 3 * MAX_FRAMES  # including sound; damaged packets cost time as well
MAX_THREADS = 4  # each holds a frame

# How files begin. FFmpeg must not guess their format, as it takes text for a playlist of other
# files on this machine.
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
MATROSKA = b"\x1a\x45\xdf\xa3"
SOUND_FILES = (b"ID3", b"OggS", b"fLaC", b"\xff\xfb", b"\xff\xf1", b"\xff\xf3")

NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails  # cover art
INTERLACED = (2, 3, 4, 5)  # values of FFmpeg's AVFieldOrder
SOUND_ONLY = "The file holds sound without a picture: send a video."


class VideoError(ValueError):
    """A video that cannot be judged; the text says in one sentence what was found and what to
    do."""


class VideoCancelled(Exception):
    """The caller stopped the reading."""


@contextmanager
def open_clip(
    path: str | os.PathLike, cancelled: Callable[[], bool] | None = None
) -> Iterator[Clip]:
    """Open a clip.

    Args:
        path: of an MP4, MOV, WebM, Matroska or AVI file.
        cancelled: called before each packet is read; returns whether to stop.

    Raises:
        VideoError: the file is not a readable video, or is too large or too long.
    """
    path = Path(path)
    demuxer = _demuxer(path)
    limits = {"max_pixels": str(MAX_FRAME_PIXELS)}
    try:
        container = av.open(
            f"file:{path}",
            format=demuxer,
            options=limits,
            # Files and addresses that the clip refers to are not opened.
            container_options={"format_whitelist": demuxer, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (FFmpegError, ValueError) as error:
        raise VideoError(_why_unreadable(path)) from error
    with container:
        tracks = [track for track in container.streams.video if not track.disposition & NO_PICTURES]
        if not tracks and container.streams.audio:
            raise VideoError(SOUND_ONLY)
        readable = [track for track in tracks if track.codec_context is not None]
        if not readable:
            raise VideoError(_why_unreadable(path))
        readable[0].codec_context.options = limits
        yield Clip(container, readable[0], len(tracks), cancelled)


class Clip:
    """An open video.

    Attributes:
        seconds: duration of the picture according to the container; `None` where it gives none.
        gap: usual time between two frames in s.
        pixels: width x height of a frame as it is shown.
        tracks: number of picture tracks; the first readable one is used.
        read_until: time in s up to which the file was read, including sound.
    """

    def __init__(
        self,
        container: InputContainer,
        track: av.VideoStream,
        tracks: int,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._container, self._track, self._cancelled = container, track, cancelled
        self._start = (container.start_time or 0) / av.time_base
        self._read = 0  # picture packets
        self.tracks, self.read_until = tracks, 0.0
        self.seconds = self._claimed_seconds()
        rate = float(track.guessed_rate or track.average_rate or 0)
        self.gap = 1 / min(rate if 0 < rate < math.inf else 25, MAX_RATE)
        self._converter = Converter(track.sample_aspect_ratio or Fraction(1))
        track.thread_type, track.thread_count = "AUTO", min(os.cpu_count() or 1, MAX_THREADS)
        if self.seconds and self.seconds > MAX_SECONDS:
            raise _too_long(f"lasts {clock(self.seconds)}")
        size = track.codec_context.width, track.codec_context.height
        width, height = self._converter.shown_size(*size)
        self.pixels = width * height
        if min(width, height) < MIN_SIDE or self.pixels > MAX_FRAME_PIXELS:
            # FFmpeg reports no size above its limit.
            found = f"{width}x{height}" if width and height else "too many or no"
            raise VideoError(
                f"The video has {found} pixels: send one of at least {MIN_SIDE}x{MIN_SIDE} and at "
                "most 8192x4320."
            )

    @property
    def is_complete(self) -> bool:
        """Whether as many frames were read as the file says it has."""
        return self._read >= self._track.frames > 0

    def _claimed_seconds(self) -> float | None:
        track, duration = self._track, self._container.duration
        if track.duration and track.time_base:
            seconds = self._played((track.start_time or 0) + track.duration, track.time_base)
        else:
            seconds = (duration or 0) / av.time_base
        return seconds if seconds > 0 else None

    def _played(self, stamp: int, time_base: Fraction) -> float:
        """Return the time in s at which a player shows a timestamp."""
        return float(stamp * time_base) - self._start

    def outline(self, tell: Callable[[float], object]) -> Outline:
        """Read the file once without decoding it; return the outline of its picture packets.

        Args:
            tell: called from time to time with the length read so far in s.

        Raises:
            VideoError: the video is too long.
            VideoCancelled: the caller stopped the reading.
        """
        outline = Outline()
        for packet in self._packets():
            stamp = math.nan
            if packet.pts is not None and packet.time_base:
                stamp = self._played(packet.pts, packet.time_base)
                length = float((packet.duration or 0) * packet.time_base) or self.gap
                outline.seconds = max(outline.seconds, stamp + length)
            else:
                outline.seconds += self.gap
            outline.stamps.append(stamp)
            outline.keys.append(packet.is_keyframe)
            outline.hidden.append(packet.is_discard)
            if outline.seconds > MAX_SECONDS:
                raise _too_long(f"goes on after {clock(MAX_SECONDS)}")
            if self._read % 30 == 1:
                tell(outline.seconds)
        return outline

    def frames(self, uses: Sequence[Use] = ()) -> Iterator[ClipFrame]:
        """Decode the clip.

        Args:
            uses: what to do with each picture packet: see `Outline.uses`. By default, all are
                decoded.

        Yields:
            The frames in display order, at strictly increasing times.

        Raises:
            VideoError: the video is too long, whatever its container claims.
            VideoCancelled: the caller stopped the reading.
        """
        if self._track.codec_context.field_order in INTERLACED:
            uses = ()  # deinterlacing a frame needs the lines of its neighbours
        seconds = -self.gap
        for number, frame in enumerate(deinterlaced(self._decoded(uses), self._track.time_base)):
            time_base = frame.time_base or self._track.time_base
            if frame.pts is not None and time_base:
                stamp = self._played(frame.pts, time_base)
            else:
                stamp = -math.inf
            # Frames without a timestamp follow at the usual interval.
            seconds = max(stamp if stamp > seconds else seconds + self.gap, 0.0)
            if seconds > MAX_SECONDS:
                raise _too_long(f"goes on after {clock(MAX_SECONDS)}")
            if number == MAX_FRAMES:
                raise _too_long(f"has more than {MAX_FRAMES:,} frames")
            stays = float(frame.duration * time_base) if frame.duration and time_base else self.gap
            latest = max(seconds + self.gap, self.seconds or MAX_SECONDS)
            yield ClipFrame(self._converter, frame, seconds, min(seconds + stays, latest))

    def _packets(self) -> Iterator[av.Packet]:
        """Yield the picture packets, still encoded, up to where the file is damaged."""
        packets = self._container.demux(self._track, *self._container.streams.audio)
        for _ in range(MAX_PACKETS):
            if self._cancelled and self._cancelled():
                raise VideoCancelled("The video was not judged to its end.")
            try:
                packet = next(packets, None)
            except FFmpegError:
                return
            if packet is None:
                return
            if packet.size == 0:  # FFmpeg would take it for the end
                continue
            if packet.pts is not None and packet.time_base and not packet.is_discard:
                end = self._played(packet.pts + (packet.duration or 0), packet.time_base)
                self.read_until = max(self.read_until, end)
            if packet.stream_index == self._track.index:
                self._read += 1
                yield packet
        raise _too_long(f"has more than {MAX_FRAMES:,} frames")

    def _decoded(self, uses: Sequence[Use]) -> Iterator[av.VideoFrame]:
        """Decode the wanted picture packets, and all once a key frame does not decode alone."""
        decoder = self._track.codec_context
        for number, packet in enumerate(self._packets()):
            use = uses[number] if number < len(uses) else Use.SHOW
            if use in (Use.ENTRY, Use.ALONE):
                yield from self._decode([None])
                decoder.flush_buffers()
                alone = list(self._decode([packet, None]))
                decoder.flush_buffers()  # forgets all references to other frames
                if use is Use.ALONE and alone:
                    yield from alone
                    continue
                if not alone:
                    uses = ()
            elif use is Use.LEAVE:
                continue
            decoder.skip_frame = "NONREF" if use is Use.REFERENCE else "DEFAULT"
            yield from self._decode([packet])
        yield from self._decode([None])

    def _decode(self, packets: Iterable[av.Packet | None]) -> Iterator[av.VideoFrame]:
        """Yield the undamaged frames that packets decode to; `None` flushes the decoder."""
        for packet in packets:
            try:
                frames = self._track.decode(packet)
            except FFmpegError:
                continue  # a damaged packet; others may follow
            yield from (frame for frame in frames if not frame.is_corrupt)


# --- The file ---


def _demuxer(path: Path) -> str:
    """Return the name of FFmpeg's demuxer for a file.

    Raises:
        VideoError: the file is missing, empty, too large or of a format that is not accepted.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("There is no file at this path: check it.")
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise VideoError(f"The video cannot be read ({error.strerror}): check its path.") from error
    except VideoError:
        raise
    except ValueError as error:  # a path with a null byte
        raise VideoError(f"The video cannot be read ({error}): check its path.") from error
    if status.st_size > MAX_BYTES:
        raise VideoError(
            f"The video has {status.st_size / 1e6:.1f} MB: send one of at most "
            f"{MAX_BYTES // 10**6} MB, a shorter part of it for instance."
        )
    if not head:
        raise VideoError("The file is empty: choose another one.")
    if head[4:8] in MP4_BOXES:
        return "mov"
    if head.startswith(MATROSKA):
        return "matroska"
    if (head[:4], head[8:12]) == (b"RIFF", b"AVI "):
        return "avi"
    if head.startswith(SOUND_FILES) or (head[:4], head[8:12]) == (b"RIFF", b"WAVE"):
        raise VideoError(SOUND_ONLY)
    raise VideoError(
        "The file is not a video, whatever its name says: send an MP4, MOV or WebM file."
    )


def _why_unreadable(path: Path) -> str:
    """Return what is wrong with a file that begins like a video, by the tags in it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        is_mp4 = content[4:8] in MP4_BOXES
        has_index = content.find(b"moov") >= 0
        end = len(content) if is_mp4 else 4096  # WebM names its codecs at its start
        has = {tag: content.find(tag, 0, end) >= 0 for tag in (b"vide", b"soun", b"V_", b"A_")}
    if is_mp4 and not has_index:
        return (
            "The video is cut off (its index, which MP4 and MOV files have at their end, is "
            "missing): send the complete file."
        )
    picture, sound = (b"vide", b"soun") if is_mp4 else (b"V_", b"A_")
    if has[sound] and not has[picture]:
        return SOUND_ONLY
    return (
        "The video is damaged or in a format that cannot be read: save it again as MP4 with H.264."
    )


def _too_long(found: str) -> VideoError:
    return VideoError(
        f"The video {found}: send one of at most {MAX_SECONDS // 60} minutes, a part of it for "
        "instance."
    )


def clock(seconds: float) -> str:
    """Return a time as `4:05` or `1:04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
