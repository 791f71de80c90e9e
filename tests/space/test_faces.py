import io
import os
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image, PngImagePlugin

from space.contract import MODEL_FILE
from space.crops import crop_face, crop_landmarks, face_square
from space.detector import BUNDLED
from space.faces import Face, FaceFinder, FaceFinderError, HaarCascade, load_face_finder
from space.photos import (
    PhotoError,
    animation_note,
    crop_square,
    model_input,
    open_photo,
    open_reduced,
    printable,
    resize_square,
)
from space.yunet_files import YUNET_FILE, YUNET_REPOSITORY, YUNET_REVISION
from tests.conftest import SHARED
from tests.drawing import draw_face
from tests.hub_server import Hub, serve_hub


def encode(photo: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, file_format, **options)
    return buffer.getvalue()


def difference(first: Image.Image, second: Image.Image) -> float:
    return float(np.abs(np.asarray(first, float) - np.asarray(second, float)).mean())


def test_path_bytes_image_and_array_give_the_same_pixels(tmp_path):
    face = draw_face(1)
    face.save(tmp_path / "face.png")
    opened = [
        open_photo(tmp_path / "face.png"),
        open_photo(str(tmp_path / "face.png")),
        open_photo((tmp_path / "face.png").read_bytes()),
        open_photo(face),
        open_photo(np.asarray(face)),
    ]
    for photo in opened:
        assert photo.mode == "RGB"
        assert np.array_equal(photo, face)


def test_exif_orientation_is_applied():
    face = draw_face(1)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees
    turned = face.transpose(Image.Transpose.ROTATE_90)
    opened = open_photo(encode(turned, "PNG", exif=exif))
    assert np.array_equal(opened, face)
    assert np.array_equal(open_photo(opened.copy()), face)  # it is not turned again


def test_a_wrong_field_beside_the_orientation_is_no_damage():
    fields = (0x0112, 3, 1, 6, 0, 0x8298, 11, 1, 1.5)  # turned; the owner's name is a number
    exif = struct.pack("<2sHLHHHLHHHHLfL", b"II", 42, 8, 2, *fields, 0)
    turned = draw_face(1).transpose(Image.Transpose.ROTATE_90)
    opened = open_photo(encode(turned, "JPEG", quality=95, exif=b"Exif\0\0" + exif))
    assert difference(opened, draw_face(1)) < 6


def test_16_bit_grey_keeps_its_shades():
    grey = draw_face(1).convert("L")
    deep = Image.fromarray(np.asarray(grey, np.uint16) * 257)
    assert difference(open_photo(encode(deep, "PNG")), grey.convert("RGB")) < 1


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (40, 40), (10, 200, 30, 0))
    assert np.asarray(open_photo(encode(clear, "PNG"))).min() == 255


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "RGBA", "LA"])
def test_other_modes_become_rgb(mode):
    face = draw_face(1).convert(mode)
    opened = open_photo(encode(face, "TIFF" if mode == "CMYK" else "PNG"))
    assert opened.mode == "RGB"
    assert difference(opened, face.convert("RGB")) < 1


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_common_formats_are_read(file_format):
    face = draw_face(1)
    assert difference(open_photo(encode(face, file_format)), face) < 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "not a readable photo: choose a JPEG, PNG, WebP, .* or HEIC file"),
        (b"", "The file is empty"),
        (encode(draw_face(1), "JPEG")[:1500], "damaged"),
        (encode(Image.new("RGB", (1, 1)), "PNG"), "1x1 pixels"),
        (encode(Image.new("1", (20_000, 6_000)), "PNG"), r"120\.0 megapixels"),
        (encode(Image.new("F", (40, 40)), "TIFF"), "without a known range"),
    ],
)
def test_what_cannot_be_judged_is_named(content, message):
    with pytest.raises(PhotoError, match=message):
        open_photo(content)


def test_damaged_avif_is_named():
    content = bytearray(encode(draw_face(1), "AVIF"))
    messages = set()
    for position in range(len(content) // 2, len(content), 7):
        damaged = content.copy()
        damaged[position] ^= 0xFF
        try:
            open_photo(bytes(damaged))
        except PhotoError as error:
            messages.add(str(error)[:20])
    assert messages  # and nothing but `PhotoError` came out


def test_closed_image_and_odd_path_are_named(tmp_path):
    draw_face(1).save(tmp_path / "face.png")
    closed = Image.open(tmp_path / "face.png")
    closed.close()
    with pytest.raises(PhotoError, match="cannot be decoded"):
        open_photo(closed)
    with pytest.raises(PhotoError, match="check its path"):
        open_photo("a\0b")


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_jpeg_that_lacks_only_its_end_is_read(portrait, progressive, turned):
    exif = Image.Exif()
    exif[0x0112] = turned  # as a phone does
    content = encode(portrait, "JPEG", quality=90, progressive=progressive, exif=exif)
    whole = open_photo(content)
    for missing in (1, 2):
        assert difference(open_photo(content[:-missing]), whole) == 0
    for share in (0.1, 0.4, 0.7):
        with pytest.raises(PhotoError, match="damaged"):
            open_photo(content[: -round(share * len(content))])
    if not progressive:
        cut = open_photo(content[:-40])  # a corner of the last rows is grey
        assert 0 < difference(cut, whole) < 1


def test_a_large_jpeg_without_an_end_is_read_at_half_its_size(portrait):
    content = encode(portrait.resize((4000, 3000)), "JPEG")[:-2]
    small, scale = open_reduced(content)
    assert (small.size, scale) == ((2000, 1500), 2)


def test_what_is_no_file_is_named_and_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    for path in (tmp_path, tmp_path / "x.jpg", "/dev/zero"):
        with pytest.raises(PhotoError, match="a folder, a pipe or a device"):
            open_photo(path)


def test_of_an_animation_it_is_said_that_the_first_picture_counts(tmp_path):
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        content = encode(red, kind, save_all=True, append_images=[blue])
        assert animation_note(content) == "Only the first of the file's pictures was looked at."
        assert animation_note(encode(red, kind)) == ""
        assert open_photo(content).getpixel((9, 9))[0] > 200
    path = tmp_path / "stereo.mpo"
    red.save(path, "MPO", save_all=True, append_images=[blue])
    assert animation_note(path) == ""
    assert open_photo(path).size == (64, 64)
    assert animation_note(b"no photo") == animation_note("nowhere") == ""
    assert animation_note(red) == animation_note(np.asarray(red)) == ""


def test_names_of_any_bytes_can_be_printed():
    assert printable(os.fsdecode(b"foto_\xe9.jpg")) == "foto_\\xe9.jpg"
    assert printable("grün.jpg") == "grün.jpg"
    assert printable("\ud800.jpg").encode() == b"\\ud800.jpg"


@pytest.mark.parametrize("white", [255, 10**6])
def test_32_bit_grey_has_no_known_range(white):
    deep = Image.fromarray(np.full((40, 40), white, np.int32))
    with pytest.raises(PhotoError, match="without a known range"):
        open_photo(deep)


def test_a_photo_with_long_notes_is_read():
    notes = PngImagePlugin.PngInfo()
    notes.add_text("workflow", "node " * 400_000, zip=True)
    assert np.array_equal(open_photo(encode(draw_face(1), "PNG", pnginfo=notes)), draw_face(1))


def test_missing_file_and_wrong_array_are_named(tmp_path):
    with pytest.raises(PhotoError, match="check its path"):
        open_photo(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError, match=r"float64 with shape \[40, 40, 3\]"):
        open_photo(np.zeros((40, 40, 3)))


def test_crop_is_centred_and_keeps_the_face_in_shape():
    wide = Image.new("RGB", (200, 100), "black")
    wide.paste(draw_face(1, 100), (50, 0))
    assert np.array_equal(crop_square(wide), draw_face(1, 100))
    assert resize_square(wide, 48).size == (48, 48)


def test_model_input_is_float_rgb_from_0_to_255():
    red = Image.new("RGB", (90, 60), (255, 0, 0))
    pixels = model_input(red, 32)
    assert pixels.dtype == np.float32
    assert pixels.shape == (32, 32, 3)
    assert pixels[5, 5].tolist() == [255, 0, 0]


# Faces: the real one is the portrait of the examples, which every machine has.


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return open_photo(BUNDLED.parent / "examples/portrait.jpg")


@pytest.fixture(scope="module")
def haar() -> FaceFinder:
    """The cascade, as tests cannot fetch YuNet."""
    finder = load_face_finder()
    assert finder.name == "Haar cascade"
    return finder


@pytest.fixture(scope="module")
def yunet() -> FaceFinder:
    path = SHARED.parent / "models/face_detection_yunet_2026may.onnx"
    if not path.is_file():
        pytest.skip("needs YuNet's file, which is not part of the project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_DETECTOR", str(path))
        finder = load_face_finder()
    assert finder.name == "YuNet"
    return finder


@pytest.fixture(params=["haar", "yunet"])
def finder(request) -> FaceFinder:
    return request.getfixturevalue(request.param)


def correlation(first: Image.Image, second: Image.Image) -> float:
    pixels = [np.asarray(resize_square(photo, 64).convert("L"), float) for photo in (first, second)]
    return float(np.corrcoef(*(grey.ravel() for grey in pixels))[0, 1])


def beside(*photos: Image.Image) -> Image.Image:
    whole = Image.new("RGB", (sum(photo.width for photo in photos), photos[0].height), "#999999")
    left = 0
    for photo in photos:
        whole.paste(photo, (left, 0))
        left += photo.width
    return whole


def test_a_face_is_found_where_it_is(finder, portrait):
    (face,) = finder.find(portrait)
    left, top, width, height = face.box
    assert (left + width / 2, top + height / 2) == pytest.approx((148, 123), abs=12)
    assert face.side == pytest.approx(112, rel=0.15)  # on the same scale for both finders
    assert not face.too_small
    assert 0 < face.confidence <= 1
    if face.landmarks is not None:
        right_eye, left_eye, nose, *mouth = face.landmarks
        assert right_eye[0] < nose[0] < left_eye[0]
        assert all(corner[1] > nose[1] for corner in mouth)


@pytest.mark.parametrize("picture", ["wall", "noise", "stripes"])
def test_no_face_gives_none(finder, picture):
    rng = np.random.default_rng(0)
    pixels = {
        "wall": np.full((200, 300, 3), 140),
        "noise": rng.integers(0, 256, (200, 300, 3)),
        "stripes": np.repeat((np.arange(300) // 10 % 2 * 255)[None, :, None], 200, 0) * [1, 1, 1],
    }[picture]
    assert finder.find(Image.fromarray(pixels.astype(np.uint8))) == []


def test_two_faces_come_largest_first(finder, portrait):
    small = portrait.resize((200, 200))
    whole = beside(small, portrait)
    first, second = finder.find(whole)
    assert first.side > second.side
    assert first.centre[0] > 200 > second.centre[0]


def test_twenty_people_are_found(yunet, portrait):
    row = beside(*[portrait.resize((150, 150))] * 5)
    crowd = Image.new("RGB", (row.width, 4 * row.height))
    for number in range(4):
        crowd.paste(row, (0, number * row.height))
    assert len(yunet.find(crowd)) == 20


def test_grey_dark_and_large_photos(finder, portrait):
    assert len(finder.find(portrait.convert("L").convert("RGB"))) == 1
    (small,) = finder.find(portrait)
    (large,) = finder.find(portrait.resize((6000, 6000)))
    assert np.array(large.box) / 20 == pytest.approx(np.array(small.box), abs=8)


def test_both_finders_mean_the_same_by_a_box(haar, yunet):
    astronaut = Image.fromarray(skimage.data.astronaut())
    (by_haar,), (by_yunet,) = haar.find(astronaut), yunet.find(astronaut)
    assert by_haar.side == pytest.approx(by_yunet.side, rel=0.1)
    assert by_haar.centre == pytest.approx(by_yunet.centre, abs=0.1 * by_yunet.side)


def test_face_at_the_border_is_found_and_cropped_inside(yunet, portrait):
    (whole,) = yunet.find(portrait)
    cut = portrait.crop((round(whole.box[0] + 10), 0, *portrait.size))  # through the cheek
    (face,) = yunet.find(cut)
    left, top, side = face_square(cut.size, face, 1.33)
    assert left == 0
    assert top + side <= cut.height
    assert face.side == pytest.approx(whole.side, rel=0.15)


def test_small_faces_are_found_in_small_and_wide_photos(yunet, portrait):
    tiny = portrait.resize((60, 60), Image.Resampling.LANCZOS)  # a face of 22 px
    for size in ((300, 200), (4000, 100)):
        photo = Image.new("RGB", size, "#999999")
        photo.paste(tiny, (100, 20))
        (face,) = yunet.find(photo)
        assert face.too_small
        assert face.centre == pytest.approx((130, 45), abs=8)


def test_darkness_is_looked_through(yunet, portrait):
    rng = np.random.default_rng(0)
    dark = np.asarray(portrait, float) * 0.08 + rng.normal(0, 2, (300, 300, 3))
    assert len(yunet.find(Image.fromarray(dark.clip(0, 255).astype(np.uint8)))) == 1


@pytest.mark.parametrize("angle", [30, 90, 160, 180, 270])
def test_turned_heads_come_upright(yunet, portrait, angle):
    (face,) = yunet.find(portrait)
    upright = crop_face(portrait, face, 1.33)
    turned = portrait.rotate(angle, expand=True, fillcolor="#999999")
    (turned_face,) = yunet.find(turned)
    assert correlation(crop_face(turned, turned_face, 1.33), upright) > 0.75
    right_eye, left_eye, *_ = crop_landmarks(turned.size, turned_face, 1.33)
    assert right_eye[0] < left_eye[0]
    assert abs(right_eye[1] - left_eye[1]) < 0.12


def test_phone_held_upside_down_is_noticed_by_the_cascade_too(haar, portrait):
    turned = portrait.rotate(180)
    (face,) = haar.find(turned)
    (upright,) = haar.find(portrait)
    expected = crop_face(portrait, upright, 1.33)
    assert correlation(crop_face(turned, face, 1.33), expected) > 0.8


def test_threads_find_the_same(finder, portrait):
    expected = finder.find(portrait)[0].box
    with ThreadPoolExecutor(8) as pool:
        results = pool.map(finder.find, [portrait] * 16)
        assert all(faces[0].box == expected for faces in results)


# Crops: the geometry of faces made by hand.


def numbered(width: int = 200, height: int = 160) -> Image.Image:
    """Return a photo in which the colour of each pixel encodes its position."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, (x + y) % 256], axis=-1).astype(np.uint8))


def test_upright_crop_keeps_its_pixels():
    face = Face((80, 60, 30, 40), None, 1.0)
    left, top, side = face_square((200, 160), face, 1.5)
    assert side == 60
    crop = np.asarray(crop_face(numbered(), face, 1.5))
    assert crop.shape == (60, 60, 3)
    assert tuple(crop[0, 0, :2]) == (left, top)
    assert tuple(crop[-1, -1, :2]) == (left + 59, top + 59)
    assert left + 30 == pytest.approx(95, abs=1)  # centred on the face from left to right


def test_lying_heads_are_turned_without_a_change_of_pixels():
    landmarks = np.float32([[88, 72], [102, 72], [95, 80], [90, 90], [100, 90]])
    upright = crop_face(numbered(), Face((80, 60, 30, 40), landmarks, 1.0), 1.5)
    lying = numbered().transpose(Image.Transpose.ROTATE_270)  # clockwise
    turned = np.stack([160 - landmarks[:, 1], landmarks[:, 0]], axis=1)
    face = Face((160 - 60 - 40, 80, 40, 30), turned, 1.0)
    assert face.roll == 90
    assert np.array_equal(crop_face(lying, face, 1.5), upright)


@pytest.mark.parametrize("roll", [40, -40, 130])
def test_tilted_heads_are_levelled(roll):
    points = np.float32([[88, 72], [102, 72], [95, 80], [90, 90], [100, 90]])
    upright = crop_face(draw_face(1, 160), Face((60, 60, 30, 40), points - [20, 0], 1.0), 1.5)
    tilted = draw_face(1, 160).rotate(-roll, Image.Resampling.BICUBIC)  # clockwise
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    spin = np.array([[cos, sin], [-sin, cos]])
    x, y = (np.array([75, 80]) - 80) @ spin + 80
    landmarks = ((points - [20, 0] - 80) @ spin + 80).astype(np.float32)
    face = Face((x - 15, y - 20, 30, 40), landmarks, 1.0)
    assert face.roll == pytest.approx(roll, abs=0.1)
    levelled = crop_face(tilted, face, 1.5)
    inner = (10, 10, 50, 50)
    assert difference(levelled.crop(inner), upright.crop(inner)) < 8


@pytest.mark.parametrize("box", [(-10, -20, 30, 40), (185, 140, 30, 40), (0, 0, 200, 160)])
def test_crop_stays_inside_the_photo(box):
    face = Face(box, None, 1.0)
    left, top, side = face_square((200, 160), face, 1.5)
    assert 0 <= left <= 200 - side
    assert 0 <= top <= 160 - side
    assert side <= 160
    assert crop_face(numbered(), face, 1.5).size == (side, side)
    assert crop_face(numbered(), face, 1.5, size=48).size == (48, 48)


def test_landmarks_follow_into_the_crop():
    landmarks = np.float32([[88, 72], [102, 72], [95, 80], [90, 90], [100, 90]])
    face = Face((80, 60, 30, 40), landmarks, 1.0)
    left, top, side = face_square((200, 160), face, 1.5)
    expected = (landmarks - [left, top]) / side
    assert crop_landmarks((200, 160), face, 1.5) == pytest.approx(expected, abs=1e-6)
    assert crop_landmarks((200, 160), Face((80, 60, 30, 40), None, 1.0), 1.5) is None


def test_small_faces_are_marked():
    assert Face((0, 0, 40, 63), None, 1.0).too_small
    assert not Face((0, 0, 40, 64), None, 1.0).too_small


def test_framing_is_that_of_the_training_photos(shared, yunet):
    folder = shared / "real_and_fake_face"
    ratios = []
    for path in sorted(folder.glob("*/*.jpg"))[::40]:
        photo = open_photo(path)
        ratios += [photo.width / face.side for face in yunet.find(photo)[:1]]
    assert len(ratios) > 40
    assert np.median(ratios) == pytest.approx(1.33, abs=0.07)


# Face finders.


# The last is a file for LiteRT: OpenCV would take it for YuNet, and crash.
@pytest.mark.parametrize("content", [None, b"no network", (BUNDLED / MODEL_FILE).read_bytes()])
def test_wrong_face_detector_is_one_sentence(tmp_path, monkeypatch, content):
    path = tmp_path / "yunet.onnx"
    if content:
        path.write_bytes(content)
    monkeypatch.setenv("FACE_DETECTOR", str(path))
    with pytest.raises(FaceFinderError, match=r"yunet\.onnx"):
        load_face_finder()


def test_opencv_without_the_cascade_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2.data, "haarcascades", str(tmp_path))
    with pytest.raises(FaceFinderError, match="has no Haar cascade: install"):
        HaarCascade("")


def test_without_network_the_cascade_says_so(haar):
    assert "Haar cascade" in haar.notice
    assert "could not be fetched" in haar.notice


def test_file_of_the_hub_is_used_if_it_is_the_expected_one(tmp_path):
    code = "from faces import load_face_finder; f = load_face_finder(); print(f.name, f.notice)"
    hub = Hub()
    hub.add_repository(YUNET_REPOSITORY, {YUNET_FILE: b"another file"}, sha=YUNET_REVISION)
    with serve_hub(hub):
        environment = os.environ | hub.environment(None, tmp_path) | {"FACE_DETECTOR": ""}
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=BUNDLED.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert result.stdout.startswith("Haar cascade")
    assert "sha256 differs" in result.stdout


def test_a_large_jpeg_is_read_at_half_its_size(portrait):
    content = encode(portrait.resize((4000, 3000)), "JPEG")
    small, scale = open_reduced(content)
    assert (small.size, scale) == ((2000, 1500), 2)
    assert difference(small, open_photo(content).resize(small.size)) < 2
    turned = Image.Exif()
    turned[0x0112] = 6
    upright, scale = open_reduced(encode(portrait.resize((4000, 3000)), "JPEG", exif=turned))
    assert (upright.size, scale) == ((1500, 2000), 2)


@pytest.mark.parametrize("size", [(2000, 1500), (300, 300)])
def test_what_is_not_large_is_read_as_it_is(portrait, size):
    content = encode(portrait.resize(size), "JPEG")
    photo, scale = open_reduced(content)
    assert scale == 1
    assert np.array_equal(photo, open_photo(content))


def test_a_face_scales_with_its_photo():
    face = Face((10.0, 20.0, 30.0, 40.0), np.ones((5, 2), np.float32), 0.9, 90)
    twice = face.scaled(2)
    assert twice.box == (20, 40, 60, 80)
    assert (twice.landmarks == 2).all()
    assert (twice.confidence, twice.turn) == (0.9, 90)


def test_small_faces_are_looked_for_where_there_is_no_large_one(yunet, portrait):
    # A face of 20 px is too small for a coarse copy of a photo this large.
    tiny = portrait.resize((55, 55))
    crowd = Image.new("RGB", (1600, 1200), "#999999")
    crowd.paste(portrait.resize((110, 110)), (200, 200))
    crowd.paste(tiny, (1200, 800))
    assert len(yunet.find(crowd)) == 2
    crowd.paste(portrait.resize((1000, 1000)), (100, 0))
    assert len(yunet.find(crowd)) == 1


class BlindFinder(FaceFinder):
    """Finds nothing, and records the width and height of each copy that it searched."""

    def __init__(self) -> None:
        super().__init__("for tests")
        self.seen: list[tuple[int, int]] = []

    def _detect(self, picture: np.ndarray) -> list[Face]:
        self.seen.append((picture.shape[1], picture.shape[0]))
        return []

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        return candidates


def test_a_strip_is_not_looked_at_in_copies_that_show_no_face():
    finder = BlindFinder()
    # A panorama is searched in every copy, upright and turned.
    assert finder.find(Image.new("RGB", (3000, 200))) == []
    assert {(4293, 286), (2147, 143), (1073, 72), (72, 1073)} <= {*finder.seen}
    finder.seen.clear()
    assert finder.find(Image.new("RGB", (32, 60_000))) == []
    assert set(finder.seen) == {(32, 60_000)}


def test_a_sure_look_and_a_second_one_agree(yunet, portrait):
    (face,) = yunet.find(portrait)
    # Upright, and large enough for a sure detection.
    framed = crop_face(portrait.rotate(face.roll, center=face.centre), face, 1.33, 256)
    sure = [
        candidate
        for candidate in yunet._candidates(framed, [1.0], (0,), False)
        if candidate.confidence > 0.9
    ]
    assert sure[0].landmarks is not None
    (quick,) = yunet.find(framed)
    careful = yunet._confirm(framed, [Face(quick.box, None, 0.9)], False)[0]
    assert quick.box == pytest.approx(careful.box, abs=0.1 * careful.side)
    assert quick.landmarks == pytest.approx(careful.landmarks, abs=0.06 * careful.side)
