import json
import math
import struct
import wave
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from space.clips import MAX_BYTES, MAX_SECONDS, VideoCancelled, VideoError
from space.contract import DetectorConfig
from space.crops import crop_face
from space.detector import BATCH, BUNDLED, load_bundled
from space.faces import Face, FaceFinder, load_face_finder
from space.judgements import FaceCrop, Judgement, Prediction
from space.people import Person
from space.video import VideoJudgement, judge_video
from tests.clips import RATE, write_clip, write_cover
from tests.drawing import draw_face

# Whatever the thresholds of the bundled model are.
CONFIG = replace(DetectorConfig.load(BUNDLED), thresholds={"real": 0.3, "fake": 0.7})
WIDTH, HEIGHT = 320, 240
# Colours of the frames around the drawn faces, by which the finder below finds the faces, and the
# probabilities that the detector below returns.
COLOURS = {"ann": (255, 0, 255), "bob": (0, 255, 255), "cat": (255, 255, 0)}
ANSWERS = {"ann": 0.9, "bob": 0.1, "cat": 0.5}
SEEDS = {"ann": 1, "bob": 2, "cat": 3}
FINE_SIDE = 400  # px: the detector below needs no larger face


class MarkedFaceFinder(FaceFinder):
    """Finds the coloured frames."""

    def __init__(self) -> None:
        super().__init__("for tests")
        self.photos: list[Image.Image] = []

    def find(self, photo: Image.Image) -> list[Face]:
        self.photos.append(photo)
        pixels = np.asarray(photo, np.int16)
        faces = []
        for colour in COLOURS.values():
            rows, columns = np.nonzero(np.abs(pixels - colour).max(axis=2) < 70)
            if len(rows) > 100:
                left, top = int(columns.min()), int(rows.min())
                box = (left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
                faces.append(Face(box, None, 1.0))
        return faces


class FixedFaceFinder(FaceFinder):
    """Finds faces at the same places in every frame."""

    def __init__(self, boxes: list[tuple[float, float, float, float]]) -> None:
        super().__init__("for tests")
        self._faces = [Face(box, None, 1.0) for box in boxes]

    def find(self, photo: Image.Image) -> list[Face]:
        return self._faces


class MarkedFaceDetector:
    """Knows the answer by the colour of the frame around a face."""

    config = CONFIG

    def __init__(self) -> None:
        self.calls: list[int] = []  # faces per call

    def is_fine_enough(self, faces: list[Face]) -> bool:
        return all(face.side >= FINE_SIDE for face in faces)

    def crop_faces(self, photo: Image.Image, faces: list[Face]) -> list[FaceCrop]:
        crops = [crop_face(photo, face, CONFIG.crop_margin) for face in faces]
        return [
            FaceCrop(face, crop, None, np.asarray(photo))
            for face, crop in zip(faces, crops, strict=True)
        ]

    def judge_crops(self, crops: list[FaceCrop], *, second_look: bool) -> list[Judgement]:
        assert not second_look  # the frames of a clip are averaged already
        self.calls.append(len(crops))
        return [self._judge(crop.pixels, crop.face, crop.crop) for crop in crops]

    def _judge(self, photo: np.ndarray, face: Face, crop: Image.Image) -> Judgement:
        left, top, _, height = (int(value) for value in face.box)
        edge = photo.astype(int)[top + height // 2, left + 1]
        distances = {name: np.abs(edge - colour).max() for name, colour in COLOURS.items()}
        return judgement(ANSWERS[min(distances, key=distances.get)], face, crop)


def judgement(probability: float, face: Face, crop: Image.Image | None = None) -> Judgement:
    prediction = Prediction(
        probability, CONFIG.verdict(probability), None, np.zeros((7, 7), np.float32)
    )
    return Judgement(face, crop or Image.new("RGB", (64, 64)), None, prediction)


drawn_face = cache(draw_face)


@cache
def wall(room: int) -> Image.Image:
    """Return an RGB picture of an empty room."""
    rng = np.random.default_rng(room)
    spots = Image.fromarray(rng.integers(40, 190, (4, 5, 3), np.uint8))
    return spots.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def picture(places: dict[str, tuple[int, int]], room: int = 0, side: int = 88) -> np.ndarray:
    """Return an RGB frame of a room with people at these places (left, top)."""
    scene = wall(room).copy()
    for name, (left, top) in places.items():
        scene.paste(Image.new("RGB", (side, side), COLOURS[name]), (left, top))
        scene.paste(drawn_face(SEEDS[name], side - 10), (left + 5, top + 5))
    return np.asarray(scene)


def judge(path: Path, finder: FaceFinder | None = None, **options) -> VideoJudgement:
    return judge_video(path, MarkedFaceDetector(), finder or MarkedFaceFinder(), **options)


class Counter:
    """Says when to stop: after `last` frames; counts how often it was asked."""

    def __init__(self, last: float = math.inf) -> None:
        self.asked, self._last = 0, last

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self._last


@pytest.fixture
def opened(monkeypatch) -> list[av.container.InputContainer]:
    """All containers that are opened for decoding."""
    containers, original_open = [], av.open

    def remember(*arguments, **options) -> av.container.InputContainer:
        containers.append(original_open(*arguments, **options))
        return containers[-1]

    monkeypatch.setattr("space.clips.av.open", remember)
    return containers


def all_closed(containers: list[av.container.InputContainer]) -> bool:
    return bool(containers) and not any(container.input_was_opened for container in containers)


def regular(seconds: float, rate: float = RATE) -> list[float]:
    return [number / rate for number in range(round(seconds * rate))]


def write_still(path: Path, stamps: list[float], **options) -> Path:
    """Write a clip of Ann, who does not move, with frames at these times."""
    return write_clip(path, [picture({"ann": (20, 30)})] * len(stamps), stamps=stamps, **options)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """Ann and Bob, who walk to and fro for 4 s."""
    frames = (
        picture({"ann": (10 + round(20 * math.sin(n / 9)) + 20, 30), "bob": (190, 90 - n // 2)})
        for n in range(4 * RATE)
    )
    return write_clip(tmp_path_factory.mktemp("clips") / "pair.mp4", frames)


def test_two_people_get_two_answers(pair):
    judged = judge(pair)
    assert judged.sentence == "2 people: person 1 likely fake, person 2 likely real."
    assert judged.seconds == pytest.approx(4, abs=0.05)
    assert judged.frames_looked_at == 8
    assert (judged.others, judged.note) == (0, "")
    for person, probability in zip(judged.people, (0.9, 0.1), strict=True):
        assert [moment.probability for moment in person.moments] == [probability] * 8
        assert [moment.seconds for moment in person.moments] == pytest.approx(
            [number / 2 for number in range(8)], abs=0.05
        )
        assert person.probability == pytest.approx(probability)


def test_faces_of_several_frames_are_judged_at_once(tmp_path):
    ann, bob = picture({"ann": (20, 30)}, room=1), picture({"bob": (200, 100)}, room=2)
    # After a cut nobody is where they were, so the faces before it are judged first.
    clip = write_clip(tmp_path / "clip.mp4", [ann] * 250 + [bob] * 50)
    detector, finder = MarkedFaceDetector(), MarkedFaceFinder()
    judged = judge_video(clip, detector, finder)
    assert len(judged.people) == 2
    *before, after = detector.calls
    assert before == [BATCH, BATCH, 20 - 2 * BATCH]
    assert after == len(finder.photos) - 20


def test_answer_goes_through_json_without_pixels(pair):
    answer = json.loads(json.dumps(judge(pair).as_dict()))
    first = answer["people"][0]
    assert (first["number"], first["verdict"]) == (1, "fake")
    assert (first["first_seen"], first["last_seen"]) == (0, pytest.approx(3.5, abs=0.05))
    assert len(first["scores"]) == 8
    assert first["moments"][0]["probability"] == 0.9
    assert len(json.dumps(answer)) < 10_000


def test_full_crops_are_kept_of_the_moments_to_show_only(pair):
    for person in judge(pair).people:
        assert 1 <= len(person.suspicious) <= 3
        assert all(max(moment.judgement.crop.size) > 100 for moment in person.suspicious)
        assert all(max(moment.judgement.crop.size) <= 64 for moment in person.moments)


def test_who_leaves_and_comes_back_is_the_same_person(tmp_path):
    both, alone = {"ann": (20, 30), "bob": (200, 60)}, {"ann": (20, 30)}
    back = {"ann": (20, 30), "bob": (190, 85)}
    frames = [picture(places) for places in (both, alone, back) for _ in range(3 * RATE)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [person.verdict for person in judged.people] == ["fake", "real"]
    times = [moment.seconds for moment in judged.people[1].moments]
    assert not [time for time in times if 3 <= time < 6]
    assert [time for time in times if time < 3]
    assert [time for time in times if time >= 6]


def test_a_cut_from_one_person_to_another_at_the_same_place(tmp_path):
    shots = [picture({"ann": (100, 60)}, room=1), picture({"bob": (100, 60)}, room=2)]
    frames = [shots[n // 55 % 2] for n in range(4 * 55)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [person.verdict for person in judged.people] == ["fake", "real"]
    cuts = [2.2, 4.4, 6.6]
    times = [moment.seconds for person in judged.people for moment in person.moments]
    assert all(any(0 <= time - cut < 0.2 for time in times) for cut in cuts)


def test_people_who_pass_each_other_are_not_mixed_up(tmp_path):
    frames = [picture({"ann": (2 * n, 10), "bob": (230 - 2 * n, 120)}) for n in range(115)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [{moment.probability for moment in person.moments} for person in judged.people] == [
        {0.9},
        {0.1},
    ]


def test_who_is_seen_too_little_gets_no_verdict(tmp_path):
    glimpse = {"ann": (20, 30), "bob": (200, 60)}
    frames = [picture(glimpse if 45 < n < 55 else {"ann": (20, 30)}) for n in range(100)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert judged.sentence == "1 person, likely fake; 1 more seen too little or too small."
    nobody = [picture({"bob": (200, 60)} if 45 < n < 55 else {}) for n in range(100)]
    judged = judge(write_clip(tmp_path / "clip.mp4", nobody))
    assert judged.sentence == "1 person, inconclusive (seen too little)."
    assert judged.as_dict()["people"][0]["reason"] == "seen_too_little"


def test_two_looks_are_enough_in_a_short_clip(tmp_path):
    frames = [picture({"ann": (20, 30)} if n < 2 else {}) for n in range(5)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert (judged.frames_looked_at, judged.sentence) == (5, "1 person, likely fake.")


def test_clip_of_one_frame_is_judged_without_a_verdict(tmp_path):
    judged = judge(write_clip(tmp_path / "clip.mp4", [picture({"ann": (20, 30)})]))
    assert (judged.frames_looked_at, judged.people[0].probability) == (1, pytest.approx(0.9))
    assert judged.sentence == "1 person, inconclusive (seen too little)."


def paint_patches(boxes: list[tuple[int, int, int, int]], rng: np.random.Generator) -> np.ndarray:
    """Return a frame of noise with a patch of another colour in each box."""
    frame = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for left, top, width, height in boxes:
        frame[top : top + height, left : left + width] = rng.integers(0, 255, 3)
    return frame


def test_crowd_is_counted_but_not_all_reported(tmp_path):
    boxes = [(10 + 40 * (n % 7), 10 + 110 * (n // 7), 36, 70 - n % 3) for n in range(12)]
    frame = paint_patches(boxes, np.random.default_rng(1))
    judged = judge(write_clip(tmp_path / "clip.mp4", [frame] * 100), FixedFaceFinder(boxes))
    assert len(judged.people) == 6
    assert judged.others == 4
    assert [person.number for person in judged.people] == [1, 2, 3, 4, 5, 6]
    assert judged.note == "Of up to 12 faces in a frame, the 10 largest were judged."
    assert judged.sentence.endswith("; 4 more seen too little or too small.")


def test_new_faces_in_every_frame_push_nobody_out_who_stays(tmp_path):
    boxes = [(220, 130, 90, 90), (20, 20, 90, 90), (120, 20, 90, 90), (220, 20, 90, 90)]
    rng, staying = np.random.default_rng(1), picture({"ann": (220, 130)}, side=90)

    def paint() -> np.ndarray:
        frame = paint_patches(boxes, rng)
        frame[120:, 210:] = staying[120:, 210:]
        return frame

    frames = [paint() for _ in range(40)]
    path = write_clip(tmp_path / "clip.mp4", frames, stamps=regular(20, 2))
    judged = judge(path, FixedFaceFinder(boxes))
    assert max(len(person.moments) for person in judged.people) == judged.frames_looked_at
    assert all(len(person.moments) >= 3 for person in judged.people)
    assert judged.others > 30


def test_small_faces_are_reported_only_where_there_are_no_others(tmp_path):
    small, large = picture({"ann": (20, 30)}, side=50), picture({"bob": (200, 60)})
    alone = judge(write_clip(tmp_path / "small.mp4", [small] * 50))
    assert alone.people[0].too_small
    assert alone.sentence == "1 person, likely fake."
    together = np.where(np.arange(WIDTH)[:, None] < 160, small, large)
    judged = judge(write_clip(tmp_path / "both.mp4", [together] * 50))
    assert judged.sentence == "1 person, likely real; 1 more seen too little or too small."
    glimpse = [together if 22 < n < 26 else large for n in range(50)]
    assert judge(write_clip(tmp_path / "glimpse.mp4", glimpse)).sentence == "1 person, likely real."


def test_times_are_the_containers_where_the_rate_varies(tmp_path):
    stamps = [n * 0.04 for n in range(50)] + [2 + n * 0.3 for n in range(10)]
    times = [
        moment.seconds
        for moment in judge(write_still(tmp_path / "a.mp4", stamps)).people[0].moments
    ]
    assert all(min(abs(time - stamp) for stamp in stamps) < 1e-3 for time in times)
    assert np.diff(times).max() < 1


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_what_stays_on_the_screen_is_looked_at_again(tmp_path, ending):
    """Screen recordings have no frames while nothing moves."""
    stamps = [*regular(2), *(102 + stamp for stamp in regular(2))]
    shots = [picture({"ann": (20, 30)})] * 50 + [picture({"bob": (200, 60)}, room=2)] * 50
    finder = MarkedFaceFinder()
    judged = judge(write_clip(tmp_path / f"clip.{ending}", shots, stamps=stamps), finder)
    assert judged.seconds == pytest.approx(104, abs=0.1)
    assert judged.note == ""
    times = [moment.seconds for moment in judged.people[0].moments]
    assert len(times) == pytest.approx(59, abs=1)
    assert np.diff(times).max() < 2
    assert times[-1] > 98
    assert len(finder.photos) < 10


def test_sound_that_goes_on_after_the_picture_is_no_damage(tmp_path):
    path = write_still(tmp_path / "clip.mkv", regular(2), sound=6)
    judged = judge(path)
    assert judged.seconds == pytest.approx(2, abs=0.1)
    assert judged.note == ""


@pytest.mark.parametrize(
    ("seconds", "rate", "looks"), [(0.2, 25, 5), (1, 25, 8), (10, 25, 20), (290, 2, 60)]
)
@pytest.mark.parametrize("has_length", [True, False])
def test_looks_are_even_and_limited(tmp_path, opened, seconds, rate, looks, has_length):
    muxer = None if has_length else {"live": "1"}
    path = write_still(tmp_path / "clip.mkv", regular(seconds, rate), muxer=muxer, gop_size=600)
    judged = judge(path)
    assert judged.frames_looked_at == looks
    times = [moment.seconds for moment in judged.people[0].moments]
    assert np.ptp(np.diff(times)) <= 1 / rate + 2e-3
    assert all_closed(opened)


def test_key_frames_do_where_they_come_as_often_as_looks(tmp_path):
    frames = [picture({"ann": (20 + n, 30)}) for n in range(90) for _ in range(4)]
    path = write_clip(tmp_path / "clip.mp4", frames, stamps=regular(90, 4), gop_size=4)
    judged = judge(path)
    times = [moment.seconds for moment in judged.people[0].moments]
    assert judged.frames_looked_at == pytest.approx(60, abs=20)
    assert all(time == pytest.approx(round(time), abs=0.1) for time in times[:-2])
    assert np.diff(times).max() < 2.5
    assert judged.note == ""


def test_looks_are_the_same_where_other_frames_are_left_out(tmp_path, monkeypatch):
    shots = [picture({"ann": (20 + 4 * n, 30)}) for n in range(20)]
    frames = [shots[n % 20] for n in range(124)]
    options = {"preset": "superfast", "x264-params": "keyint=24:scenecut=0:bframes=3"}
    stamps = [0.25 * n + 0.01 * (n % 7) for n in range(124)]
    path = write_clip(
        tmp_path / "clip.mp4", frames, stamps=stamps, codec="libx264", options=options
    )

    def looks() -> tuple[list[float], list[bytes], int]:
        finder, steps = MarkedFaceFinder(), []
        judged = judge(path, finder, progress=lambda *step: steps.append(step))
        times = [moment.seconds for moment in judged.people[0].moments]
        return times, [photo.tobytes() for photo in finder.photos], len(steps)

    times, photos, steps = looks()
    monkeypatch.setattr("space.packets.Outline.uses", lambda *arguments: ())
    all_times, all_photos, all_steps = looks()
    assert (times, photos) == (all_times, all_photos)
    assert len(times) == 60
    assert steps < all_steps - 10


def test_cut_between_key_frames_is_noticed_where_others_are_left_out(tmp_path):
    shots = [picture({"ann": (100, 60)}, room=1), picture({"bob": (100, 60)}, room=2)]
    frames = [shots[n // 155 % 2] for n in range(620)]
    path = write_clip(tmp_path / "clip.mp4", frames, stamps=regular(62, 10), gop_size=10)
    assert [person.verdict for person in judge(path).people] == ["fake", "real"]


def test_too_long_is_refused_before_anything_is_decoded(tmp_path, opened):
    path = write_still(tmp_path / "clip.mp4", [0, 3 * 3600])
    counter = Counter()
    with pytest.raises(VideoError, match=r"lasts 3:00:00: send one of at most 5 minutes"):
        judge(path, cancelled=counter)
    assert counter.asked == 0
    assert all_closed(opened)


@pytest.mark.parametrize("claimed", [10, None])
def test_container_that_hides_its_length_is_refused_at_the_limit(tmp_path, opened, claimed):
    muxer = None if claimed else {"live": "1"}
    path = write_still(tmp_path / "clip.mkv", regular(2 * MAX_SECONDS, 1), muxer=muxer)
    if claimed:
        content = bytearray(path.read_bytes())
        start = content.index(b"\x44\x89\x88") + 3  # the element that holds the length
        content[start : start + 8] = struct.pack(">d", 1000 * claimed)
        path.write_bytes(content)
    finder, counter = MarkedFaceFinder(), Counter()
    with pytest.raises(VideoError, match=r"goes on after 5:00: send one of at most 5 minutes"):
        judge(path, finder, cancelled=counter)
    assert counter.asked < MAX_SECONDS + 20
    assert len(finder.photos) < 200
    assert all_closed(opened)


def test_progress_grows_and_ends_at_one(pair):
    steps: list[tuple[float, str]] = []
    judge(pair, progress=lambda *step: steps.append(step))
    shares = [share for share, _ in steps]
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    assert shares[-1] == 1
    assert ("0:02 of 0:04") in [text for _, text in steps]


@pytest.mark.parametrize("muxer", [None, {"live": "1"}])
def test_cancelling_stops_before_the_next_frame(tmp_path, opened, muxer):
    path = write_still(tmp_path / "clip.mkv", regular(8), muxer=muxer)
    counter = Counter(last=30)
    with pytest.raises(VideoCancelled):
        judge(path, cancelled=counter)
    assert counter.asked == 31
    assert all_closed(opened)


def test_file_is_closed_when_progress_raises(tmp_path, opened):
    def interrupt(share: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(write_still(tmp_path / "clip.mp4", regular(8)), progress=interrupt)
    assert all_closed(opened)


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4 file."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def handler(kind: bytes) -> bytes:
    """Return the track of an MP4 file that holds sound (`soun`) or a picture (`vide`)."""
    handler_box = box(b"hdlr", bytes(8) + kind + bytes(13))
    return box(b"trak", box(b"mdia", handler_box))


FTYP = box(b"ftyp", b"mp42\0\0\0\0mp42")
ENCODED = bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n" * 20, "not a video, whatever its name says"),
        (b"MZ\x90\0" + ENCODED, "not a video, whatever its name says"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nother.mp4\n", "not a video, whatever its name says"),
        (b"", "The file is empty"),
        (b"ID3\x04" + ENCODED, "sound without a picture"),
        (FTYP + box(b"moov", handler(b"soun")) + box(b"mdat", ENCODED), "sound without a picture"),
        (FTYP + box(b"moov", handler(b"vide")) + box(b"mdat", ENCODED), "damaged or in a format"),
        (FTYP + box(b"mdat", ENCODED), "cut off .* send the complete file"),
        (b"\x1a\x45\xdf\xa3" + ENCODED, "damaged or in a format"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=message):
        judge(path)


def test_sound_with_the_name_of_a_video_is_named(tmp_path):
    path = tmp_path / "clip.mp4"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with pytest.raises(VideoError, match="sound without a picture"):
        judge(path)


def test_missing_and_too_large_files_are_named(tmp_path):
    with pytest.raises(VideoError, match="check its path"):
        judge(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="check its path"):
        judge("a\0b")
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 300_000)
    with pytest.raises(VideoError, match=r"has 100\.3 MB: send one of at most 100 MB"):
        judge(path)


@pytest.mark.parametrize(("width", "height"), [(16, 240), (320, 16)])
def test_odd_sizes_are_named(tmp_path, monkeypatch, width, height):
    path = write_clip(tmp_path / "clip.mp4", [picture({})[:height, :width]])
    with pytest.raises(VideoError, match=f"{width}x{height} pixels"):
        judge(path)
    monkeypatch.setattr("space.clips.MAX_FRAME_PIXELS", 320 * 239)
    path = write_clip(tmp_path / "clip.mp4", [picture({})])
    with pytest.raises(VideoError, match="too many or no pixels"):
        judge(path)


def test_no_face_is_named(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [picture({})] * 50)
    with pytest.raises(VideoError, match="No face was found in the 8 frames"):
        judge(path)
    with pytest.raises(VideoError, match="No face was found in the only frame"):
        judge(write_clip(path, [picture({})]))


def test_what_is_left_of_a_cut_off_file_is_judged(tmp_path, pair):
    frames = [picture({"ann": (20 + n, 30)}) for n in range(100)]
    path = write_clip(tmp_path / "clip.webm", frames, codec="libvpx", options={"cpu-used": "8"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    judged = judge(path)
    assert judged.sentence == "1 person, likely fake."
    assert 0.5 < judged.seconds < 3.5
    assert "of 4.0 seconds, so the file is probably cut off" in judged.note
    path = tmp_path / "clip.mp4"  # has its index at the end
    path.write_bytes(pair.read_bytes()[: pair.stat().st_size // 2])
    with pytest.raises(VideoError, match="cut off"):
        judge(path)


def test_phone_that_was_turned(tmp_path):
    frames = [np.rot90(picture({"ann": (20, 30)}))] * 25
    finder = MarkedFaceFinder()
    judged = judge(write_clip(tmp_path / "clip.mp4", frames, rotation=(-90,)), finder)
    assert finder.photos[0].size == (WIDTH, HEIGHT)
    assert judged.people[0].moments[0].judgement.face.box == pytest.approx((20, 30, 88, 88), abs=3)


def test_pixels_have_a_shape(tmp_path):
    frames = [picture({"ann": (20, 30)})[:, ::2]] * 25
    finder = MarkedFaceFinder()
    path = write_clip(tmp_path / "clip.mp4", frames, sample_aspect_ratio=Fraction(2))
    judged = judge(path, finder)
    assert finder.photos[0].size == (WIDTH, HEIGHT)
    assert judged.people[0].moments[0].judgement.face.box == pytest.approx((20, 30, 88, 88), abs=4)


@pytest.mark.parametrize("stored", ["as it is", "turned", "half as wide"])
@pytest.mark.parametrize(("side", "judged_width"), [(1200, 2217), (400, 3840)])
def test_large_frames_are_searched_in_a_copy_and_judged_where_that_is_fine_enough(
    tmp_path, monkeypatch, side, judged_width, stored
):
    frame = np.asarray(Image.fromarray(picture({})).resize((3840, 2160))).copy()
    frame[500 : 500 + side, 800 : 800 + side] = COLOURS["ann"]
    crop_faces, photos = MarkedFaceDetector.crop_faces, []
    monkeypatch.setattr(
        MarkedFaceDetector,
        "crop_faces",
        lambda self, photo, faces: photos.append(photo) or crop_faces(self, photo, faces),
    )
    options = {}
    if stored == "turned":
        frame, options = np.rot90(frame), {"rotation": (-90,)}
    elif stored == "half as wide":
        frame, options = frame[:, ::2], {"sample_aspect_ratio": Fraction(2)}
    finder = MarkedFaceFinder()
    judged = judge(write_clip(tmp_path / "clip.mp4", [frame], **options), finder)
    assert [photo.width for photo in finder.photos] == [2217]
    assert [photo.width for photo in photos] == [judged_width]
    (moment,) = judged.people[0].moments
    assert moment.judgement.face.box == pytest.approx((800, 500, side, side), abs=6)


def test_trimmed_clip_has_the_length_at_which_it_plays(tmp_path):
    frames = [picture({"bob": (200, 60)})] * 100 + [picture({"ann": (20, 30)})] * 100
    muxer = {"avoid_negative_ts": "disabled"}
    judged = judge(write_clip(tmp_path / "a.mp4", frames, gop_size=250, start=-4, muxer=muxer))
    assert (judged.sentence, judged.note) == ("1 person, likely fake.", "")
    assert judged.seconds == pytest.approx(4)
    assert judged.people[0].moments[0].seconds == 0


def test_cover_of_a_song_is_no_video(tmp_path):
    path = write_cover(tmp_path / "song.m4a", picture({"ann": (20, 30)}))
    with pytest.raises(VideoError, match="sound without a picture"):
        judge(path)


def test_several_picture_tracks_are_told(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [picture({"ann": (20, 30)})] * 25, tracks=2)
    judged = judge(path)
    assert judged.sentence == "1 person, likely fake."
    assert judged.note == "The file has 2 picture tracks, of which the first was judged."


def test_pixels_that_cannot_be_converted_are_never_used(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "clip.mp4", [picture({"ann": (20, 30)})] * 25)
    monkeypatch.setattr("space.frames._converted", lambda *arguments: None)
    with pytest.raises(VideoError, match="no frame of it can be decoded"):
        judge(path)


def test_sentences():
    def sentence(*verdicts: str, others: int = 0) -> str:
        people = [Person(n, [], 0.5, verdict, []) for n, verdict in enumerate(verdicts, start=1)]
        return VideoJudgement(1.0, 8, people, others, "").sentence

    assert sentence("fake") == "1 person, likely fake."
    assert sentence("real", "inconclusive") == (
        "2 people: person 1 likely real, person 2 inconclusive."
    )
    assert sentence("real", others=3) == (
        "1 person, likely real; 3 more seen too little or too small."
    )


def test_case_files_are_answered_rightly(shared):
    cases = shared.parent / "cases"
    if not cases.is_dir():
        pytest.skip(f"needs the clips of {cases}")
    detector, finder = load_bundled(), load_face_finder()
    judged = {path.stem: judge_video(path, detector, finder) for path in cases.glob("*.mp4")}
    assert judged["edit_list_trim_stream_copy"].seconds == pytest.approx(4, abs=0.1)
    assert judged["vfr_gap_100s_with_sound"].seconds == pytest.approx(104, abs=0.1)
    assert judged["vfr_gap_100s_with_sound"].frames_looked_at == 60
    assert not any(answer.note for answer in judged.values())
    # The stretched clip has half the columns and less detail. The probability of a face this small
    # depends on detail; its bounding box does not.
    stretched, square = (
        judged[name].people[0] for name in ("anamorphic_sar2_1", "square_pixels_same_clip")
    )
    for first, second in zip(stretched.moments, square.moments, strict=True):
        assert first.judgement.face.box == pytest.approx(second.judgement.face.box, abs=6)


def test_real_face_with_the_real_finder_and_detector(tmp_path):
    photo = Image.fromarray(astronaut())
    frames = [np.asarray(photo.crop((n, 0, n + 440, 330))) for n in range(0, 40, 5)]
    detector = load_bundled()
    judged = judge_video(write_clip(tmp_path / "clip.mp4", frames), detector, load_face_finder())
    assert len(judged.people) == 1
    assert len(judged.people[0].moments) == judged.frames_looked_at
    best = judged.people[0].suspicious[0]
    assert best.judgement.prediction.heatmap.shape == (detector.config.input_size // 16,) * 2
    assert judged.people[0].verdict == detector.config.verdict(judged.people[0].probability)


@pytest.mark.parametrize("name", ["fake_face_crop", "fake_full_frame"])
def test_real_clips_show_one_person(shared, monkeypatch, name):
    model = shared.parent / "models" / "face_detection_yunet_2026may.onnx"
    monkeypatch.setenv("FACE_DETECTOR", str(model))
    path = shared / "video" / f"{name}.mp4"
    judged = judge_video(path, load_bundled(), load_face_finder())
    assert len(judged.people) == 1
    assert len(judged.people[0].moments) == judged.frames_looked_at
    assert judged.frames_looked_at == pytest.approx(2 * judged.seconds, abs=1)
