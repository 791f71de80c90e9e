"""The server that stands in for the Hub in other tests, with the real client."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub_server import SIGNATURE, Hub, check_card, read_folder, serve_hub

pytestmark = pytest.mark.slow

CARD = "---\nlicense: gpl-3.0\n---\n# A model\n"
SCRIPT = """
import json, sys
from huggingface_hub import HfApi, snapshot_download
api, folder, name = HfApi(), sys.argv[1], "someone/detector"
api.create_repo(name)
commits = [api.upload_folder(repo_id=name, folder_path=folder).oid for _ in range(2)]
api.create_tag(name, tag="v1")
copy = snapshot_download(name, revision="v1")
pruned = api.upload_folder(
    repo_id=name, folder_path=folder, ignore_patterns="*.png", delete_patterns="*"
)
print(json.dumps([*commits, pruned.oid, copy]))
"""


def test_folder_comes_back_as_it_was_pushed(tmp_path: Path):
    folder = tmp_path / "model"
    (folder / "figures/a b").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "model.keras").write_bytes(bytes(range(256)) * 400)
    (folder / "figures/a b/face.png").write_bytes(b"not quite a photo")
    with serve_hub(Hub({"hf_owner": "someone"})) as hub:
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=os.environ | hub.environment("hf_owner", tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
    assert process.returncode == 0, process.stderr
    assert hub.errors == []
    first, second, pruned, copy = json.loads(process.stdout)
    repository = hub.repositories["model", "someone/detector"]
    initial, pushed, last = repository.commits
    assert first == second == pushed.sha  # the second push had nothing to send
    assert last.sha == pruned
    assert read_folder(Path(copy)) == pushed.files == initial.files | read_folder(folder)
    assert last.files.keys() == pushed.files.keys() - {"figures/a b/face.png"}
    assert repository.tags == {"v1": pushed.sha}
    assert len(hub.uploads) == 2
    assert SIGNATURE not in process.stdout + process.stderr


INDEX = "---\nmodel-index:\n- results:\n  - metrics:\n    - {type: accuracy, value: %s}\n---\n"


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        (CARD, None),
        ("no front matter", None),
        (INDEX % "0.5", None),
        (INDEX % "'0.5'", 'the value of "accuracy" must be a number'),
        (INDEX % ".nan", 'the value of "accuracy" must be a number'),
        ("---\nlicense: GPL\n---\n", '"license" must be one of'),
        ("---\nlicense: [mit\n---\n", "Invalid YAML"),
        ("---\njust words\n---\n", "must be a mapping"),
    ],
)
def test_cards_are_checked(card: str, problem: str | None):
    problems = check_card(card)
    assert len(problems) == (0 if problem is None else 1)
    assert problem is None or problem in problems[0]
