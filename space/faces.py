"""From a photo in any common file format to the square crop that the model judges.

Decoding, orientation, colour order, finding faces, cropping and resizing exist here once: the page,
the shell, the training data and the evaluation all call these functions, so that a model is never
served pixels that it was not trained on.

Faces are found by YuNet (Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y), or where its
file cannot be had by OpenCV's Haar cascade (Viola and Jones 2001). OpenCV is imported when a finder
is loaded, and by nothing else here.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import threading
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    import cv2

try:  # photos of iPhones; programs that never see any do without it
    from pillow_heif import register_heif_opener
except ImportError:
    register_heif_opener = None

# Formats that Pillow decodes by itself; the others (EPS, for instance) start programs or are no
# photos.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF")
MIN_SIDE = 32  # px: below this there is nothing left to judge
MAX_PIXELS = 100_000_000  # decoded, 100 megapixels take 300 MB
# What Pillow's decoders raise for damaged files.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, MemoryError)
DECODING_ERRORS += (RuntimeError,)
RESAMPLING = Image.Resampling.BICUBIC
# Pillow's `reducing_gap` where faces are looked for: it averages whole blocks of px as far as that
# goes, and resamples the rest. From 2000 to 554 px that takes a third of the time of the usual 2.
SEARCH_GAP = 1.0
# px: the finest copy in which faces are looked for has no more.
REDUCED_SIDE = 1440

# The one file of the Hub that is fetched, and the contents that are taken for it: the network as
# published in March 2023, and the same network exported anew by OpenCV in May 2026.
YUNET_REPOSITORY = "opencv/face_detection_yunet"
YUNET_REVISION = "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
YUNET_FILE = "face_detection_yunet_2023mar.onnx"
YUNET_SHA256 = (
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
)
YUNET_OUTPUTS = {f"{kind}_{step}" for kind in ("cls", "obj", "bbox", "kps") for step in (8, 16, 32)}
HUB_TIMEOUT = 5  # s to wait for the Hub before the cascade takes over

# Copies of a photo in which faces are looked for, finest first: the longer side of a 4:3 photo, in
# px. YuNet sees faces of 20 to 400 px in its input, so no single copy would do. Faces of 20 px in a
# copy of 1280 px, pasted into a scene: 69 % are found if that is the finest copy, 92 % with 1920.
SIDES = (1920, 640, 320)
COARSE_SIDES = SIDES[1:]  # of all attempts but the second
# Small photos are enlarged for their small faces: of those with 20 px in 300 x 200, 94 % are found.
MAX_ENLARGEMENT, ENLARGED_SIDE = 2.0, 1280
# Share of the photo's shorter side from which on a face is what the photo is about. Coarse copies
# are enough then: what finer ones would add are faces in the background, of a tenth of its size.
SUBJECT = 0.2
MIN_STEP = 1.3  # between two copies; closer ones show the same
AS_IT_IS = 0.9  # a scale from which on a photo is not worth being resized
MAX_SIDE_IN_COPY = 320  # px: a larger box in any copy but the coarsest is a part of a face
CANDIDATE_SCORE = 0.3  # YuNet's, to earn a second look
# YuNet's at the second look. The faces of all 1,741 photos of the dataset pass it, and something in
# 7 of 248 pictures without faces (29 photos; these turned, enlarged and cut; scrambled ones and
# noise). At 0.7 it would be 15 pictures; at 0.85 none, but 13 % fewer of the faces behind
# sunglasses and a mask.
FACE_SCORE = 0.8
MAX_CANDIDATES = 200
OVERLAP = 0.4  # of the smaller box: the weaker of two such boxes is dropped

# The second look: an upright square around the face, scaled so that the face has the size on which
# YuNet's landmarks follow a tilted head: of 15 degrees they show 3 on faces of 100 px, 11 on 200.
LOOK_FACE = 240  # px, longer side of the face's box
LOOK_SIDE = 384  # px
SURE_SCORE = 0.92  # turned faces hardly reach it
# A face that the first look sees at least so large, so surely, so upright and so far from the
# copy's border needs no second one. Of faces that are turned by 25 degrees, 8 % pass for such.
SURE_SIDE, SURE_TILT, SURE_ROOM = 150, 6.0, 0.03  # px of the copy, degrees, share of the side
SIZE_STEP = 64  # px: pictures are filled up with black to multiples of that, so that fewer differ
KEPT_SIDE, KEPT_NETWORKS = 640, 12  # px; see `YuNet._network`
TURN_GAIN = 0.03  # by which a turned look must beat the upright one
GLANCE = 0.5  # scale of the picture that tells whether it may
LOOK_TILT = 10.0  # degrees: a head that is tilted by more is looked at again, levelled,
LOOKS = 3  # times, as the landmarks follow a tilt by less than it is

# The Haar cascade. Of OpenCV's frontal ones, this has the best recall among those that hardly ever
# see faces where there are none. It needs some room around a face: of tightly cropped faces, it
# finds 91 % with a border and 41 % without.
HAAR_FILE = "haarcascade_frontalface_alt2.xml"
HAAR_SIDES = (1280, 640)  # px, of the second attempt and of the others
HAAR_BORDER = 0.15  # of the shorter side
HAAR_NEIGHBOURS = 5
HAAR_WEIGHTS = (54.5, 58.0)  # the range of its weights, for the confidence
# 95 % of the faces that it finds have more, and none of the 20 boxes that it put into 83 pictures
# without faces.
HAAR_WEIGHT = 55.4
# Longer and shorter side of YuNet's box in sides of the cascade's square: medians over 196 photos
# of the dataset in which both found the face. The centres agree to 0.2 %.
HAAR_LENGTH, HAAR_WIDTH = 1.07, 0.82

MIN_FACE = 64  # px: a smaller face is judged, but too small to trust
# Degrees that a crop leaves as they are; 87 % of the training photos are tilted by less.
MAX_TILT = 15.0
RISE = 0.1  # see `face_square`

QUARTERS = {
    1: Image.Transpose.ROTATE_90,
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_270,
}

PhotoSource = str | os.PathLike | bytes | Image.Image | np.ndarray

# Pillow's own guard would refuse at another size than the message below names.
Image.MAX_IMAGE_PIXELS = None
Image.init()  # `Image.open` knows only some of the formats above before
if register_heif_opener:
    register_heif_opener()
    FORMATS += ("HEIF",)


class PhotoError(ValueError):
    """A photo that cannot be judged; the text says in one sentence what was found and what to
    do."""


def open_photo(source: PhotoSource) -> Image.Image:
    """Decode a photo as everyone sees it: upright, 8 bits a channel, RGB.

    Args:
        source: a path, the bytes of a file, a PIL image, or a `uint8` array `[height, width, 3]` in
            RGB order.

    Returns:
        An RGB image; EXIF orientation is applied, transparency is laid on white, 16-bit grey is
        scaled to 8 bits and of an animation the first frame is taken.

    Raises:
        PhotoError: the source is missing, no image, damaged, smaller than 32 px or larger than 100
            megapixels.
    """
    return _open(source, reduce=False)[0]


def open_reduced(source: PhotoSource) -> tuple[Image.Image, float]:
    """Decode a photo as `open_photo` does, but a large JPEG in less time at half its size or a
    quarter, as long as its shorter side keeps `REDUCED_SIDE` px.

    Returns:
        The photo, and how many px of the whole photo lie in one of its px.
    """
    return _open(source, reduce=True)


def _open(source: PhotoSource, *, reduce: bool) -> tuple[Image.Image, float]:
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        return _decoded(source, reduce=False)  # it is the caller's, and would stay reduced
    if isinstance(source, bytes):
        return _decode(io.BytesIO(source), reduce)
    try:
        with open(source, "rb") as file:
            return _decode(file, reduce)
    except PhotoError:
        raise
    except OSError as error:
        raise PhotoError(f"The photo cannot be read ({error.strerror}): check its path.") from error
    except ValueError as error:  # a path with a null byte
        raise PhotoError(f"The photo cannot be read ({error}): check its path.") from error


def crop_square(photo: Image.Image) -> Image.Image:
    """Cut the largest centred square out of a photo; nothing is squeezed, so faces keep their
    shape."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def resize_square(photo: Image.Image, size: int) -> Image.Image:
    """Resize the centred square of a photo to `size` x `size` px, smoothing as it shrinks so that
    nothing aliases."""
    square = crop_square(photo)
    return square if square.width == size else square.resize((size, size), RESAMPLING)


def model_input(photo: Image.Image, size: int) -> np.ndarray:
    """Turn an RGB photo into what the model takes.

    Returns:
        `float32` array `[size, size, 3]`, RGB, 0 to 255; the network scales it itself.
    """
    return np.asarray(resize_square(photo, size), dtype=np.float32)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise PhotoError(
            f"The array is {array.dtype} with shape {list(array.shape)}: pass uint8 [height, "
            "width, 3] in RGB order."
        )
    return Image.fromarray(array)


def _decode(file: BinaryIO, reduce: bool) -> tuple[Image.Image, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF warns; the pixels are what counts
        try:
            photo = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            raise PhotoError("The file is not a readable photo: send JPEG, PNG or WebP.") from error
        except DECODING_ERRORS as error:
            raise _damaged(error) from error
        with photo:
            return _decoded(photo, reduce)


def _decoded(photo: Image.Image, reduce: bool) -> tuple[Image.Image, float]:
    try:
        _check_size(photo)
        full = max(photo.size)
        if reduce and photo.format in ("JPEG", "MPO") and min(photo.size) >= 2 * REDUCED_SIDE:
            scale = min(photo.size) // REDUCED_SIDE
            photo.draft(None, (photo.width // scale, photo.height // scale))
        upright = _upright_rgb(photo)
        return upright, full / max(upright.size)
    except PhotoError:
        raise
    except DECODING_ERRORS as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> PhotoError:
    return PhotoError(f"The photo is damaged and cannot be decoded ({error}): save it again.")


def _check_size(photo: Image.Image) -> None:
    width, height = photo.size
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            f"The photo is {width}x{height} pixels: send one of at least {MIN_SIDE}x{MIN_SIDE}."
        )
    if width * height > MAX_PIXELS:
        raise PhotoError(
            f"The photo has {width * height / 1e6:.1f} megapixels: send one of at most "
            f"{MAX_PIXELS // 10**6}."
        )


def _upright_rgb(photo: Image.Image) -> Image.Image:
    deep = photo.mode == "I" and photo.getextrema()[1] > 65535
    if photo.mode == "F" or deep:
        raise PhotoError("The photo has pixels without a known range: save it as PNG.")
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):  # 16 bits of grey: convert("RGB") would clip them to white
        photo = Image.fromarray((np.asarray(photo).clip(0, 65535) // 256).astype(np.uint8))
    if photo.has_transparency_data:
        layer = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return photo.convert("RGB")


class FaceFinderError(Exception):
    """A face finder that cannot be loaded; the text says in one sentence what was found and what to
    do."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo. Coordinates are px of the photo, from its top left corner.

    Attributes:
        box: left, top, width and height on YuNet's scale, from the forehead to the chin. It may
            reach over the photo's border, as the size of the whole face decides the crop. Of a head
            that lies on its side, width and height are swapped.
        landmarks: `float32` array `[5, 2]` of x and y: right eye, left eye, tip of the nose, right
            and left corner of the mouth, all as the person would say. In an upright photo the
            right eye is the one on the left of the image. `None` from the Haar cascade.
        confidence: 0 to 1, of the finder; not comparable between the two finders.
        turn: degrees clockwise by which the head was found turned, in steps of 90. The landmarks
            tell it more finely where there are any.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray | None
    confidence: float
    turn: int = 0

    @property
    def roll(self) -> float:
        """Degrees clockwise by which the line of the eyes is tilted, -180 to 180."""
        if self.landmarks is None:
            return _wrapped(self.turn)
        x, y = self.landmarks[1] - self.landmarks[0]
        return math.degrees(math.atan2(y, x))

    @property
    def side(self) -> float:
        """Longer side of the box in px."""
        return max(self.box[2:])

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, x and y in px."""
        left, top, width, height = self.box
        return left + width / 2, top + height / 2

    def scaled(self, factor: float) -> Face:
        """Return the same face of the photo in another size."""
        landmarks = None if self.landmarks is None else self.landmarks * np.float32(factor)
        box = tuple(value * factor for value in self.box)
        return replace(self, box=box, landmarks=landmarks)

    @property
    def too_small(self) -> bool:
        """Whether the face has too few pixels for its verdict to be trusted."""
        return self.side < MIN_FACE


class FaceFinder:
    """Finds the faces in a photo. Safe to use from several threads.

    Attributes:
        name: `"YuNet"` or `"Haar cascade"`, for people.
        notice: says which finder is in use, and why if it is not the better one.
    """

    name: str
    sides: tuple[int, ...] = SIDES
    coarse_sides: tuple[int, ...] = COARSE_SIDES

    def __init__(self, notice: str) -> None:
        self.notice = notice
        self._lock = threading.Lock()

    def find(self, photo: Image.Image) -> list[Face]:
        """Find the faces in a photo of any size and shape.

        Where none fills much of it, finer copies are looked at (for small faces), for which small
        photos are enlarged. Where there is none at all, the photo is looked at smoothed and
        brightened (for noise and darkness), and then turned by 90, 180 and 270 degrees (for phones
        that do not say how they were held).

        Args:
            photo: RGB, as `open_photo` returns it.

        Returns:
            The faces, largest first; an empty list where none was found.
        """
        photo = photo if photo.mode == "RGB" else photo.convert("RGB")
        coarse = _scales(photo, self.coarse_sides, enlarge=False)
        fine = _scales(photo, self.sides, enlarge=True)
        faces = self._look_for(photo, coarse)
        largest = max((face.side for face in faces), default=0)
        if largest < SUBJECT * min(photo.size) and fine != coarse:
            faces = self._look_for(photo, fine) or faces
        coarse = _scales(photo, self.coarse_sides, enlarge=True)
        faces = faces or self._look_for(photo, coarse, brighten=True)
        faces = faces or self._look_for(photo, coarse, turns=(90, 180, 270))
        return sorted(faces, key=lambda face: -face.side)

    def _look_for(
        self,
        photo: Image.Image,
        scales: list[float],
        turns: tuple[int, ...] = (0,),
        brighten: bool = False,
    ) -> list[Face]:
        """Return the faces that are seen in copies of the photo, turned counterclockwise by
        `turns`."""
        candidates = _distinct(self._candidates(photo, scales, turns, brighten))
        return self._confirm(photo, candidates[:MAX_CANDIDATES], brighten)

    def _candidates(
        self, photo: Image.Image, scales: list[float], turns: tuple[int, ...], brighten: bool
    ) -> list[Face]:
        """Return what may be faces in copies of the photo; those that have landmarks are sure."""
        candidates = []
        copies = _copies(photo, scales)
        for number, (copy, scale) in enumerate(copies, start=1):
            copy = _brightened(copy, blur=3) if brighten else copy
            largest = MAX_SIDE_IN_COPY if number < len(copies) else math.inf
            for turn in turns:
                for one in self._detect(np.rot90(copy, turn // 90)):
                    if one.side <= largest:
                        box = _turned_back(one.box, turn, copy.shape[1], copy.shape[0])
                        box = tuple(value / scale for value in box)
                        sure = turn == 0 and not brighten and _is_sure(one, copy.shape)
                        landmarks = one.landmarks / np.float32(scale) if sure else None
                        candidates.append(Face(box, landmarks, one.confidence, turn))
        return candidates

    def _detect(self, picture: np.ndarray) -> list[Face]:
        """Return what may be faces in an RGB picture, in its own px."""
        raise NotImplementedError

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        """Return the faces among the candidates."""
        raise NotImplementedError


class YuNet(FaceFinder):
    """Finds faces with the network YuNet, in two looks.

    The first is at copies of the whole photo, with a low threshold. The second is at each candidate
    alone, with the face always at the same size and turned until it is upright: YuNet finds turned
    faces as well but puts upright landmarks on them, so that its score alone tells what is up.
    """

    name = "YuNet"

    def __init__(self, path: Path, notice: str) -> None:
        """Load the network.

        Args:
            path: the ONNX file.
            notice: see `FaceFinder`.

        Raises:
            FaceFinderError: the file is missing or holds no YuNet network.
        """
        import cv2

        super().__init__(notice)
        advice = "name YuNet's ONNX file."
        try:
            self._content = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError as error:
            raise FaceFinderError(
                f"The face finder {path} cannot be read ({error.strerror}): {advice}"
            ) from error
        self._networks: dict[tuple[int, int], cv2.FaceDetectorYN] = {}
        try:
            # OpenCV takes any network for YuNet, and crashes in its first use.
            outputs = set(cv2.dnn.readNetFromONNX(self._content).getUnconnectedOutLayersNames())
            if not outputs >= YUNET_OUTPUTS:
                raise FaceFinderError(f"The face finder {path} is another network: {advice}")
            self._rows(np.zeros((LOOK_SIDE, LOOK_SIDE, 3), np.uint8))
        except cv2.error as error:
            raise FaceFinderError(
                f"The face finder {path} is no YuNet network: {advice}"
            ) from error

    def _rows(self, picture: np.ndarray) -> np.ndarray:
        """Return `float32` `[faces, 15]` for an RGB picture: box, landmarks, score."""
        import cv2

        bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
        below, beside = (-side % SIZE_STEP for side in picture.shape[:2])
        if below or beside:
            bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        with self._lock:
            rows = self._network(bgr.shape[1], bgr.shape[0]).detect(bgr)[1]
        return np.zeros((0, 15), np.float32) if rows is None else rows

    def _network(self, width: int, height: int) -> cv2.FaceDetectorYN:
        """Return the network for pictures of a size.

        Those for small pictures are kept, as OpenCV needs longer to set a network up for another
        size than to look for faces.
        """
        import cv2

        size = (width, height)
        key = size if max(size) <= KEPT_SIDE else (0, 0)
        network = self._networks.pop(key, None)
        if network is None:
            nothing = np.zeros(0, np.uint8)
            network = cv2.FaceDetectorYN.create(
                "onnx", self._content, nothing, size, CANDIDATE_SCORE
            )
        elif network.getInputSize() != size:
            network.setInputSize(size)
        self._networks[key] = network  # at the end, as the one used last
        if len(self._networks) > KEPT_NETWORKS:
            del self._networks[next(iter(self._networks))]
        return network

    def _detect(self, picture: np.ndarray) -> list[Face]:
        return [
            Face(tuple(row[:4].tolist()), row[4:14].reshape(5, 2), float(row[14]))
            for row in self._rows(picture)
        ]

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        looks = [
            self._second_look(_View(photo, one, brighten)) if one.landmarks is None else one
            for one in candidates
        ]
        return _distinct([one for one in looks if one and one.confidence >= FACE_SCORE])

    def _second_look(self, view: _View) -> Face | None:
        """Return the face in the middle of a view, looked at with the head upright."""
        angle, face = 0.0, self._look(view, 0.0)
        if face is None or face.confidence < SURE_SCORE:
            for turn in (90.0, 180.0, 270.0):
                # Mostly in vain: a small picture, in a quarter of the time, tells whether to look.
                small = self._look(view, turn, GLANCE)
                if small is None or (face and small.confidence < face.confidence):
                    continue
                turned = self._look(view, turn)
                if turned and (face is None or turned.confidence > face.confidence + TURN_GAIN):
                    angle, face = turn, turned
        for _ in range(LOOKS):
            if face is None or abs(_wrapped(face.roll - angle)) < LOOK_TILT:
                break
            levelled = self._look(view, face.roll)
            if levelled is None or levelled.confidence < face.confidence - TURN_GAIN:
                break
            angle, face = face.roll, levelled
        return face

    def _look(self, view: _View, angle: float, scale: float = 1.0) -> Face | None:
        """Return the surest face in the middle of a view turned counterclockwise by `angle`
        degrees and scaled."""
        picture, to_photo = view.turned(angle, scale)
        rows = self._rows(picture)
        rows[:, :14] /= scale
        centres = rows[:, :2] + rows[:, 2:4] / 2
        away = np.linalg.norm(centres - LOOK_SIDE / 2, axis=1) / LOOK_FACE
        grown = rows[:, 2:4].max(axis=1, initial=0) / LOOK_FACE
        rows = rows[(away < 0.4) & (grown > 0.5) & (grown < 2)]
        if not len(rows):
            return None
        row = rows[rows[:, 14].argmax()]
        points = np.concatenate([row[:2] + row[2:4] / 2, row[4:14]]).reshape(6, 2)
        (x, y), *landmarks = points @ to_photo[:, :2].T + to_photo[:, 2]
        width, height = row[2:4] / view.scale
        landmarks = np.array(landmarks, np.float32)
        across, down = np.abs(landmarks[1] - landmarks[0])
        if down > across:  # the head lies on its side
            width, height = height, width
        box = tuple(float(v) for v in (x - width / 2, y - height / 2, width, height))
        return Face(box, landmarks, float(row[14]))


class HaarCascade(FaceFinder):
    """Finds upright frontal faces with OpenCV's Haar cascade, which comes with OpenCV."""

    name = "Haar cascade"
    sides = HAAR_SIDES[:1]  # the cascade scales the photo itself
    coarse_sides = HAAR_SIDES[1:]

    def __init__(self, notice: str) -> None:
        """Load the cascade.

        Args:
            notice: see `FaceFinder`.

        Raises:
            FaceFinderError: this OpenCV comes without the cascade.
        """
        import cv2

        super().__init__(notice)
        try:
            path = Path(cv2.data.haarcascades) / HAAR_FILE
            self._cascade = cv2.CascadeClassifier(str(path))
        except AttributeError as error:  # OpenCV 5
            raise FaceFinderError(
                f"OpenCV {cv2.__version__} has no Haar cascade: install a 4.x version, or set "
                "FACE_DETECTOR to a copy of YuNet's ONNX file."
            ) from error

    def _detect(self, picture: np.ndarray) -> list[Face]:
        import cv2

        grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
        border = round(HAAR_BORDER * min(grey.shape))
        grey = cv2.copyMakeBorder(grey, *[border] * 4, cv2.BORDER_REPLICATE)
        with self._lock:
            squares, _, weights = self._cascade.detectMultiScale3(
                grey, 1.1, HAAR_NEIGHBOURS, minSize=(24, 24), outputRejectLevels=True
            )
        return [
            _face_of_square(x - border, y - border, side, weight)
            for (x, y, side, _), weight in zip(squares, np.ravel(weights), strict=True)
            if weight >= HAAR_WEIGHT
        ]

    def _confirm(self, photo: Image.Image, candidates: list[Face], brighten: bool) -> list[Face]:
        return candidates


def load_face_finder() -> FaceFinder:
    """Load the best face finder that can be had.

    That is the YuNet file which the environment names as `FACE_DETECTOR`; else the one of the
    Hugging Face Hub, from its cache or after a download; else the Haar cascade.

    Raises:
        FaceFinderError: `FACE_DETECTOR` is missing or no YuNet network, or there is no OpenCV.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise FaceFinderError(
            f"Faces cannot be looked for without OpenCV ({error}): install opencv-python-headless."
        ) from error
    path = os.environ.get("FACE_DETECTOR")
    if path:
        return YuNet(Path(path), f"Face finder in use: YuNet, from {Path(path).name}.")
    try:
        return YuNet(_fetch_yunet(), "Face finder in use: YuNet.")
    except FaceFinderError as error:
        return HaarCascade(
            f"Face finder in use: Haar cascade, which misses turned and covered faces. {error}"
        )


def face_square(size: tuple[int, int], face: Face, margin: float) -> tuple[int, int, int]:
    """Return the square that `crop_face` cuts out, before it levels the head.

    The training photos hold the face a little below their middle, so that there is more room for
    hair than for the neck: the middle of YuNet's box lies below theirs by `RISE` x the box's longer
    side. The square keeps to that.

    Args:
        size: width and height of the photo in px.
        face: found in it.
        margin: side of the square divided by the longer side of the face's box.

    Returns:
        Left, top and side in px. The square lies inside the photo: it is moved inwards where it
        would reach over the border, and is no larger than the photo.
    """
    side = min(max(1, round(margin * face.side)), *size)
    x, y = face.centre
    up = math.radians(face.roll)
    x, y = x + RISE * face.side * math.sin(up), y - RISE * face.side * math.cos(up)
    left, top = (
        min(max(0, round(middle - side / 2)), full - side)
        for middle, full in zip((x, y), size, strict=True)
    )
    return left, top, side


def crop_face(
    photo: Image.Image, face: Face, margin: float, size: int | None = None
) -> Image.Image:
    """Cut a face out of a photo as the training photos show it: square, upright, with a margin.

    Heads that are tilted by up to `MAX_TILT` degrees stay so and keep their pixels (those of the
    training photos are tilted as well), and heads on their side or upside down are turned by
    quarters, without resampling. Others are levelled, at full resolution; corners that come from
    outside the photo are filled with its mirror image.

    Args:
        photo: RGB, the one that the face was found in.
        face: as `FaceFinder.find` returns it.
        margin: side of the crop divided by the longer side of the face's box.
        size: side of the crop in px; without it the crop keeps the photo's resolution.

    Returns:
        A square RGB image.
    """
    left, top, side = face_square(photo.size, face, margin)
    quarters = round(face.roll / 90)
    tilt = face.roll - 90 * quarters
    if abs(tilt) <= MAX_TILT:
        crop = photo.crop((left, top, left + side, top + side))
        if quarters % 4:
            crop = crop.transpose(QUARTERS[quarters % 4])
    else:
        crop = _levelled(photo, (left + side / 2, top + side / 2), side, face.roll)
    return crop if size is None else resize_square(crop, size)


def crop_landmarks(size: tuple[int, int], face: Face, margin: float) -> np.ndarray | None:
    """Return where a face's landmarks lie in the crop that `crop_face` makes of it.

    Args:
        size: width and height of the photo in px.
        face: found in it.
        margin: as for `crop_face`.

    Returns:
        `float32` array `[5, 2]` of x and y as shares of the crop's side, the eye on the left first;
        `None` where the face has no landmarks.
    """
    if face.landmarks is None:
        return None
    left, top, side = face_square(size, face, margin)
    quarters = round(face.roll / 90)
    levelled = abs(face.roll - 90 * quarters) > MAX_TILT
    turn = math.radians(face.roll if levelled else 90 * quarters)
    away = (face.landmarks - [left + side / 2, top + side / 2]) / side
    back = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return (away @ back + 0.5).astype(np.float32)


class _View:
    """What lies around a face in a photo, to be shown turned and at any size.

    Attributes:
        scale: px in one px of the photo, of pictures in which the face is `LOOK_FACE` px long.
    """

    def __init__(self, photo: Image.Image, face: Face, brighten: bool) -> None:
        self.scale = LOOK_FACE / face.side
        reach = LOOK_SIDE / math.sqrt(2) / self.scale + 1  # px of the photo that any turn touches
        x, y = face.centre
        box = (
            max(0, math.floor(x - reach)),
            max(0, math.floor(y - reach)),
            min(photo.width, math.ceil(x + reach)),
            min(photo.height, math.ceil(y + reach)),
        )
        part = photo.crop(box)
        if self.scale < 0.5:  # what is shrunk by more would alias
            size = tuple(max(1, round(side * 2 * self.scale)) for side in part.size)
            part = part.resize(size, RESAMPLING, reducing_gap=SEARCH_GAP)
        self._picture = np.asarray(part)
        # From the photo's px to the picture's.
        self._ratio = np.array([part.width / (box[2] - box[0]), part.height / (box[3] - box[1])])
        self._corner = np.array(box[:2])
        self._middle = (np.array([x, y]) - self._corner) * self._ratio
        if brighten:
            self._picture = _brightened(self._picture, blur=4 * self._ratio[0] / self.scale)

    def turned(self, angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the view turned counterclockwise by some degrees, and how to get back.

        Args:
            angle: in degrees.
            scale: of the picture, 1 for `LOOK_SIDE`.

        Returns:
            RGB `[side, side, 3]`, and the `[2, 3]` matrix to the photo's px from those of the
            picture at scale 1.
        """
        import cv2

        ratio = float(self._ratio.mean())
        matrix = cv2.getRotationMatrix2D(tuple(self._middle), angle, self.scale / ratio)
        matrix[:, 2] += LOOK_SIDE / 2 - self._middle
        side = round(scale * LOOK_SIDE)
        picture = cv2.warpAffine(
            self._picture, scale * matrix, (side, side), borderMode=cv2.BORDER_REPLICATE
        )
        back = cv2.invertAffineTransform(matrix) / self._ratio[:, None]
        back[:, 2] += self._corner
        return picture, back


def _face_of_square(x: float, y: float, side: float, weight: float) -> Face:
    """Return the face that a square of the Haar cascade stands for, on YuNet's scale."""
    width, height = HAAR_WIDTH * side, HAAR_LENGTH * side
    box = (x + (side - width) / 2, y + (side - height) / 2, width, height)
    lowest, highest = HAAR_WEIGHTS
    confidence = min(float(weight - lowest) / (highest - lowest), 1.0)
    return Face(tuple(float(value) for value in box), None, confidence)


def _fetch_yunet() -> Path:
    """Return the YuNet file of the Hub, from its cache or after a download.

    Raises:
        FaceFinderError: it cannot be had, or is another file than expected.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import LocalEntryNotFoundError

    name = {"filename": YUNET_FILE, "revision": YUNET_REVISION}
    try:
        try:
            path = hf_hub_download(YUNET_REPOSITORY, **name, local_files_only=True)
        except LocalEntryNotFoundError:
            # Without an answer to this, the download would wait and retry for half a minute.
            get_hf_file_metadata(hf_hub_url(YUNET_REPOSITORY, **name), timeout=HUB_TIMEOUT)
            path = hf_hub_download(YUNET_REPOSITORY, **name)
    except Exception as error:  # HTTP errors share no class, and whatever it was, the cascade works
        raise FaceFinderError(
            f"YuNet could not be fetched from the Hugging Face Hub ({type(error).__name__}): check "
            "the network, or set FACE_DETECTOR to a copy of its ONNX file."
        ) from error
    if hashlib.sha256(Path(path).read_bytes()).hexdigest() not in YUNET_SHA256:
        raise FaceFinderError(
            f"{path} is not the YuNet file that was expected (sha256 differs): delete it, to fetch "
            "it again."
        )
    return Path(path)


def _scales(photo: Image.Image, sides: tuple[int, ...], *, enlarge: bool) -> list[float]:
    """Return the scales of the copies in which faces are looked for, finest first.

    Args:
        photo: RGB.
        sides: of copies of a 4:3 photo; others get as many pixels, so that the faces of a wide
            photo stay as large as those of a square one.
        enlarge: whether a small photo is enlarged.
    """
    full = math.sqrt(photo.width * photo.height * 4 / 3)
    finest = max(1.0, min(MAX_ENLARGEMENT, ENLARGED_SIDE / full)) if enlarge else 1.0
    scales: list[float] = []
    for side in sorted(sides):
        scale = min(side / full, finest)
        if not scales or scale > MIN_STEP * scales[-1]:
            scales.append(1.0 if AS_IT_IS < scale < 1 else scale)
    return scales[::-1]


def _copies(photo: Image.Image, scales: list[float]) -> list[tuple[np.ndarray, float]]:
    """Return RGB copies of a photo with their scale; each is made from the one before."""
    copies, source = [], photo
    for scale in scales:
        size = tuple(max(1, round(side * scale)) for side in photo.size)
        if size != source.size:
            source = source.resize(size, RESAMPLING, reducing_gap=SEARCH_GAP)
        copies.append((np.asarray(source), scale))
    return copies


def _is_sure(face: Face, shape: tuple[int, ...]) -> bool:
    """Return whether a face in a copy of a shape, in its px, needs no second look.

    One that touches the border does: its box would end there, and not where the face does.
    """
    left, top, width, height = face.box
    room = min(left, top, shape[1] - left - width, shape[0] - top - height)
    return (
        face.landmarks is not None
        and face.side >= SURE_SIDE
        and face.confidence >= SURE_SCORE
        and abs(face.roll) <= SURE_TILT
        and room >= SURE_ROOM * face.side
    )


def _brightened(picture: np.ndarray, blur: float) -> np.ndarray:
    """Return an RGB picture smoothed over some px and then scaled to white.

    Of faces that were darkened to 8 % with a noise of 4 levels, YuNet finds 40 %, and 99 % like
    this; CLAHE or a gamma curve raise the noise as well and help little.
    """
    import cv2

    smooth = cv2.GaussianBlur(picture, (0, 0), blur)
    white = max(1.0, float(np.percentile(smooth.max(axis=2), 99)))
    return cv2.convertScaleAbs(smooth, alpha=255 / white)


def _turned_back(box: tuple, turn: int, width: int, height: int) -> tuple:
    """Return a box of a picture that was turned counterclockwise in the picture before that.

    Args:
        box: left, top, width and height in the turned picture.
        turn: degrees, in steps of 90.
        width: of the picture before.
        height: of the picture before.
    """
    left, top, box_width, box_height = box
    if turn == 90:
        return width - top - box_height, left, box_height, box_width
    if turn == 180:
        return width - left - box_width, height - top - box_height, box_width, box_height
    if turn == 270:
        return top, height - left - box_width, box_height, box_width
    return box


def _distinct(faces: list[Face]) -> list[Face]:
    """Return the faces, surest first, without those that lie on a surer one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.confidence):
        if all(_overlap(face.box, other.box) <= OVERLAP for other in kept):
            kept.append(face)
    return kept


def _overlap(first: tuple, second: tuple) -> float:
    """Return the share of the smaller box that lies in the other one."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    smaller = min(first[2] * first[3], second[2] * second[3])
    return max(0.0, width) * max(0.0, height) / smaller


def _wrapped(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


def _levelled(
    photo: Image.Image, middle: tuple[float, float], side: int, roll: float
) -> Image.Image:
    """Return a square of the photo turned counterclockwise by `roll` degrees about its middle."""
    cos, sin = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    reach = math.ceil(side * (abs(cos) + abs(sin)) / 2) + 2  # px of the photo that it touches
    left, top = (math.floor(value) - reach for value in middle)
    region = _mirrored(photo, left, top, 2 * reach + 1)
    x, y = middle[0] - left, middle[1] - top
    half = side / 2
    matrix = (cos, -sin, x - half * (cos - sin), sin, cos, y - half * (sin + cos))
    return region.transform((side, side), Image.Transform.AFFINE, matrix, RESAMPLING)


def _mirrored(photo: Image.Image, left: int, top: int, side: int) -> Image.Image:
    """Return a square of a photo; what lies outside is filled with the photo's mirror image."""
    right, bottom = left + side, top + side
    inside = (max(0, left), max(0, top), min(photo.width, right), min(photo.height, bottom))
    part = photo.crop(inside)
    if part.size == (side, side):
        return part
    rows, columns = (inside[1] - top, bottom - inside[3]), (inside[0] - left, right - inside[2])
    return Image.fromarray(np.pad(np.asarray(part), (rows, columns, (0, 0)), mode="symmetric"))
