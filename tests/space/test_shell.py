"""`python space/detector.py` with files of every kind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from space import shell
from tests.clips import write_cover
from tests.serving import SPACE


def run_shell(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SPACE / "detector.py", *map(os.fspath, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return Path(shutil.copy(SPACE / "examples/portrait.jpg", tmp_path))


@pytest.fixture
def folder(tmp_path: Path, portrait: Path, clip: Path) -> Path:
    """A folder with photos, a clip and a file that is neither."""
    (tmp_path / "all/below").mkdir(parents=True)
    shutil.copy(portrait, tmp_path / "all/b.MPO")
    shutil.copy(portrait, tmp_path / "all/.hidden.jpg")
    shutil.copy(clip, tmp_path / "all/below/a.mp4")
    (tmp_path / "all/notes.txt").write_text("no photo")
    return tmp_path / "all"


def test_a_folder_and_the_clips_in_it_are_judged(folder):
    result = run_shell("--json", folder)
    assert result.returncode == 0, result.stderr
    photo, clip = map(json.loads, result.stdout.splitlines())
    assert photo["file"] == str(folder / "b.MPO")
    assert len(photo["faces"]) == 1
    assert clip["file"] == str(folder / "below/a.mp4")
    assert len(clip["people"]) == 1


def test_a_clip_has_a_line_for_each_person(clip, capsys):
    assert shell.main([str(clip)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{clip}, person 1: ")


def test_a_song_is_no_damaged_photo(tmp_path, capsys):
    song = write_cover(tmp_path / "song.m4a", np.zeros((64, 64, 3), np.uint8), seconds=0.5)
    assert shell.main(["--json", str(song)]) == 1
    assert "sound without a picture" in json.loads(capsys.readouterr().out)["error"]


def test_a_hidden_file_is_judged_where_it_is_named(folder, capsys):
    assert shell.main(["--json", str(folder / ".hidden.jpg")]) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) == 1


def test_what_cannot_be_judged_stops_nothing(portrait, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.mp4")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/foto_\xe9.jpg")
    shutil.copy(portrait, odd)
    names = ("empty", "pipe.jpg", "pipe.mp4", "gone.mp4", "gone.jpg")
    files = [*(str(tmp_path / name) for name in names), odd]
    assert shell.main(["--json", *files]) == 1
    *refused, judged = map(json.loads, capsys.readouterr().out.splitlines())
    assert "holds no photos" in refused[0]["error"]
    assert [("pipe" in answer["error"]) for answer in refused[1:]] == [True, True, False, False]
    assert all("No such file" in answer["error"] for answer in refused[3:])
    assert judged["file"] == f"{tmp_path}/foto_\\xe9.jpg"
    assert len(judged["faces"]) == 1


def test_reasons_and_animations_are_told_in_words(portrait, tmp_path, capsys):
    photo = Image.open(portrait)
    name = tmp_path / "cut\n\x1b[31m.png"  # must not break the line or colour the terminal
    photo.crop((0, 85, *photo.size)).save(name)  # 20 % of the face's box
    wall = Image.new("RGB", (200, 200), "#8899aa")
    wall.save(tmp_path / "moving.gif", save_all=True, append_images=[photo])
    assert shell.main([str(name), str(tmp_path / "moving.gif")]) == 0
    cut, moving, *rest = capsys.readouterr().out.splitlines()
    assert r"/cut\n\x1b[31m.png: inconclusive (probability of fake 0." in cut
    assert cut.endswith("The face is cut by the border of the picture.")
    assert "no face found" in moving
    assert (moving + "".join(rest)).endswith("Only the first of the file's pictures was looked at.")


def test_a_reader_that_has_enough_ends_it_quietly(portrait):
    command = f"{sys.executable} {SPACE / 'detector.py'} {' '.join([str(portrait)] * 20)} | head -1"
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert result.stdout.startswith(str(portrait))
    assert result.returncode == 0
    assert "Error" not in result.stderr


def test_what_a_file_says_of_itself_is_told_on_request(portrait, capsys):
    Image.open(portrait).save(portrait, comment="made with \u202e\x1b[31mGIMP")
    assert shell.main([str(portrait)]) == 0
    assert "Content Credentials" not in capsys.readouterr().out
    assert shell.main(["--provenance", str(portrait)]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("[unknown]")
    assert any("GIMP" in line and line.endswith("[written by anybody]") for line in lines)
    assert not {"\x1b", "\u202e"} & set("".join(lines))
    assert shell.main(["--provenance", "--json", str(portrait), "none.jpg"]) == 1
    photo, missing = map(json.loads, capsys.readouterr().out.splitlines())
    assert photo["provenance"][0]["kind"] == "credentials"
    assert missing["provenance"][0]["kind"] == "unreadable"
