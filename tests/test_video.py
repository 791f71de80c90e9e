import json
import math
import struct
import wave
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from space.contract import DetectorConfig
from space.crops import crop_face
from space.detector import BATCH, BUNDLED, load_bundled
from space.faces import Face, FaceFinder, load_face_finder
from space.judgements import FaceCrop, Judgement, Prediction
from space.people import Person
from space.video import (
    MAX_BYTES,
    MAX_SECONDS,
    VideoCancelled,
    VideoError,
    VideoJudgement,
    judge_video,
)
from tests.drawing import draw_face

# Whatever the thresholds of the bundled model are.
CONFIG = replace(DetectorConfig.load(BUNDLED), thresholds={"real": 0.3, "fake": 0.7})
WIDTH, HEIGHT, RATE = 320, 240, 25
# Frames around the drawn faces, by which the finder below finds them, and what the detector below
# says about them.
COLOURS = {"ann": (255, 0, 255), "bob": (0, 255, 255), "cat": (255, 255, 0)}
ANSWERS = {"ann": 0.9, "bob": 0.1, "cat": 0.5}
SEEDS = {"ann": 1, "bob": 2, "cat": 3}


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
        self.calls: list[int] = []  # how many faces each had

    def crop_faces(self, photo: Image.Image, faces: list[Face]) -> list[FaceCrop]:
        crops = [crop_face(photo, face, CONFIG.crop_margin) for face in faces]
        return [
            FaceCrop(face, crop, None, np.asarray(photo))
            for face, crop in zip(faces, crops, strict=True)
        ]

    def judge_crops(self, crops: list[FaceCrop]) -> list[Judgement]:
        self.calls.append(len(crops))
        return [self._judge(one.pixels, one.face, one.crop) for one in crops]

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


def picture(places: dict[str, tuple[int, int]], room: int = 0, side: int = 88) -> np.ndarray:
    """Return an RGB frame of a room with people at these places (left, top)."""
    rng = np.random.default_rng(room)
    wall = Image.fromarray(rng.integers(40, 190, (4, 5, 3), np.uint8))
    scene = wall.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    for name, (left, top) in places.items():
        scene.paste(Image.new("RGB", (side, side), COLOURS[name]), (left, top))
        scene.paste(drawn_face(SEEDS[name], side - 10), (left + 5, top + 5))
    return np.asarray(scene)


def write_clip(path: Path, frames: Iterable[np.ndarray], codec: str = "mp4v") -> Path:
    writer = None
    for frame in frames:
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE, size)
            assert writer.isOpened()
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def judge(path: Path, finder: FaceFinder | None = None, **options) -> VideoJudgement:
    return judge_video(path, MarkedFaceDetector(), finder or MarkedFaceFinder(), **options)


class FakeCapture:
    """A video of whatever times, without a file."""

    def __init__(
        self, stamps: Iterable[float], *, claimed: float | None = None, rate: float = RATE
    ) -> None:
        self._all = list(stamps)
        frame = picture({"ann": (20, 30)})
        self.paint: Callable[[], np.ndarray] = lambda: frame
        self.properties = {
            cv2.CAP_PROP_FRAME_COUNT: -1.0 if claimed is None else claimed * rate,
            cv2.CAP_PROP_FPS: rate,
            cv2.CAP_PROP_FRAME_WIDTH: WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT: HEIGHT,
        }
        self.grabbed = self.opened = self.released = 0

    def open(self, *arguments) -> "FakeCapture":
        self.opened += 1
        self._stamps = iter(self._all)
        return self

    def isOpened(self) -> bool:
        return True

    def set(self, number: int, value: float) -> bool:
        return True

    def get(self, number: int) -> float:
        return self.properties[number]

    def grab(self) -> bool:
        stamp = next(self._stamps, None)
        if stamp is None:
            return False
        self.grabbed += 1
        self.properties[cv2.CAP_PROP_POS_MSEC] = 1000 * stamp
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, self.paint()[..., ::-1]

    def release(self) -> None:
        self.released += 1


@pytest.fixture
def fake(tmp_path, monkeypatch) -> Callable[..., tuple[Path, FakeCapture]]:
    def make(stamps: Iterable[float], **options) -> tuple[Path, FakeCapture]:
        capture = FakeCapture(stamps, **options)
        monkeypatch.setattr(cv2, "VideoCapture", capture.open)
        path = tmp_path / "fake.mp4"
        path.write_bytes(b"\0\0\0\x18ftypmp42")
        return path, capture

    return make


def regular(seconds: float, rate: float = RATE) -> list[float]:
    return [number / rate for number in range(round(seconds * rate))]


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
        assert [one.probability for one in person.moments] == [probability] * 8
        assert [one.seconds for one in person.moments] == pytest.approx(
            [number / 2 for number in range(8)], abs=0.05
        )
        assert person.probability == pytest.approx(probability)


def test_faces_of_several_frames_are_judged_at_once(tmp_path):
    ann, bob = picture({"ann": (20, 30)}, room=1), picture({"bob": (200, 100)}, room=2)
    # After a cut nobody is where they were, so what came before is judged first.
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
        assert all(max(one.judgement.crop.size) > 100 for one in person.suspicious)
        assert all(max(one.judgement.crop.size) <= 64 for one in person.moments)


def test_who_leaves_and_comes_back_is_the_same_person(tmp_path):
    both, alone = {"ann": (20, 30), "bob": (200, 60)}, {"ann": (20, 30)}
    back = {"ann": (20, 30), "bob": (190, 85)}
    frames = [picture(places) for places in (both, alone, back) for _ in range(3 * RATE)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [person.verdict for person in judged.people] == ["fake", "real"]
    times = [one.seconds for one in judged.people[1].moments]
    assert not [time for time in times if 3 <= time < 6]
    assert [time for time in times if time < 3]
    assert [time for time in times if time >= 6]


def test_a_cut_from_one_person_to_another_at_the_same_place(tmp_path):
    shots = [picture({"ann": (100, 60)}, room=1), picture({"bob": (100, 60)}, room=2)]
    frames = [shots[n // 55 % 2] for n in range(4 * 55)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [person.verdict for person in judged.people] == ["fake", "real"]
    cuts = [2.2, 4.4, 6.6]
    times = [one.seconds for person in judged.people for one in person.moments]
    assert all(any(0 <= time - cut < 0.2 for time in times) for cut in cuts)


def test_people_who_pass_each_other_are_not_mixed_up(tmp_path):
    frames = [picture({"ann": (2 * n, 10), "bob": (230 - 2 * n, 120)}) for n in range(115)]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [{one.probability for one in person.moments} for person in judged.people] == [
        {0.9},
        {0.1},
    ]


def test_who_is_seen_in_one_frame_is_reported(tmp_path):
    frames = [
        picture({"ann": (20, 30)} | ({"bob": (200, 60)} if 45 < n < 55 else {})) for n in range(100)
    ]
    judged = judge(write_clip(tmp_path / "clip.mp4", frames))
    assert [len(person.moments) for person in judged.people] == [8, 1]


def test_clip_of_one_frame_is_judged(tmp_path):
    judged = judge(write_clip(tmp_path / "clip.mp4", [picture({"ann": (20, 30)})]))
    assert (judged.frames_looked_at, judged.sentence) == (1, "1 person, likely fake.")


def paint_patches(boxes: list[tuple[int, int, int, int]], rng: np.random.Generator) -> np.ndarray:
    """Return a frame of noise with a patch of another colour in each box."""
    frame = rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    for left, top, width, height in boxes:
        frame[top : top + height, left : left + width] = rng.integers(0, 255, 3)
    return frame


def test_crowd_is_counted_but_not_all_reported(fake):
    boxes = [(10 + 40 * (n % 7), 10 + 110 * (n // 7), 36, 70 - n % 3) for n in range(12)]
    frame = paint_patches(boxes, np.random.default_rng(1))
    path, capture = fake(regular(4), claimed=4)
    capture.paint = lambda: frame
    judged = judge(path, FixedFaceFinder(boxes))
    assert len(judged.people) == 6
    assert judged.others == 4
    assert [person.number for person in judged.people] == [1, 2, 3, 4, 5, 6]
    assert judged.note == "Of up to 12 faces in a frame, the 10 largest were judged."
    assert judged.sentence.endswith("; 4 more seen too little or too small.")


def test_new_faces_in_every_frame_push_nobody_out_who_stays(fake):
    boxes = [(220, 130, 90, 90), (20, 20, 90, 90), (120, 20, 90, 90), (220, 20, 90, 90)]
    rng, staying = np.random.default_rng(1), picture({"ann": (220, 130)}, side=90)

    def paint() -> np.ndarray:
        frame = paint_patches(boxes, rng)
        frame[120:, 210:] = staying[120:, 210:]
        return frame

    path, capture = fake(regular(20), claimed=20)
    capture.paint = paint
    judged = judge(path, FixedFaceFinder(boxes))
    assert max(len(person.moments) for person in judged.people) == judged.frames_looked_at
    assert len(judged.people) == 6
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


def test_times_are_the_containers_where_the_rate_varies(fake):
    stamps = [n * 0.04 for n in range(50)] + [2 + n * 0.7 for n in range(10)]
    path, _ = fake(stamps, claimed=9)
    times = [one.seconds for one in judge(path).people[0].moments]
    assert set(times) <= set(stamps)
    assert times[-10:] == stamps[-10:]  # farther apart than the looks, so each is looked at


def test_frames_without_times_come_at_the_usual_distance(fake):
    path, _ = fake([0.0] * 100, claimed=4)
    judged = judge(path)
    assert judged.seconds == pytest.approx(4)
    assert len(judged.people[0].moments) == 8


@pytest.mark.parametrize(
    ("seconds", "rate", "looks"), [(0.2, 25, 5), (1, 25, 8), (10, 25, 20), (290, 5, 60)]
)
@pytest.mark.parametrize("is_claimed", [True, False])
def test_looks_are_even_and_limited(fake, seconds, rate, looks, is_claimed):
    path, capture = fake(regular(seconds, rate), claimed=seconds if is_claimed else None, rate=rate)
    judged = judge(path)
    assert judged.frames_looked_at == looks
    times = [one.seconds for one in judged.people[0].moments]
    assert np.ptp(np.diff(times)) <= 1 / rate + 1e-6
    assert capture.released == capture.opened


def test_too_long_is_refused_before_anything_is_decoded(fake):
    path, capture = fake(regular(10), claimed=3 * 3600)
    with pytest.raises(VideoError, match=r"lasts 3:00:00: send one of at most 5 minutes"):
        judge(path)
    assert capture.grabbed == 0
    assert capture.released == capture.opened == 1


@pytest.mark.parametrize("claimed", [10, None])
def test_container_that_hides_its_length_is_refused_at_the_limit(fake, claimed):
    path, capture = fake(regular(2 * MAX_SECONDS, 1), claimed=claimed, rate=1)
    finder = MarkedFaceFinder()
    with pytest.raises(VideoError, match=r"goes on after 5:00: send one of at most 5 minutes"):
        judge(path, finder)
    assert capture.grabbed == MAX_SECONDS + 2
    assert len(finder.photos) < 200
    assert capture.released == capture.opened


def test_progress_grows_and_ends_at_one(pair):
    told: list[tuple[float, str]] = []
    judge(pair, progress=lambda *step: told.append(step))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert len(set(shares)) > 10
    assert shares[-1] == 1
    assert ("0:02 of 0:04") in [text for _, text in told]


@pytest.mark.parametrize("claimed", [8, None])
def test_cancelling_stops_before_the_next_frame(fake, claimed):
    path, capture = fake(regular(8), claimed=claimed)
    with pytest.raises(VideoCancelled):
        judge(path, cancelled=lambda: capture.grabbed == 30)
    assert capture.grabbed == 30
    assert capture.released == capture.opened


def test_file_is_closed_when_progress_raises(fake):
    path, capture = fake(regular(8), claimed=8)

    def interrupt(share: float, text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(path, progress=interrupt)
    assert capture.released == capture.opened


def box(kind: bytes, content: bytes) -> bytes:
    """Return a box of an MP4 file."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def handler(kind: bytes) -> bytes:
    """Return the track of an MP4 file that holds sound (`soun`) or a picture (`vide`)."""
    name = box(b"hdlr", bytes(8) + kind + bytes(13))
    return box(b"trak", box(b"mdia", name))


FTYP = box(b"ftyp", b"mp42\0\0\0\0mp42")
ENCODED = bytes(range(256)) * 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello world\n" * 20, "not a video, whatever its name says"),
        (b"MZ\x90\0" + ENCODED, "not a video, whatever its name says"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\nother.mp4\n", "not a video, whatever its name says"),
        (b"", "not a video, whatever its name says"),
        (b"ID3\x04" + ENCODED, "holds sound but no picture"),
        (FTYP + box(b"moov", handler(b"soun")) + box(b"mdat", ENCODED), "sound but no picture"),
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
    with pytest.raises(VideoError, match="sound but no picture"):
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


def test_odd_sizes_are_named(fake):
    path, capture = fake(regular(1), claimed=1)
    for size in (16, 20_000):
        capture.properties[cv2.CAP_PROP_FRAME_WIDTH] = size
        capture.properties[cv2.CAP_PROP_FRAME_HEIGHT] = size
        with pytest.raises(VideoError, match=f"{size}x{size} pixels"):
            judge(path)


def test_no_face_is_named(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", [picture({})] * 50)
    with pytest.raises(VideoError, match="No face was found in the 8 frames"):
        judge(path)
    with pytest.raises(VideoError, match="No face was found in the only frame"):
        judge(write_clip(path, [picture({})]))


def test_what_is_left_of_a_cut_off_file_is_judged(tmp_path, pair):
    path = write_clip(
        tmp_path / "clip.webm", [picture({"ann": (20 + n, 30)}) for n in range(100)], "VP80"
    )
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
    path = write_clip(tmp_path / "clip.mp4", [np.rot90(picture({"ann": (20, 30)}))] * 25)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44  # of the matrix that tells how to show the picture
    turn = (0, 0x10000, 0, -0x10000, 0, 0, WIDTH << 16, 0, 0x40000000)  # by 90 degrees clockwise
    content[start : start + 36] = struct.pack(">9i", *turn)
    path.write_bytes(content)
    finder = MarkedFaceFinder()
    judged = judge(path, finder)
    assert finder.photos[0].size == (WIDTH, HEIGHT)
    assert judged.people[0].moments[0].judgement.face.box == pytest.approx((20, 30, 88, 88), abs=3)


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


def test_real_face_with_the_real_finder_and_detector(tmp_path):
    photo = Image.fromarray(astronaut())
    frames = [np.asarray(photo.crop((n, 0, n + 440, 330))) for n in range(0, 40, 5)]
    detector = load_bundled()
    judged = judge_video(write_clip(tmp_path / "clip.mp4", frames), detector, load_face_finder())
    assert len(judged.people) == 1
    assert len(judged.people[0].moments) == judged.frames_looked_at
    best = judged.people[0].suspicious[0]
    assert best.judgement.prediction.heatmap.shape == (10, 10)
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
