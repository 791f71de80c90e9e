"""What it takes to start a page as a Space does: an environment with its packages only, and a
process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path

from gradio_client import Client, handle_file
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SPACE = Path(__file__).parents[1] / "space"


def make_environment(folder: Path) -> Path:
    """Make a virtual environment with what `space/requirements.txt` names out of what is installed
    here, without network; return its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    wanted = _required_distributions([line for line in lines if line and line[0] != "#"])
    for dist in wanted.values():
        root = Path(dist.locate_file(""))
        for top in {file.parts[0] for file in dist.files or [] if file.parts[0] != ".."}:
            if not (packages / top).exists() and (root / top).exists():
                (packages / top).symlink_to(root / top)
    return folder / "bin" / "python"


@contextmanager
def serve_page(
    python: Path, log: Path, *, space: Path = SPACE, **environment: str
) -> Iterator[Client]:
    """Start a Space's page and yield a client of it.

    Args:
        python: interpreter to start it with.
        log: file for what it prints.
        space: folder of the Space.
        environment: variables to set.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, space / "app.py"],
            env=os.environ | settings | environment,
            stdout=output,
            stderr=output,
        )
    try:
        for _ in range(3000):  # five minutes, for a machine that does other things
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield Client(f"http://127.0.0.1:{port}", verbose=False)
    finally:
        process.terminate()
        process.wait()


def ask_page(client: Client, photo: Path, *, whole_picture: bool = True) -> dict:
    """Return what a page's endpoint answers about a photo; drawn faces are no faces to a finder, so
    the whole picture is judged unless it is told otherwise."""
    return client.predict(handle_file(photo), whole_picture, api_name="/judge_photo")


def shown_text(client: Client) -> str:
    """Return the text that a page shows when it is opened."""
    values = [component["props"].get("value") for component in client.config["components"]]
    return "\n".join(value for value in values if isinstance(value, str))


def _required_distributions(requirements: list[str]) -> dict[str, Distribution]:
    """Return what pip would install for some requirements, out of what is installed here."""
    found: dict[str, Distribution] = {}
    todo = [(Requirement(line), "") for line in requirements]
    seen = set()
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras} - {e for n, e in seen if n == name}:
            seen.add((name, wanted))
            found[name] = distribution(name)
            todo += [(Requirement(line), wanted) for line in found[name].requires or []]
    return found
