"""The real client against the server that stands for the Hub in other tests."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.drawing import draw_face
from tests.hub_server import PAGE, SIGNATURE, Hub, check_card, serve_hub, short_waits

CARD = "---\nlicense: gpl-3.0\ntags:\n- faces\n---\n# A model\n"
PRELUDE = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download

api = HfApi()
folder = Path(sys.argv[1])
found = {}

def attempt(name, function, *arguments, **options):
    try:
        found[name] = function(*arguments, **options)
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        found[name] = [type(error).__name__, status, str(error)]
    return found[name]
"""
PUSH = """
api.create_repo("someone/detector", exist_ok=True)
commit = attempt("commit", api.upload_folder, repo_id="someone/detector", folder_path=folder)
found["commit"] = getattr(commit, "oid", commit)
"""


class Client(NamedTuple):
    """What a client found out, and all that it printed."""

    found: dict
    output: str


@pytest.fixture
def hub():
    hub = Hub(
        {"hf_owner": "someone", "hf_reader": "someone", "hf_other": "stranger"},
        organizations={"lab": ["someone"]},
        read_tokens=["hf_reader"],
    )
    with serve_hub(hub):
        yield hub
    assert hub.errors == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files for LFS, two others; a subfolder and a space in a name."""
    folder = tmp_path / "model"
    (folder / "figures/a b").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "config.json").write_text('{"size": 64}\n', encoding="utf-8")
    (folder / "model.keras").write_bytes(bytes(range(256)) * 400)
    (folder / "figures/a b/face.png").write_bytes(b"not quite a photo")
    (folder / "figures/model.tflite").write_bytes(b"not quite a network")
    return folder


@pytest.fixture
def ask(hub: Hub, folder: Path, tmp_path: Path):
    """Return a function that lets a client run lines of a script in a process of its own."""

    def ask(script: str, token: str | None = "hf_owner", **variables: str) -> Client:
        script = f"{PRELUDE}{script}\nprint(json.dumps(found))"
        process = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            env=os.environ | hub.environment(token, tmp_path / "home") | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return Client(json.loads(process.stdout), process.stdout + process.stderr)

    return ask


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def request(url: str, body: bytes, method: str = "PUT", **headers: str) -> int:
    try:
        wanted = urllib.request.Request(url, body, headers, method=method)
        with urllib.request.urlopen(wanted) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_folder_comes_back_as_it_was_pushed(hub, folder, ask):
    client = ask(
        PUSH
        + """
attempt("tag", api.create_tag, "someone/detector", tag="v1", tag_message="first")
attempt("sha", lambda: api.model_info("someone/detector").sha)
attempt("card", lambda: api.model_info("someone/detector").card_data.license)
attempt("tags", lambda: [t.target_commit for t in api.list_repo_refs("someone/detector").tags])
attempt("snapshot", snapshot_download, "someone/detector", revision="v1")
again = attempt("again", api.upload_folder, repo_id="someone/detector", folder_path=folder)
found["again"] = again.oid
(folder / "figures/a b/face.png").unlink()
pruned = attempt(
    "pruned", api.upload_folder, repo_id="someone/detector", folder_path=folder, delete_patterns="*"
)
found["pruned"] = pruned.oid
attempt("files", api.list_repo_files, "someone/detector")
"""
    )
    found = client.found
    repository = hub.repositories["model", "someone/detector"]
    initial, pushed, pruned = repository.commits
    assert found["commit"] == found["sha"] == found["again"] == pushed.sha
    assert found["pruned"] == pruned.sha
    assert found["tags"] == [pushed.sha] == list(repository.tags.values())
    assert found["card"] == "gpl-3.0"
    assert Path(found["snapshot"]).name == pushed.sha
    assert contents(Path(found["snapshot"])) == pushed.files
    assert pushed.files == initial.files | contents(folder) | {
        "figures/a b/face.png": b"not quite a photo"
    }
    assert pruned.files == initial.files | contents(folder)
    assert sorted(found["files"]) == sorted(pruned.files)
    assert len(hub.uploads) == 3
    assert SIGNATURE not in client.output


@pytest.mark.parametrize("trouble", ["stop_after_uploads", "expire_after_uploads"])
def test_push_that_broke_between_two_files_is_finished_by_another(
    hub, folder, ask, tmp_path, trouble
):
    setattr(hub, trouble, 1)
    broken = ask(PUSH, **short_waits(tmp_path / "waits"))
    repository = hub.repositories["model", "someone/detector"]
    error, _, message = broken.found["commit"]
    assert error == "RuntimeError"
    assert message.startswith("Error while uploading ")
    assert SIGNATURE not in message
    assert hub.running is (trouble == "expire_after_uploads")
    assert len(hub.uploads) == len(repository.commits) == 1
    if trouble == "stop_after_uploads":
        assert SIGNATURE in broken.output  # the client warns of each attempt with the whole link

    endpoint = hub.endpoint
    hub.restart()
    assert hub.endpoint == endpoint
    whole = ask(PUSH)
    assert whole.found["commit"] == repository.head.sha
    assert len(repository.commits) == 2
    assert repository.files == repository.commits[0].files | contents(folder)
    assert len(hub.uploads) == len(set(hub.uploads)) == 3
    assert SIGNATURE not in whole.output


def test_tokens_decide_who_may_do_what(hub, ask):
    hub.add_repository("stranger/open", {"a.txt": b"a"})
    hub.add_repository("stranger/secret", {"a.txt": b"a"}, private=True)
    attempts = """
attempt("whoami", lambda: api.whoami()["name"])
attempt("read", hf_hub_download, "stranger/open", "a.txt")
attempt("private", lambda: api.model_info("stranger/secret").id)
attempt("private file", hf_hub_download, "stranger/secret", "a.txt")
attempt("create", api.create_repo, "someone/new")
attempt("create foreign", api.create_repo, "stranger/new", exist_ok=True)
attempt("organization", api.create_repo, "lab/new")
attempt("write foreign", api.upload_folder, repo_id="stranger/open", folder_path=folder)
attempt("tag foreign", api.create_tag, "stranger/open", tag="v1")
"""
    unknown, nobody, reader, owner, other = (
        {
            name: (answer[:2] if isinstance(answer, list) else "granted")
            for name, answer in ask(attempts, token).found.items()
        }
        for token in ("hf_wrong", None, "hf_reader", "hf_owner", "hf_other")
    )
    assert set(map(str, unknown.values())) == {"['HfHubHTTPError', 401]"}
    refused, missing = ["HfHubHTTPError", 403], ["RepositoryNotFoundError", 404]
    assert nobody == {
        "whoami": ["LocalTokenNotFoundError", None],
        "read": "granted",
        "private": ["RepositoryNotFoundError", 401],
        "private file": ["RepositoryNotFoundError", 401],
        "create": ["HfHubHTTPError", 401],
        "create foreign": ["HfHubHTTPError", 401],
        "organization": ["HfHubHTTPError", 401],
        "write foreign": ["HfHubHTTPError", 401],
        "tag foreign": ["HfHubHTTPError", 401],
    }
    assert owner == {
        "whoami": "granted",
        "read": "granted",
        "private": missing,
        "private file": missing,
        "create": "granted",
        "create foreign": refused,
        "organization": "granted",
        "write foreign": refused,
        "tag foreign": refused,
    }
    assert reader == owner | {"create": refused, "organization": refused}
    assert other["private"] == other["write foreign"] == other["create foreign"] == "granted"
    assert other["create"] == other["organization"] == refused


def test_refusals_are_those_of_the_hub(hub, ask):
    hub.add_repository("someone/detector", {"a.txt": b"a", "weights.h5": b"weights"})
    hub.corrupt["weights.h5"] = b"other weights"
    hub.failures["GET /api/models/someone/detector/refs"] = 500
    found = ask(
        """
name = "someone/detector"
attempt("create", api.create_repo, name)
attempt("exists", api.create_repo, name, exist_ok=True)
attempt("tag", api.create_tag, name, tag="v1")
attempt("tag twice", api.create_tag, name, tag="v1")
attempt("tag nothing", api.create_tag, name, tag="v2", revision="missing")
attempt("revision", hf_hub_download, name, "a.txt", revision="missing")
attempt("snapshot", snapshot_download, name, revision="missing")
attempt("file", hf_hub_download, name, "missing.txt")
attempt("deletion", api.delete_file, "missing.txt", name)
attempt("parent", api.upload_file, repo_id=name, path_in_repo="b", path_or_fileobj=b"b",
        parent_commit="0" * 40)
attempt("commits", lambda: [commit.title for commit in api.list_repo_commits(name)])
attempt("failure", api.list_repo_refs, name)
attempt("corrupt", lambda: Path(hf_hub_download(name, "weights.h5")).read_text())
"""
    ).found
    message = found["create"][2]
    assert found.pop("commits") == ["initial commit"]
    assert {name: error[:2] for name, error in found.items() if isinstance(error, list)} == {
        "create": ["HfHubHTTPError", 409],
        "tag twice": ["HfHubHTTPError", 409],
        "tag nothing": ["RevisionNotFoundError", 404],
        "revision": ["RevisionNotFoundError", 404],
        "snapshot": ["RevisionNotFoundError", 404],
        "file": ["RemoteEntryNotFoundError", 404],
        "deletion": ["RemoteEntryNotFoundError", 404],
        "parent": ["HfHubHTTPError", 412],
        "failure": ["HfHubHTTPError", 500],
    }
    assert "You already created this model repo" in message
    assert found["exists"] == f"{hub.endpoint}/someone/detector"
    assert found["corrupt"] == "other weights"
    assert len(hub.repositories["model", "someone/detector"].commits) == 1


def test_upload_links_take_what_they_were_signed_for(hub):
    hub.add_repository("someone/detector", {})
    oid = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of b"hello"
    link = f"{hub.endpoint}/storage/models/someone/detector/{oid}"
    assert request(f"{link}?X-Amz-Signature=guess", b"hello") == 403
    assert request(f"{link}?X-Amz-Signature={SIGNATURE}", b"other") == 400
    assert hub.repositories["model", "someone/detector"].objects == {}
    assert request(f"{link}?X-Amz-Signature={SIGNATURE}", b"hello") == 200
    assert hub.repositories["model", "someone/detector"].objects == {oid: b"hello"}
    assert hub.requests == [f"PUT /storage/models/someone/detector/{oid}"] * 3


@pytest.mark.parametrize("name", ["two--dashes", "two..dots", ".hidden", "is.git", "a b", ""])
def test_names_of_repositories_are_checked(hub, name):
    body = json.dumps({"name": name, "type": "model"}).encode()
    url = f"{hub.endpoint}/api/repos/create"
    assert request(url, body, "POST", Authorization="Bearer hf_owner") == 400
    assert hub.repositories == {}


def test_space_with_a_variable(hub, ask):
    found = ask(
        """
api.create_repo("someone/demo", repo_type="space", space_sdk="gradio",
                space_variables=[{"key": "THEME", "value": "dark"}])
attempt("sdk", lambda: api.space_info("someone/demo").sdk)
api.add_space_variable("someone/demo", "MODEL_ID", "someone/detector", description="the model")
attempt("variables", lambda: {
    key: variable.value for key, variable in api.get_space_variables("someone/demo").items()
})
attempt("missing", api.add_space_variable, "someone/nothing", "MODEL_ID", "x")
"""
    ).found
    repository = hub.repositories["space", "someone/demo"]
    assert repository.sdk == found["sdk"] == "gradio"
    expected = {"THEME": "dark", "MODEL_ID": "someone/detector"}
    assert repository.variables == found["variables"] == expected
    assert found["missing"][:2] == ["RepositoryNotFoundError", 404]


def test_client_validates_cards_before_it_pushes_them(hub, folder, ask):
    found = ask(
        """
api.create_repo("someone/detector")
attempt("valid", ModelCard.load(folder / "README.md").validate)
attempt("invalid", ModelCard("---\\nlicense: gpl3\\n---\\n").validate)
(folder / "README.md").write_text("---\\nlicense: gpl3\\n---\\n")
attempt("push", api.upload_folder, repo_id="someone/detector", folder_path=folder)
"""
    ).found
    assert found["valid"] is None
    assert found["invalid"][0] == found["push"][0] == "ValueError"
    assert found["invalid"][2].startswith('- Error: "license" must be one of [')
    assert '"license" must be one of [' in found["push"][2]
    assert "POST /api/models/someone/detector/preupload/main" not in hub.requests


RESULTS = """---
model-index:
- name: detector
  results:
  - task: {type: image-classification}
    dataset: {type: someone/faces, name: Faces}
    metrics:
    - {type: accuracy, value: 0.5}
---
"""


@pytest.mark.parametrize(
    ("card", "kind", "problem"),
    [
        (CARD, "model", None),
        ("no front matter", "model", None),
        (RESULTS, "model", None),
        (RESULTS.replace("0.5", "'0.5'"), "model", '"model-index[0].results[0].metrics[0].value"'),
        (RESULTS.replace("0.5", ".nan"), "model", '"model-index[0].results[0].metrics[0].value"'),
        (RESULTS.replace(", name: Faces", ""), "model", '"model-index[0].results[0].dataset.name"'),
        (RESULTS.replace("type: image-", "kind: image-"), "model", "results[0].task.type"),
        ("---\nlicense: [mit\n---\n", "model", "Invalid YAML"),
        ("---\njust words\n---\n", "model", "just words"),
        ("---\nlicense: GPL\n---\n", "model", '"license" must be one of'),
        ("---\npipeline_tag: guessing\n---\n", "model", '"pipeline_tag" must be one of'),
        ("---\nlibrary_name: 3\n---\n", "model", '"library_name" must be a string'),
        ("---\ndatasets: [faces]\n---\n", "model", '"datasets" must be a list of dataset ids'),
        ("---\ntags: faces\n---\n", "model", '"tags" must be a list of strings'),
        ("---\nsize_categories: [1K<n<10K]\n---\n", "dataset", None),
        ("---\nsize_categories: [many]\n---\n", "dataset", '"size_categories"'),
        ("---\nsdk: gradio\ncolorFrom: gray\n---\n", "space", None),
        ("---\ntitle: Demo\n---\n", "space", '"sdk" is required'),
        ("---\nsdk: gradio\ncolorFrom: orange\n---\n", "space", '"colorFrom" must be one of'),
    ],
)
def test_cards_are_checked(card, kind, problem):
    problems = check_card(card, kind)
    assert len(problems) == (0 if problem is None else 1)
    assert problem is None or problem in problems[0]


def test_client_with_xet_pushes_where_lfs_is_off(hub, folder, ask):
    refused = ask(PUSH, HF_HUB_DISABLE_XET="0").found["commit"]
    repository = hub.repositories["model", "someone/detector"]
    assert refused[0] == "ConnectionError"
    assert "GET /api/models/someone/detector/xet-write-token/main" in hub.requests
    assert len(repository.commits) == 1

    hub.lfs = False
    assert ask(PUSH, HF_HUB_DISABLE_XET="0").found["commit"] == repository.head.sha
    assert repository.files == repository.commits[0].files | contents(folder)
    assert hub.uploads == []


def test_dataset_of_many_files_is_listed_and_loaded(hub, ask, tmp_path):
    draw_face(1, 32).save(tmp_path / "face.png")
    photo = (tmp_path / "face.png").read_bytes()
    files = {f"{split}/real/{n}.png": photo for split in ("train", "test") for n in range(2)}
    hub.add_repository("someone/faces", files, "dataset", private=True)
    many = {f"{number:04d}.txt": b"" for number in range(PAGE + 1)}
    hub.add_repository("someone/many", many, "dataset")
    found = ask(
        """
attempt("many", lambda: len(set(api.list_repo_files("someone/many", repo_type="dataset"))))
from datasets import load_dataset
faces = load_dataset("someone/faces")
found["rows"] = {split: len(rows) for split, rows in faces.items()}
found["size"] = faces["test"][0]["image"].size
"""
    ).found
    assert found == {"many": PAGE + 1, "rows": {"train": 2, "test": 2}, "size": [32, 32]}


def test_shell_of_the_client_downloads(hub, tmp_path):
    hub.add_repository("someone/detector", {"a.txt": b"a", "figures/b.png": b"b"})
    program = Path(sys.executable).with_name("hf")
    arguments = ["download", "someone/detector", "--local-dir", str(tmp_path / "here")]
    environment = os.environ | hub.environment(None, tmp_path / "home")
    subprocess.run([program, *arguments], env=environment, check=True, capture_output=True)
    assert (tmp_path / "here/a.txt").read_bytes() == b"a"
    assert (tmp_path / "here/figures/b.png").read_bytes() == b"b"
