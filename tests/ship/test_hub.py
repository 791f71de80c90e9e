"""Pushes to a Hub on loopback, and downloads from it, by the real client.

What users start runs in a process of its own. Pushes that differ by flags or by the Hub's answers
run in this process.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

import training.ship.push
from space.contract import FINDER_CONFIG_FILE, FINDER_FILE
from space.detector import Detector
from space.faces import load_face_finder
from tests.clients import call
from tests.drawing import draw_face
from tests.hub_server import SIGNATURE, Hub, Repository, serve_hub
from tests.serving import ask_page, serve_page, shown_text
from training.__main__ import main
from training.errors import UserError
from training.ship.uploads import CODE_FILES, Upload, dataset_upload, model_upload, space_upload

PROJECT = Path(__file__).parents[2]
MODEL, SPACE, DATASET = "someone/detector", "someone/page", "someone/faces"
STATIC_SPACE = "someone/page-in-the-browser"
OWNER = "hf_owner_secret"


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub({OWNER: "someone"})
    with serve_hub(hub):
        yield hub
    assert hub.errors == []


@pytest.fixture
def trained(spread: Path, exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported run that a test may change."""
    return Path(shutil.copytree(spread, tmp_path / "run"))


def run_client(
    *command: object, hub: Hub, home: Path, token: str | None = OWNER, cwd: Path = PROJECT
) -> subprocess.CompletedProcess:
    """Run a program that talks to the Hub and return its output, which may show no secret."""
    result = subprocess.run(
        list(map(str, command)),
        env=os.environ | hub.environment(token, home),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    return without_secrets(result, token)


def without_secrets(
    result: subprocess.CompletedProcess, token: str | None
) -> subprocess.CompletedProcess:
    for secret in filter(None, (OWNER, token, SIGNATURE)):
        assert secret not in result.stdout + result.stderr
    return result


def push(
    hub: Hub, run: Path, *flags: object, token: str | None = OWNER, **environment: str
) -> subprocess.CompletedProcess:
    """Push in this process and return the output, which may show no secret."""
    arguments = ["push", str(run), *map(str, flags)]
    result = call(lambda: main(arguments), hub.environment(token, run / "home") | environment)
    return without_secrets(result, token)


def sentence(result: subprocess.CompletedProcess) -> str:
    """Return the one sentence with which a refused push ends."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    sentences = re.findall(r"^error: .*\.$", result.stderr, re.MULTILINE)
    assert len(sentences) == 1, result.stderr
    return sentences[0]


@pytest.fixture(scope="module")
def pushed(
    spread: Path, exported: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hub, Path]]:
    """A Hub to which a run was pushed with its page and photos, and the run."""
    run = Path(shutil.copytree(spread, tmp_path_factory.mktemp("pushed") / "run"))
    examples = run.parent / "examples"
    examples.mkdir()
    draw_face(5, 300).save(examples / "drawn.png")
    (examples / "README.md").write_text("Drawn by a program.")
    hub = Hub({OWNER: "someone"})
    with serve_hub(hub):
        flags = ("--model-id", MODEL, "--space-id", SPACE, "--dataset-id", DATASET, "--tag", "v1")
        command = ("push", run, *flags, "--data", data, "--examples", examples)
        result = run_client(sys.executable, "-m", "training", *command, hub=hub, home=run / "home")
        assert result.returncode == 0, result.stderr
        yield hub, run
    assert hub.errors == []


def write_files(repository: Repository, folder: Path) -> Path:
    """Write the files of a repository to a folder; return the folder."""
    for path, content in repository.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A portrait in which the cascade also finds a face."""
    return Path(shutil.copy(PROJECT / "space/examples/portrait.jpg", tmp_path / "photo.jpg"))


def test_pushed_page_answers_like_the_local_run(pushed, space_python, tmp_path, photo):
    hub, run = pushed
    page = write_files(hub.repositories["space", SPACE], tmp_path / "page")
    variables = hub.repositories["space", SPACE].variables
    settings = hub.environment(None, tmp_path / "home") | variables
    log = tmp_path / "log.txt"
    with serve_page(space_python, log, space=page, **settings) as client:
        served = ask_page(client, photo)["faces"][0]["probability"]
        text = shown_text(client)
    local = Detector(run / "export").predict(photo).probability
    assert served == pytest.approx(local, abs=1e-6)
    commit = hub.repositories["model", MODEL].head.sha
    assert variables == {"MODEL_ID": MODEL, "MODEL_REVISION": commit}
    assert f"Model in use: {MODEL} @ {commit[:8]}." in text


def test_each_repository_gets_one_commit(pushed, data):
    hub, run = pushed
    model, space, dataset = (
        hub.repositories[key] for key in (("model", MODEL), ("space", SPACE), ("dataset", DATASET))
    )
    # One commit of each is the Hub's.
    assert [len(repository.commits) for repository in (model, space, dataset)] == [2, 2, 2]
    assert (model.private, space.private, dataset.private) == (False, False, True)
    assert space.sdk == "gradio"
    assert model.tags == {"v1": model.head.sha}
    others = [f"variants/{path.name}" for path in (run / "export/variants").iterdir()]
    assert others
    assert {
        "README.md", "LICENSE", "config.json", "deepfake_cnn.keras", "deepfake_cnn.h5",
        "detector.json", "detector.tflite", "metrics.json", "requirements.txt", "roc.png",
        ".eval_results/test.yaml",
        *CODE_FILES, *others,
    } <= model.files.keys()  # fmt: skip
    packages = model.files["requirements.txt"].decode().split()
    assert [line.split(">=")[0] for line in packages] == [
        "ai-edge-litert", "c2pa-python", "defusedxml", "numpy", "pillow",
    ]  # fmt: skip
    for name in CODE_FILES:
        assert model.files[name] == space.files[name] == (PROJECT / "space" / name).read_bytes()
    assert {"app.py", "requirements.txt", "model/detector.tflite"} <= space.files.keys()
    assert {"examples/drawn.png", "examples/README.md"} <= space.files.keys()
    assert f"models:\n- {MODEL}\n" in space.files["README.md"].decode()
    assert "sdk_version: 6.31.0" in space.files["README.md"].decode()
    assert f"spaces/{SPACE}/resolve/main/thumbnail.jpg" in space.files["README.md"].decode()
    assert "thumbnail.jpg" in space.files
    assert "emoji: 🔍" in space.files["README.md"].decode()
    photos = [path for path in dataset.files if path.endswith(".jpg")]
    assert len(photos) == len(list(data.rglob("*.jpg")))
    assert "terms are not recorded" in dataset.files["README.md"].decode()
    everything = model.files.keys() | space.files.keys() | dataset.files.keys()
    assert not [path for path in everything if "mistakes" in path or "__pycache__" in path]


def test_code_of_a_model_repository_is_complete():
    for name in CODE_FILES:
        tree = ast.parse((PROJECT / "space" / name).read_text())
        imported = {
            f"{node.module}.py" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        space_files = {path.name for path in (PROJECT / "space").glob("*.py")}
        assert imported & space_files <= set(CODE_FILES), name


def test_cards_passed_the_hubs_own_check(pushed):
    hub, run = pushed
    assert hub.requests.count("POST /api/validate-yaml") >= 3
    card = hub.repositories["model", MODEL].files["README.md"].decode()
    assert card == (run / "model_card.md").read_text(encoding="utf-8")
    anonymous = hub.environment(None, run / "home")
    call(ModelCard(card).validate, anonymous)
    broken = ModelCard(card.replace("license: gpl-3.0", "license: mine"))
    with pytest.raises(ValueError, match='"license" must be'):
        call(broken.validate, anonymous)


def test_examples_of_the_card_run_as_they_stand(pushed, photo, monkeypatch):
    hub, run = pushed
    card = hub.repositories["model", MODEL].files["README.md"].decode()
    blocks = re.findall(r"```(python|bash)\n(.*?)```", card, re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "bash", "python", "python"]
    monkeypatch.chdir(photo.parent)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    programs = {"python": (sys.executable, "-c"), "bash": ("bash", "-ec")}
    settings = {"hub": hub, "home": photo.parent / "home", "token": None}
    printed = []
    for language, code in blocks:
        assert len([line for line in code.splitlines() if line.strip()]) <= 10
        if code.startswith("import keras"):  # which is slow to import
            result = call(partial(exec, code, {}), hub.environment(None, settings["home"]))
        else:
            result = run_client(*programs[language], code, cwd=photo.parent, **settings)
        assert result.returncode == 0, result.stderr
        printed.append(result.stdout.splitlines()[-1])
    detector = Detector(run / "export")
    (judgement,) = detector.judge(photo, load_face_finder())
    prediction = judgement.prediction
    assert printed[0] == f"{judgement.face.box} {prediction.verdict} {prediction.probability}"
    assert printed[1] == (
        f"photo.jpg: {prediction.verdict} (probability of fake {prediction.probability:.2f})"
    )
    whole = detector.predict(photo)
    assert printed[3] == f"{whole.verdict} {whole.probability}"
    detector.config = replace(detector.config, second_look=None)  # Keras looks once
    calibrated = detector.config.calibration.apply(float(printed[2]))
    assert calibrated == pytest.approx(detector.predict(photo).probability, abs=0.05)


def test_keras_loads_what_the_hub_suggests(pushed, tmp_path):
    import keras

    hub, run = pushed
    loaded = []
    call(
        lambda: loaded.append(keras.saving.load_model(f"hf://{MODEL}")),
        hub.environment(None, tmp_path),
    )
    expected = keras.saving.load_model(run / "deepfake_cnn.keras")
    for left, right in zip(loaded[0].get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    config = json.loads(hub.repositories["model", MODEL].files["config.json"])
    assert config["training_run"] == json.loads((run / "config.json").read_text())


def test_endpoint_loads_the_handler(pushed, photo, tmp_path):
    """Load it as Hugging Face's inference toolkit does: from a folder, under the toolkit's name."""
    hub, run = pushed
    folder = write_files(hub.repositories["model", MODEL], tmp_path / "repository")
    code = (
        "import sys, importlib.util as util; sys.path.insert(0, sys.argv[1])\n"
        "name, path = 'handler.EndpointHandler', sys.argv[1] + '/handler.py'\n"
        "spec = util.spec_from_file_location(name, path)\n"
        "module = util.module_from_spec(spec); sys.modules[spec.name] = module\n"
        "spec.loader.exec_module(module)\n"
        "handler = module.EndpointHandler(sys.argv[1])\n"
        "print(handler({'inputs': open(sys.argv[2], 'rb').read()})['probability'])"
    )
    command = (sys.executable, "-c", code, folder, photo)
    result = run_client(*command, hub=hub, home=tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == Detector(run / "export").predict(photo).probability


def test_detector_needs_no_tensorflow(pushed, space_python, photo):
    hub, run = pushed
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from detector import Detector\n"
        "detector = Detector.from_pretrained(sys.argv[2], revision='v1')\n"
        "print(detector.predict(sys.argv[3]).probability)"
    )
    command = (space_python, "-c", code, PROJECT / "space", MODEL, photo)
    result = run_client(*command, hub=hub, home=photo.parent / "home", token=None)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) == Detector(run / "export").predict(photo).probability


def test_photos_load_as_a_dataset(pushed, data, tmp_path):
    hub, _ = pushed
    code = (
        "import sys; from datasets import load_dataset\n"
        "print({split: len(rows) for split, rows in load_dataset(sys.argv[1]).items()})"
    )
    result = run_client(sys.executable, "-c", code, DATASET, hub=hub, home=tmp_path)
    assert result.returncode == 0, result.stderr
    counts = json.loads((data / "prepare_report.json").read_text())["counts"]
    expected = {split: sum(labels.values()) for split, labels in counts.items()}
    assert result.stdout.splitlines()[-1] == str(expected)


def test_page_for_the_browser_is_pushed_where_it_is_asked_for(monkeypatch, tmp_path, capsys):
    """The tests in `test_web.py` check what the page holds."""
    page = Upload("space", STATIC_SPACE, {"index.html": b""}, frozenset(), None, "static")
    calls = []
    for name, upload in (
        ("model_upload", Upload("model", MODEL, {}, frozenset(), None)),
        ("static_space_upload", page),
    ):
        monkeypatch.setattr(
            training.ship.push, name, lambda *given, a=upload: calls.append(given) or a
        )
    names = ["--model-id", MODEL, "--static-space-id", STATIC_SPACE]
    assert main(["push", str(tmp_path), *names, "--dry-run"]) == 0
    assert calls[0][-1] == STATIC_SPACE  # for the card
    assert calls[1] == (tmp_path, STATIC_SPACE, MODEL, None)
    assert f"space {STATIC_SPACE} (new ones" in capsys.readouterr().out


def test_space_gets_the_face_finder_of_the_export(tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    before = space_upload(tmp_path, SPACE, MODEL, None, None, None).files
    for name in (FINDER_FILE, FINDER_CONFIG_FILE):
        (export / name).write_text(name)
    after = space_upload(tmp_path, SPACE, MODEL, None, None, None).files
    added = {f"model/{name}": export / name for name in (FINDER_FILE, FINDER_CONFIG_FILE)}
    assert {path: after[path] for path in after.keys() - before.keys()} == added


def test_another_push_changes_nothing_or_takes_the_place_of_the_old_one(hub, trained):
    flags = ("--model-id", MODEL, "--space-id", SPACE)
    assert push(hub, trained, *flags).returncode == 0
    repositories = list(hub.repositories.values())
    before = [repository.head.sha for repository in repositories]
    hub.requests.clear()
    repeated = push(hub, trained, *flags)
    assert repeated.returncode == 0, repeated.stderr
    assert [repository.head.sha for repository in repositories] == before
    assert not [request for request in hub.requests if request.startswith("PUT ")]
    assert f"POST /api/spaces/{SPACE}/variables" not in hub.requests  # that would restart it
    assert push(hub, trained, "--model-id", MODEL, "--tag", "v1").returncode == 0
    before = [repository.head.sha for repository in repositories]
    (trained / "export/variants/dynamic-range.tflite").unlink()
    assert "has a tag v1 already" in sentence(push(hub, trained, *flags, "--tag", "v1"))
    assert [repository.head.sha for repository in repositories] == before
    assert push(hub, trained, "--model-id", MODEL, "--tag", "v2").returncode == 0
    repository = hub.repositories["model", MODEL]
    assert "variants/dynamic-range.tflite" not in repository.files
    assert "detector.tflite" in repository.files
    assert repository.tags["v2"] == repository.head.sha != repository.tags["v1"]


def test_private_push_goes_on_after_the_server_died(hub, trained):
    hub.stop_after_uploads = 2
    message = sentence(push(hub, trained, "--model-id", MODEL, "--private"))
    assert "run the same command again" in message
    assert len(hub.uploads) >= 2
    repository = hub.repositories["model", MODEL]
    assert len(repository.commits) == 1  # only the one that the Hub made
    hub.restart()
    result = push(hub, trained, "--model-id", MODEL, "--space-id", SPACE, "--private")
    assert result.returncode == 0, result.stderr
    assert len(repository.commits) == 2
    assert repository.files["detector.tflite"] == (trained / "export/detector.tflite").read_bytes()
    assert all(repository.private for repository in hub.repositories.values())
    assert "as the secret HF_TOKEN in the settings" in result.stderr  # the page needs a token


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        (MODEL, None, "set HF_TOKEN or run `hf auth login`"),
        (MODEL, "hf_wrong_secret", "401"),
        (MODEL, "hf_größe", "a character that tokens cannot have"),
        ("another/detector", OWNER, "403"),
    ],
)
def test_refused_push_is_one_sentence_and_leaves_nothing(hub, trained, name, token, message):
    assert message in sentence(push(hub, trained, "--model-id", name, token=token))
    assert hub.repositories == {}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model_id": "detector"}, "give NAMESPACE/NAME"),
        ({"model_id": "some one/detector"}, "not the name of a repository"),
        ({"model_id": ""}, "not the name of a repository"),
        ({"space_id": "a/b/c"}, "not the name of a repository"),
        ({"dataset_id": ""}, "not the name of a repository"),
        ({"tag": 'v"); import os #'}, "use letters, digits"),
        ({"tag": "main"}, "use letters, digits"),
        ({"tag": ""}, "use letters, digits"),
        ({"examples": Path()}, "--examples needs --space-id"),
        ({"public_dataset": True}, "needs --dataset-id"),
    ],
)
def test_flags_that_cannot_be_are_refused_first(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        training.ship.push.push(tmp_path, **{"model_id": MODEL, "data": tmp_path} | flags)


def test_repository_of_something_else_is_left_alone(hub, trained):
    hub.add_repository(MODEL, {"README.md": b"Mine", "model.safetensors": b"weights"})
    flags = ("--model-id", MODEL, "--space-id", SPACE)
    message = sentence(push(hub, trained, *flags))
    assert "holds something else (there is no detector.json)" in message
    assert list(hub.repositories) == [("model", MODEL)]
    del hub.repositories["model", MODEL]
    hub.add_repository(SPACE, {"app.py": b"", "detector.py": b"", "best.pt": b"mine"}, "space")
    assert "(there is no heatmap.py)" in sentence(push(hub, trained, *flags))
    assert list(hub.repositories) == [("space", SPACE)]


def test_photos_are_not_pushed_where_everybody_sees_them(hub, trained, data):
    hub.add_repository(DATASET, {"README.md": b""}, "dataset")
    flags = ("--model-id", MODEL, "--dataset-id", DATASET, "--data", data)
    assert "is public where private was asked for" in sentence(push(hub, trained, *flags))
    assert push(hub, trained, *flags, "--public-dataset").returncode == 0
    assert any(path.endswith(".jpg") for path in hub.repositories["dataset", DATASET].files)


def test_card_that_the_hub_refuses_stops_the_push(hub, trained, data, tmp_path):
    broken = Path(shutil.copytree(data, tmp_path / "data"))
    card = broken / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: mine"))
    flags = ("--model-id", MODEL, "--dataset-id", DATASET, "--data", broken)
    message = sentence(push(hub, trained, *flags))
    assert f'card of the dataset {DATASET} is not accepted: - Error: "license" must' in message
    assert hub.repositories == {}


def test_dry_run_needs_no_network_and_no_token(hub, trained, data):
    flags = ("--space-id", SPACE, "--dataset-id", DATASET, "--data", data, "--dry-run")
    result = push(hub, trained, "--model-id", MODEL, *flags, token=None, HF_HUB_OFFLINE="1")
    assert result.returncode == 0, result.stderr
    assert hub.requests == []
    uploads = [
        dataset_upload(trained, data, DATASET, private=True),
        model_upload(trained, MODEL, SPACE, DATASET, None, None),
        space_upload(trained, SPACE, MODEL, DATASET, None, None),
    ]
    lines = result.stdout.splitlines()
    assert len(lines) == len(uploads) + sum(len(upload.files) for upload in uploads)
    size = (trained / "export/detector.tflite").stat().st_size / 1e3
    assert f"  {size:10,.1f} kB  detector.tflite" in lines
    assert f"huggingface.co/spaces/{SPACE}" in (trained / "model_card.md").read_text()
    card = model_upload(trained, MODEL, None, None, None, None, STATIC_SPACE).files["README.md"]
    assert f"https://huggingface.co/spaces/{STATIC_SPACE}" in card.decode()


@pytest.mark.parametrize(
    "missing",
    ["deepfake_cnn.keras", "deepfake_cnn.h5", "curves.png", "export/detector.json", "config.json"],
)
def test_unfinished_run_is_named(trained, missing):
    (trained / missing).unlink()
    with pytest.raises(UserError, match=Path(missing).name):
        training.ship.push.push(trained, MODEL, data=trained)


def test_damaged_model_bad_examples_and_other_data_are_refused(trained, data, tmp_path):
    examples = tmp_path / "examples"
    examples.mkdir()
    flags = {"data": data, "space_id": SPACE, "examples": examples}
    with pytest.raises(UserError, match="holds no photos"):
        training.ship.push.push(trained, MODEL, **flags)
    (examples / "text.jpg").write_text("no photo")
    with pytest.raises(UserError, match=r"text\.jpg: The file is not a readable photo"):
        training.ship.push.push(trained, MODEL, **flags)
    changed = Path(shutil.copytree(data, tmp_path / "other"))
    report = json.loads((changed / "prepare_report.json").read_text())
    (changed / "prepare_report.json").write_text(json.dumps(report | {"fingerprint": "other"}))
    with pytest.raises(UserError, match="is not the data"):
        training.ship.push.push(trained, MODEL, data=changed, dataset_id=DATASET)
    (trained / "export/detector.tflite").write_bytes(b"damaged")
    with pytest.raises(UserError, match="sha256 differs"):
        training.ship.push.push(trained, MODEL, data=data)
