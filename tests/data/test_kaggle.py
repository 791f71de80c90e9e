import base64
import logging
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.clients import call
from tests.drawing import draw_face, write_source
from tests.kaggle_server import KaggleServer, proxy_environment, serve_kaggle
from training.data.find import find_photos, locate, source_name
from training.errors import UserError

PROJECT = Path(__file__).parents[2]
TOKEN = "KGAT_0123456789abcdef-never-shown"
OTHER = "somebody/many-faces"
BASIC = base64.b64encode(f"somebody:{TOKEN}".encode()).decode()
FIND = """
import logging
import sys
from training.data.find import find_photos, locate
logging.basicConfig(format="%(message)s", level=logging.INFO)
print(len(find_photos(locate("kaggle"))))
"""


@pytest.fixture
def kaggle() -> Iterator[KaggleServer]:
    with serve_kaggle() as server:
        yield server


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The photos twice, as on Kaggle, and enough padding for a download to break off in."""
    folder = tmp_path_factory.mktemp("kaggle") / "archive"
    name = "real_and_fake_face"
    write_source(folder / name, per_label=20, size=64)
    shutil.copytree(folder / name, folder / f"{name}_detection" / name)
    # kagglehub writes a megabyte at a time; an interruption loses a smaller part.
    (folder / "notes.bin").write_bytes(random.Random(0).randbytes(2_000_000))
    return Path(shutil.make_archive(str(folder), "zip", folder)).read_bytes()


def variables(tmp_path: Path, **environment: str) -> dict[str, str | None]:
    """Return the variables of a client that has an empty home and asks no real server."""
    return {
        **{name: None for name in os.environ if "KAGGLE" in name},
        "HOME": str(tmp_path),
        "KAGGLE_CONFIG_DIR": str(tmp_path / ".kaggle"),  # kagglehub looks up its home only once
        "KAGGLEHUB_CACHE": str(tmp_path / "cache"),
        **proxy_environment(0),  # no server listens there
        **environment,
    }


def run(tmp_path: Path, where: str, **environment: str) -> subprocess.CompletedProcess:
    """Count photos and return the output, which may show no secret."""
    result = call(partial(count_photos, where), variables(tmp_path, **environment))
    assert "never-shown" not in result.stdout + result.stderr
    assert BASIC not in result.stdout + result.stderr
    return result


def count_photos(where: str) -> None:
    try:
        print(len(find_photos(locate(where))))
    except UserError as error:
        sys.exit(f"error: {error}")


def find(tmp_path: Path, where: str = "kaggle", **environment: str) -> int:
    """Return the number of photos found in a dataset that holds all of them twice."""
    result = run(tmp_path, where, **environment)
    assert result.returncode == 0, result.stderr
    assert "second copy" in result.stderr
    return int(result.stdout.splitlines()[-1])


def failure(tmp_path: Path, where: str = "kaggle", **environment: str) -> str:
    """Look for photos, which must fail; return the error, one sentence that says what to do."""
    result = run(tmp_path, where, **environment)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("error: ")
    assert sentence.endswith(", or use a copy that you have with --source PATH.")
    return sentence


def test_cached_copy_works_offline_and_its_second_copy_is_ignored(tmp_path):
    dataset = tmp_path / "cache/datasets/ciplab/real-and-fake-face-detection"
    archive = write_source(dataset / "versions/1/real_and_fake_face", per_label=20, size=64)
    shutil.copytree(archive, dataset / "versions/1/real_and_fake_face_detection" / archive.name)
    (dataset / "1.complete").touch()
    environment = os.environ | variables(tmp_path)
    result = subprocess.run(  # a process of its own, as users start it
        [sys.executable, "-c", FIND],
        cwd=PROJECT,
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "40\n"
    assert "second copy" in result.stderr


def test_no_network_is_no_question_of_credentials(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # without listening: this keeps the port closed
        environment = proxy_environment(silent.getsockname()[1])
        sentence = failure(tmp_path, KAGGLE_API_TOKEN=TOKEN, **environment)
    assert "connection" in sentence
    assert "check the network" in sentence
    assert "KAGGLE_API_TOKEN" not in sentence


def test_without_credentials_the_sentence_says_how_to_get_them(tmp_path, kaggle):
    kaggle.status = 403  # as for a dataset that is not public
    sentence = failure(tmp_path, **kaggle.environment)
    assert "none are set" in sentence
    assert "https://www.kaggle.com/settings" in sentence
    assert "KAGGLE_API_TOKEN" in sentence


@pytest.mark.parametrize(
    "credentials",
    [{"KAGGLE_API_TOKEN": TOKEN}, {"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": TOKEN}],
    ids=["token", "key"],
)
def test_wrong_credentials_are_not_accepted_and_never_shown(tmp_path, kaggle, credentials):
    kaggle.accepted = "Bearer another token"
    sentence = failure(tmp_path, **kaggle.environment, **credentials)
    assert "does not accept the credentials" in sentence
    assert "KAGGLE_API_TOKEN" in sentence


def test_what_cannot_be_a_token_is_never_shown(tmp_path):
    # Errors quote both: http.client's the first, and pathlib's, which sees a path, the second.
    assert "credentials that are set" in failure(tmp_path, KAGGLE_API_TOKEN=f"{TOKEN}\n")
    assert failure(tmp_path, KAGGLE_API_TOKEN=TOKEN * 9)


@pytest.mark.parametrize(
    ("status", "found", "advice"),
    [
        (403, "denies", "open https://www.kaggle.com/datasets/ciplab/"),
        (404, "Kaggle has no ciplab/real-and-fake-face-detection/versions/1", "look at https://"),
        (500, "error (500)", "try again later"),
    ],
)
def test_what_kaggle_answers_is_told_apart(tmp_path, kaggle, status, found, advice):
    kaggle.status = status
    sentence = failure(tmp_path, KAGGLE_API_TOKEN=TOKEN, **kaggle.environment)
    assert found in sentence
    assert advice in sentence
    assert "token" not in sentence


def test_download_that_broke_off_goes_on_where_it_stopped(tmp_path, kaggle, archive):
    kaggle.archive, kaggle.checked, kaggle.accepted = archive, archive, f"Bearer {TOKEN}"
    environment = {"KAGGLE_API_TOKEN": TOKEN, **kaggle.environment}
    kaggle.cut = len(archive) * 3 // 4
    sentence = failure(tmp_path, **environment)
    assert "broke off" in sentence
    assert "run the same command again" in sentence
    kaggle.cut = None
    assert find(tmp_path, **environment) == 40
    assert kaggle.ranges[-1] not in (None, "bytes=0-")


def test_damaged_archive_is_not_kept(tmp_path, kaggle, archive):
    middle = len(archive) // 2
    broken = archive[:middle] + b"damaged" + archive[middle + len(b"damaged") :]
    no_archive = archive[::-1]  # of the right size, which is complete to kagglehub
    for sent, checked in ((no_archive, None), (broken, None), (broken, archive)):
        kaggle.archive, kaggle.checked = sent, checked
        sentence = failure(tmp_path, **kaggle.environment)
        assert "arrived damaged" in sentence
        assert "run the same command again" in sentence
    kaggle.archive = archive
    assert find(tmp_path, **kaggle.environment) == 40


def test_another_dataset_is_downloaded_in_its_newest_version(tmp_path, kaggle, archive):
    owner, name = OTHER.split("/")
    kaggle.asked = {"ownerSlug": owner, "datasetSlug": name, "datasetVersionNumber": 3}
    kaggle.archive = archive[::-1]
    sentence = failure(tmp_path, f"kaggle:{OTHER}", **kaggle.environment)
    assert f"The archive of {OTHER} arrived damaged and was deleted" in sentence
    kaggle.archive = archive
    assert find(tmp_path, f"kaggle:{OTHER}", **kaggle.environment) == 40
    assert (tmp_path / f"cache/datasets/{OTHER}/3.complete").is_file()


@pytest.mark.parametrize(("status", "version"), [(403, ""), (404, "/versions/7"), (500, "")])
def test_errors_name_the_dataset_that_was_asked_for(tmp_path, kaggle, status, version):
    kaggle.asked, kaggle.status = {}, status
    where = f"kaggle:{OTHER}{version}"
    sentence = failure(tmp_path, where, KAGGLE_API_TOKEN=TOKEN, **kaggle.environment)
    assert f"{OTHER}{version}" in sentence
    assert "ciplab" not in sentence
    if status != 500:
        assert f"https://www.kaggle.com/datasets/{OTHER}" in sentence


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


@pytest.mark.parametrize("label", ["real", "fake"])
def test_a_folder_of_one_label_counts_where_there_is_no_pair(tmp_path, label):
    (tmp_path / "set" / label).mkdir(parents=True)
    draw_face(1, 40).save(tmp_path / "set" / label / "a.png")
    [photo] = find_photos(tmp_path)
    assert (photo.label, photo.source, photo.place) == (label, "set", f"{label}/a.png")
    (tmp_path / "pair/Fake/deeper").mkdir(parents=True)
    (tmp_path / "pair/Real").mkdir()
    draw_face(2, 40).save(tmp_path / "pair/Fake/deeper/b.png")
    [photo] = find_photos(tmp_path)
    assert (photo.label, photo.source, photo.place) == ("fake", "pair", "Fake/deeper/b.png")


def test_source_that_is_named_is_that_of_every_photo(tmp_path):
    for split in ("train", "test"):
        write_source(tmp_path / split, per_label=1, size=64 if split == "train" else 96)
    assert {photo.source for photo in find_photos(tmp_path)} == {"train", "test"}
    assert {photo.source for photo in find_photos(tmp_path, source="mine")} == {"mine"}


def test_name_of_a_frame_tells_the_video_that_its_own_was_made_from(tmp_path):
    for label, name in (("real", "abc"), ("fake", "abc__xyz"), ("fake", "easy_1_0110")):
        (tmp_path / label).mkdir(exist_ok=True)
        draw_face(1, 40).save(tmp_path / label / f"{name}.jpg")
    originals = {photo.path.stem: photo.original for photo in find_photos(tmp_path)}
    assert originals == {"abc": "", "abc__xyz": "abc", "easy_1_0110": ""}


def test_downloads_are_named_after_their_dataset():
    assert source_name(f"kaggle:{OTHER}/versions/2") == "many-faces"
    assert source_name("hf:someone/faces@main") == "faces"
    assert source_name("kaggle") is None  # the default dataset's folders keep their names
    assert source_name("data/faces") is None


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
    for where in ("kaggle:", "kaggle:faces", f"kaggle:{OTHER}/versions/new", "kaggle:../.."):
        with pytest.raises(UserError, match="names no dataset"):
            locate(where)
    with pytest.raises(UserError, match="training_real"):
        find_photos(tmp_path)
    (tmp_path / "real").mkdir()
    with pytest.raises(UserError, match=r"^No photos in .*, or one of them\.$"):
        find_photos(tmp_path)
