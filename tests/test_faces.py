import io

import numpy as np
import pytest
from PIL import Image

from space.faces import PhotoError, crop_square, model_input, open_photo, resize_square
from tests.drawing import draw_face


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
    assert np.array_equal(open_photo(encode(turned, "PNG", exif=exif)), face)


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
        (b"hello", "not a readable photo"),
        (b"", "not a readable photo"),
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


def test_32_bit_grey_has_no_known_range():
    deep = Image.fromarray(np.full((40, 40), 10**6, np.int32))
    with pytest.raises(PhotoError, match="without a known range"):
        open_photo(deep)


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
