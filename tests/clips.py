"""Write clips for tests, with PyAV."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.stream import Disposition

RATE = 25
SOUND_RATE, SOUND_FRAME = 8000, 1024  # samples per second, samples per frame
TICK = Fraction(1, 1000)  # s, time base of the frames
FINE = {"flags": "+qscale", "global_quality": "354"}  # a quantiser of 3, whatever the rate


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    stamps: Iterable[float] | None = None,
    codec: str = "mpeg4",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    tracks: int = 1,
    rotation: tuple | None = None,
    start: float = 0.0,
    sound: float = 0.0,
    **settings,
) -> Path:
    """Write a clip; return its path.

    Args:
        path: its suffix selects the container.
        frames: `uint8` `[height, width, 3]` in RGB order.
        stamps: times of the frames in s; 25 frames per second by default.
        codec: FFmpeg's name for the encoder.
        pix_fmt: pixel format of the encoder.
        options: options of the encoder.
        muxer: options of the container.
        tracks: number of video tracks to write, all with the same frames.
        rotation: arguments of `set_display_rotation`.
        start: shift of the times in s; an edit list cuts off those below 0.
        sound: length of an added silent audio track in s; 0 adds none.
        settings: attributes of the encoder.
    """
    frames = list(frames)
    stamps = [number / RATE for number in range(len(frames))] if stamps is None else stamps
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", container_options=muxer or {}) as container:
        streams = [
            container.add_stream(codec, rate=RATE, options=options or FINE) for _ in range(tracks)
        ]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            _set_up(stream, rotation, settings)
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound else None
        for frame in _stamped(frames, stamps):
            for stream in streams:
                container.mux(_shifted(stream.encode(frame), start))
        if audio:
            _write_silence(container, audio, sound)
    return path


def _set_up(stream: av.VideoStream, rotation: tuple | None, settings: dict) -> None:
    stream.codec_context.time_base = TICK
    for name, value in settings.items():
        setattr(stream.codec_context, name, value)
    if rotation:
        stream.set_display_rotation(*rotation)


def _stamped(
    frames: Iterable[np.ndarray], stamps: Iterable[float]
) -> Iterator[av.VideoFrame | None]:
    """Yield frames for an encoder, then `None`, which flushes the packets that it holds back."""
    for pixels, stamp in zip(frames, stamps, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        frame.pts, frame.time_base = round(stamp / TICK), TICK
        yield frame
    yield None


def _shifted(packets: list[av.Packet], seconds: float) -> list[av.Packet]:
    for packet in packets:
        shift = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
    return packets


def write_cover(path: Path, cover: np.ndarray, seconds: float = 1.0) -> Path:
    """Write an audio file with cover art `[height, width, 3]`; return its path."""
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        picture = container.add_stream("mjpeg", rate=1)
        picture.height, picture.width = cover.shape[:2]
        picture.pix_fmt = "yuvj420p"
        picture.disposition = Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(cover), "rgb24")
        container.mux(picture.encode(frame))
        _write_silence(container, audio, seconds)
    return path


def _write_silence(container: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    silence = np.zeros((1, SOUND_FRAME), np.float32)
    for number in range(round(seconds * SOUND_RATE / SOUND_FRAME)):
        samples = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
        samples.sample_rate, samples.pts = SOUND_RATE, SOUND_FRAME * number
        container.mux(stream.encode(samples))
    container.mux(stream.encode(None))
