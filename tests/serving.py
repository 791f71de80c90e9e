"""Start a page as a Space does: in its own process, with only the Space's packages."""

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
    """Make a virtual environment with the Space's requirements; return its interpreter.

    It links to packages that are installed here, so it needs no network.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    distributions = _required_distributions([line for line in lines if line and line[0] != "#"])
    for dist in distributions.values():
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
        log: file for its output.
        space: folder of the Space.
        environment: variables to set.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"GRADIO_SERVER_PORT": str(port), "PYTHONPATH": "", "PYTHONNOUSERSITE": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, space / "app.py"],
            env=os.environ | settings | environment,
            stdout=output,
            stderr=output,
        )
    try:
        for _ in range(3000):  # five minutes, for a busy machine
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
    """Return a page's answer about a photo.

    By default it judges the whole picture, as the finder finds no faces in drawings.
    """
    return client.predict(handle_file(photo), whole_picture, api_name="/judge_photo")


def shown_text(client: Client) -> str:
    """Return the text that a page shows when it opens."""
    values = [component["props"].get("value") for component in client.config["components"]]
    return "\n".join(value for value in values if isinstance(value, str))


def _required_distributions(requirements: list[str]) -> dict[str, Distribution]:
    """Return by name the distributions, installed here, that pip would install for requirements."""
    distributions: dict[str, Distribution] = {}
    pending = [(Requirement(line), "") for line in requirements]
    seen = set()
    while pending:
        requirement, extra = pending.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for new_extra in {"", *requirement.extras} - {e for n, e in seen if n == name}:
            seen.add((name, new_extra))
            distributions[name] = distribution(name)
            pending += [
                (Requirement(line), new_extra) for line in distributions[name].requires or []
            ]
    return distributions
