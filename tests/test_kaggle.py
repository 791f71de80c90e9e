import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drawing import draw_face, write_source
from training.errors import UserError
from training.kaggle import find_photos, locate

PROJECT = Path(__file__).parents[1]


def prepare_from_kaggle(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run `prepare` in a process of its own: kagglehub reads its environment when imported."""
    settings = {
        "HOME": str(tmp_path),
        "KAGGLEHUB_CACHE": str(tmp_path / "cache"),
        "KAGGLE_API_ENVIRONMENT": "TEST",  # sends calls to a port here, where nobody listens
        "DISABLE_KAGGLE_CACHE": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "training", "prepare", "--output", str(tmp_path / "faces")],
        cwd=PROJECT,
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_cached_copy_works_offline_and_its_second_copy_is_ignored(tmp_path):
    dataset = tmp_path / "cache/datasets/ciplab/real-and-fake-face-detection"
    archive = write_source(dataset / "versions/1/real_and_fake_face", per_label=24)
    shutil.copytree(archive, dataset / "versions/1/real_and_fake_face_detection" / archive.name)
    (dataset / "1.complete").touch()
    result = prepare_from_kaggle(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "second copy" in result.stderr
    assert len(list((tmp_path / "faces").rglob("*.jpg"))) == 48


def test_no_network_is_one_sentence_that_names_the_way_out(tmp_path):
    result = prepare_from_kaggle(tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    message = result.stderr.strip().splitlines()[-1]
    assert "--source PATH" in message
    assert "KAGGLE_API_TOKEN" in message


def test_folders_are_found_at_any_depth(tmp_path):
    write_source(tmp_path / "a/b", per_label=2)
    for label in ("Real", "Fake"):
        (tmp_path / "c" / label).mkdir(parents=True)
        draw_face(7, 40).save(tmp_path / "c" / label / f"{label}.png")
    photos = find_photos(tmp_path)
    assert sorted((photo.source, photo.label) for photo in photos) == [
        ("b", "fake"),
        ("b", "fake"),
        ("b", "real"),
        ("b", "real"),
        ("c", "fake"),
        ("c", "real"),
    ]


def test_other_photos_with_the_same_names_are_no_second_copy(tmp_path, caplog):
    write_source(tmp_path / "a", per_label=2, size=64)
    write_source(tmp_path / "b", per_label=2, size=96)
    with caplog.at_level(logging.INFO):
        assert len(find_photos(tmp_path)) == 8
    assert "second copy" not in caplog.text


def test_what_prepare_wrote_is_no_source(tmp_path):
    write_source(tmp_path / "a", per_label=2)
    for label in ("real", "fake"):
        (tmp_path / "out/train" / label).mkdir(parents=True)
        draw_face(1, 40).save(tmp_path / "out/train" / label / "face.jpg")
    (tmp_path / "out/prepare_report.json").touch()
    assert len(find_photos(tmp_path)) == 4


def test_wrong_sources_are_named(tmp_path):
    with pytest.raises(UserError, match="not a folder"):
        locate(str(tmp_path / "missing"))
    with pytest.raises(UserError, match="training_real"):
        find_photos(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "fake").mkdir()
    draw_face(1, 40).save(tmp_path / "real/face.jpg")
    with pytest.raises(UserError, match="No fake photos"):
        find_photos(tmp_path)
