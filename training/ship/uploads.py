"""The uploads of a push: the files of a model, a page and a dataset."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import RepoCard

from space.contract import CONFIG_FILE, FINDER_CONFIG_FILE, FINDER_FILE, MODEL_FILE
from space.photos import PhotoError, open_photo
from training.config import CONFIG, SPLITS, read_config
from training.errors import UserError
from training.measure.scores import load_detector
from training.run import Run
from training.ship.card import render_card, render_eval_results

PROJECT = Path(__file__).parents[2]
SPACE = PROJECT / "space"
# The names in `training.fit.train`, whose import needs Keras.
NETWORKS = ("deepfake_cnn.keras", "deepfake_cnn.h5")
RUN_FILES = (*NETWORKS, "history.csv", "curves.png")
UNPACKED = ("metadata.json", "model.weights.h5")  # of a `.keras` file, beside `config.json`
CODE_FILES = (
    "appearance.py",
    "clip_notes.py",
    "clips.py",
    "contract.py",
    "credentials.py",
    "crops.py",
    "detector.py",
    "exif.py",
    "faces.py",
    "finder.py",
    "findings.py",
    "frames.py",
    "handler.py",
    "jpeg_hints.py",
    "judgements.py",
    "known_tools.py",
    "loading.py",
    "notes.py",
    "packets.py",
    "people.py",
    "photos.py",
    "preview.py",
    "provenance.py",
    "quality.py",
    "shell.py",
    "source_types.py",
    "video.py",
    "xmp.py",
    "yunet.py",
    "yunet_files.py",
    "yunet_networks.py",
)
DATA_FILES = ("README.md", "prepare_report.json", "source_pairs.csv")
# A subset of those that the page needs.
ENDPOINT_PACKAGES = ("ai-edge-litert", "c2pa-python", "defusedxml", "numpy", "pillow")
CARD = "model_card.md"
THUMBNAIL = "thumbnail.jpg"  # of the Space, shown in link previews
WEB = "web"  # folder in a run, for the page in the browser
EVAL_RESULTS = ".eval_results/test.yaml"
TEXTS = (".md", ".txt")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """The intended content of a repository.

    Attributes:
        kind: `"model"`, `"dataset"` or `"space"`.
        name: `NAMESPACE/NAME`.
        files: path in the repository -> a local file, or the content.
        markers: files that identify a repository that was pushed before.
        private: whether it must be private (`True`) or public (`False`). With `None` an existing
            repository keeps its visibility, and a new one gets the default of its namespace.
        sdk: what runs a Space, `"gradio"` or `"static"`.
    """

    kind: str
    name: str
    files: Mapping[str, Path | bytes] = field(repr=False)
    markers: frozenset[str]
    private: bool | None
    sdk: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def model_upload(
    run: Path,
    name: str,
    space_id: str | None,
    dataset_id: str | None,
    tag: str | None,
    private: bool | None,
    static_space_id: str | None = None,
) -> Upload:
    """Collect a run's networks, figures, code and card.

    Raises:
        UserError: the run is not finished, or not exported.
    """
    export = run / "export"
    for path in (run / NETWORKS[0], export / CONFIG_FILE):
        if not path.is_file():
            raise UserError(f"{path} is missing: train and export the run first.")
    load_detector(export)  # check that it is complete and of this format
    card = str(
        render_card(
            run,
            export,
            name,
            space_id=space_id,
            static_space_id=static_space_id,
            dataset_id=dataset_id,
            tag=tag,
        )
    )
    (run / CARD).write_text(card, encoding="utf-8")
    log.info("%s: written.", run / CARD)
    files: dict[str, Path | bytes] = {file: run / file for file in RUN_FILES}
    files |= _unpacked_network(run)
    files |= {file: SPACE / file for file in CODE_FILES}
    files |= {path.relative_to(export).as_posix(): path for path in _files(export)}
    files["README.md"] = card.encode()
    if dataset_id:  # the Hub files such results under the dataset
        files[EVAL_RESULTS] = render_eval_results(export, dataset_id).encode()
    files["requirements.txt"] = _requirements().encode()
    files["LICENSE"] = PROJECT / "LICENSE"
    return _complete(Upload("model", name, files, frozenset((CONFIG_FILE, MODEL_FILE)), private))


def space_upload(
    run: Path,
    name: str,
    model_id: str,
    dataset_id: str | None,
    examples: Path | None,
    private: bool | None,
) -> Upload:
    """Collect the Space, with the face finder of the run's export beside the bundled model.

    Raises:
        UserError: the examples are not a folder of photos.
    """
    files: dict[str, Path | bytes] = {
        path.relative_to(SPACE).as_posix(): path for path in _files(SPACE)
    }
    finder_files = (run / "export" / file for file in (FINDER_FILE, FINDER_CONFIG_FILE))
    files |= {f"model/{path.name}": path for path in finder_files if path.is_file()}
    card = RepoCard.load(SPACE / "README.md")
    card.data["models"] = [model_id]
    # The Hub expects a URL here, which depends on the Space's name.
    card.data["thumbnail"] = f"https://huggingface.co/spaces/{name}/resolve/main/{THUMBNAIL}"
    if dataset_id:
        card.data["datasets"] = [dataset_id]
    files["README.md"] = str(card).encode()
    if examples:
        files |= {f"examples/{path.name}": path for path in _example_photos(examples)}
    markers = frozenset(("app.py", "detector.py", "heatmap.py"))
    return _complete(Upload("space", name, files, markers, private, "gradio"))


def static_space_upload(run: Path, name: str, model_id: str, private: bool | None) -> Upload:
    """Build the browser page in the run's folder, and collect its files.

    Raises:
        UserError: npm or YuNet is unavailable.
    """
    from training.ship.web import FILE_LIST, web

    page = web(run / WEB, model=run / "export")
    files: dict[str, Path | bytes] = {
        path.relative_to(page).as_posix(): path for path in _files(page)
    }
    card = RepoCard.load(page / "README.md")
    card.data["models"] = [model_id]
    files["README.md"] = str(card).encode()
    markers = frozenset(("index.html", FILE_LIST))
    return _complete(Upload("space", name, files, markers, private, "static"))


def dataset_upload(run: Path, data: Path, name: str, *, private: bool) -> Upload:
    """Collect the photos that a run was trained on.

    Raises:
        UserError: the folder holds other photos.
    """
    Run.open(run).check_data(data)
    files: dict[str, Path | bytes] = {file: data / file for file in DATA_FILES}
    for split in SPLITS:
        files |= {path.relative_to(data).as_posix(): path for path in _files(data / split)}
    markers = frozenset(("prepare_report.json", "train/metadata.csv"))
    return _complete(Upload("dataset", name, files, markers, private))


def _complete(upload: Upload) -> Upload:
    """Return the upload; raise `UserError` if a local file is missing."""
    for path in upload.files.values():
        if isinstance(path, Path) and not path.is_file():
            raise UserError(f"{path} is missing: make the folder that it belongs to anew.")
    return upload


def _unpacked_network(run: Path) -> dict[str, bytes]:
    """Return the network's files as Keras loads them from `hf://NAMESPACE/NAME`.

    `config.json` holds the run's settings as well, which Keras ignores.
    """
    with zipfile.ZipFile(run / NETWORKS[0]) as network:
        files = {name: network.read(name) for name in UNPACKED}
        config = json.loads(network.read(CONFIG)) | {"training_run": read_config(run)}
    return files | {CONFIG: json.dumps(config, indent=1).encode()}


def _files(folder: Path) -> list[Path]:
    """List a folder's files, without internal files of Python, npm or this project."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != "mistakes.png"  # photos of the dataset
        and not any(
            part[0] in "._" or part == "node_modules" for part in path.relative_to(folder).parts
        )
    ]


def _requirements() -> str:
    """Return the packages that an endpoint must install, in the versions of the page."""
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if line.split(">=")[0] in ENDPOINT_PACKAGES)


def _example_photos(folder: Path) -> list[Path]:
    """List the photos of a folder, and the texts about their origin."""
    paths = [path for path in _files(folder) if path.parent == folder]
    photos = [path for path in paths if path.suffix.lower() not in TEXTS]
    if not photos:
        raise UserError(f"--examples {folder} holds no photos.")
    for path in photos:
        try:
            open_photo(path)
        except PhotoError as error:
            raise UserError(f"--examples: {path}: {error}") from error
    return paths
