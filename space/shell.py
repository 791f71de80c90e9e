"""The command line of `python space/detector.py`: judge photos, clips and folders of them."""

from __future__ import annotations

import argparse
import io
import json
import mimetypes
import os
import sys
import unicodedata
from collections.abc import Iterator

if __package__:
    from .contract import REASONS, DetectorError
    from .detector import Detector, load_detector
    from .faces import FaceFinder, FaceFinderError, load_face_finder
    from .photos import ENDINGS, PhotoError, animation_note, printable
else:
    from contract import REASONS, DetectorError
    from detector import Detector, load_detector
    from faces import FaceFinder, FaceFinderError, load_face_finder
    from photos import ENDINGS, PhotoError, animation_note, printable

MATROSKA = (".mkv",)  # unknown to `mimetypes` on some systems
# Unicode categories of control and invisible characters.
UNSEEN = ("Cc", "Cf", "Zl", "Zp")
SOUND = (".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav")  # some contain a cover picture


def main(arguments: list[str] | None = None) -> int:
    """Print a verdict for every face of photos and every person of clips.

    Returns:
        The exit code: 0, 1 if a file could not be judged, or 2 if there is no model.
    """
    options = _parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may not fit the terminal
    try:
        detector = (
            Detector.from_pretrained(options.model, options.revision)
            if options.model
            else load_detector()
        )
        finder = None if options.whole_picture else load_face_finder(detector.folder)
    except (DetectorError, FaceFinderError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return _judge_all(options, detector, finder)
    except BrokenPipeError:  # the reader of the answers has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush at exit
        return 0


def _judge_all(options: argparse.Namespace, detector: Detector, finder: FaceFinder | None) -> int:
    exit_code = 0
    for file in _files(options.files):
        answer = _judge_file(detector, finder, file)
        if options.provenance:
            answer["provenance"] = _provenance(file)
        exit_code = 1 if "error" in answer else exit_code
        if options.json:
            print(json.dumps(answer), flush=True)
        elif "error" in answer:
            print(f"{_one_line(answer['file'])}: {answer['error']}", file=sys.stderr)
        else:
            print("\n".join(_lines(answer)), flush=True)
        if not options.json:
            for finding in answer.get("provenance", ()):
                print(f"    {finding['sentence']} [{finding['trust']}]", flush=True)
    return exit_code


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="detector.py",
        description="Say of photos and clips whether the faces in them were tampered with.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="JPEG, PNG, WebP or HEIC photo, MP4, MOV or WebM clip, or a folder of these (hidden "
        "files are left out)",
    )
    parser.add_argument(
        "--model",
        help="NAMESPACE/NAME on the Hugging Face Hub, or a folder (default: MODEL_ID of the "
        "environment, or else the bundled model)",
    )
    parser.add_argument("--revision", help="branch, tag or full commit of that model")
    parser.add_argument(
        "--whole-picture",
        action="store_true",
        help="do not look for faces: judge the centred square of each photo",
    )
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="also report what each file says about itself: Content Credentials, XMP, EXIF, notes",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per file")
    options = parser.parse_args(arguments)
    if options.revision and (not options.model or os.path.isdir(options.model)):
        parser.error("--revision needs a --model on the Hub")
    return options


def _files(names: list[str]) -> Iterator[str]:
    """Yield the named files, and the photos and clips below the named folders, sorted."""
    for name in names:
        if not os.path.isdir(name):
            yield name
            continue
        members = list(_below(name))
        yield from members or [name]  # an empty folder gets an error message as well


def _below(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            is_photo = os.path.splitext(name)[1].lower() in ENDINGS
            if (is_photo or _is_clip(name)) and not name.startswith("."):
                yield os.path.join(folder, name)


def _is_clip(name: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    return kind.startswith("video/") or name.lower().endswith(MATROSKA)


def _judge_file(detector: Detector, finder: FaceFinder | None, file: str) -> dict[str, object]:
    """Return the answer about a file in JSON types; without a finder, judge whole pictures."""
    is_clip = _is_clip(file) or file.lower().endswith(SOUND)
    judge = _judge_clip if is_clip and os.path.isfile(file) else _judge_photo
    source = {"file": printable(file), "model": detector.name}
    try:
        return source | judge(detector, finder, file)
    except ValueError as error:  # `PhotoError`, `VideoError`
        return source | {"error": str(error)}


def _judge_photo(detector: Detector, finder: FaceFinder | None, file: str) -> dict[str, object]:
    if os.path.isdir(file):
        raise PhotoError("The folder holds no photos and no clips: name another one.")
    judgements = [detector.judge_whole(file)] if finder is None else detector.judge(file, finder)
    return {
        "faces": [judgement.as_dict() for judgement in judgements],
        "note": animation_note(file),
    }


def _judge_clip(detector: Detector, finder: FaceFinder | None, file: str) -> dict[str, object]:
    if finder is None:
        raise PhotoError("A clip has no whole picture: leave out --whole-picture.")
    try:
        if __package__:
            from .video import judge_video
        else:
            from video import judge_video
    except ImportError as error:
        raise PhotoError(f"Clips cannot be judged ({error}): install the package.") from error
    return judge_video(file, detector, finder).as_dict()


def _provenance(file: str) -> list[dict[str, str]]:
    if __package__:
        from .provenance import read
    else:
        from provenance import read
    return read(file).to_json()


def _lines(answer: dict) -> list[str]:
    """Return an answer for people: a line per face or person, or one that says there is none."""
    file = _one_line(answer["file"])
    subjects = answer.get("faces", answer.get("people"))
    kind = "face" if "faces" in answer else "person"
    note = f" {answer['note']}" if answer["note"] else ""
    if not subjects:
        hint = " (--whole-picture judges it anyway)" if kind == "face" else ""
        return [f"{file}: no face found{hint}{'.' if note else ''}{note}"]
    lines = []
    for number, subject in enumerate(subjects, start=1):
        label = f", {kind} {number}" if len(subjects) > 1 or kind == "person" else ""
        verdict = f"{subject['verdict']} (probability of fake {subject['probability']:.2f})"
        reason = f". {REASONS[subject['reason']]}" if subject["reason"] else ""
        lines.append(f"{file}{label}: {verdict}{reason}")
    if note:
        lines.append(f"{file}:{note}")
    return lines


def _one_line(name: str) -> str:
    """Return a name with control and invisible characters as escapes: `\\n`, `\\x1b`."""
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in UNSEEN
        else character
        for character in name
    )
