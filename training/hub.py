"""Push a run to the Hugging Face Hub: `python -m training push RUN --model-id NAMESPACE/NAME`.

The model repository gets the networks, their figures and the code that serves them; the Space gets
`space/` and serves the commit that was just pushed; the dataset repository gets the photos. Each is
one commit, after which the repository holds what was pushed and nothing else. A push that was cut
off is run again: files that arrived are not sent twice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    RepoCard,
    get_token,
)
from huggingface_hub import (
    logging as hub_logging,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from space.detector import CONFIG_FILE, MODEL_FILE
from space.faces import PhotoError, open_photo
from training.card import render_card
from training.config import CONFIG, SPLITS, read_config
from training.errors import UserError
from training.evaluate import load_detector

PROJECT = Path(__file__).parents[1]
SPACE = PROJECT / "space"
NETWORKS = ("deepfake_cnn.keras", "deepfake_cnn.h5")  # `training.fit` names them; it needs Keras
RUN_FILES = (*NETWORKS, CONFIG, "history.csv", "curves.png")
CODE_FILES = ("detector.py", "faces.py", "handler.py")
DATA_FILES = ("README.md", "prepare_report.json", "source_pairs.csv")
CARD = "model_card.md"
KEPT = {".gitattributes"}  # made by the Hub
TEXTS = (".md", ".txt")
STARTED = {"README.md", ".gitignore", "LICENSE"}  # what a new repository may have besides

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """What a repository is to hold.

    Attributes:
        kind: `"model"`, `"dataset"` or `"space"`.
        name: `NAMESPACE/NAME`.
        files: path in the repository -> a file here, or the content.
        marker: a file by which a repository that was pushed before is known.
        private: whether it must be private (`True`) or public (`False`); a repository that is
            there keeps what it is where this is `None`.
    """

    kind: str
    name: str
    files: Mapping[str, Path | bytes] = field(repr=False)
    marker: str
    private: bool | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def push(
    run: Path,
    model_id: str,
    *,
    data: Path,
    space_id: str | None = None,
    dataset_id: str | None = None,
    private: bool = False,
    public_dataset: bool = False,
    tag: str | None = None,
    examples: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Push a run, and where they are named its Space and its photos.

    The token comes from `HF_TOKEN` or `hf auth login`. The card is written into the run's folder as
    well.

    Args:
        run: folder of a finished run that was exported.
        model_id: the model's repository.
        data: the prepared folder that the run was trained on; needed with `dataset_id` alone.
        space_id: the Space's repository.
        dataset_id: the photos' repository.
        private: whether new repositories are private.
        public_dataset: whether the photos' repository is public.
        tag: name for the model's commit.
        examples: folder of photos that the Space offers to try.
        dry_run: print what would be pushed, without network.

    Raises:
        UserError: something is missing, or the Hub refuses it.
    """
    for name in filter(None, (model_id, space_id, dataset_id)):
        _check_name(name)
    visibility = True if private else None
    uploads = [model_upload(run, model_id, space_id, dataset_id, tag, visibility)]
    if dataset_id:
        uploads.insert(0, dataset_upload(run, data, dataset_id, private=not public_dataset))
    if space_id:
        uploads.append(space_upload(space_id, model_id, dataset_id, examples, visibility))
    if dry_run:
        for upload in uploads:
            _print_files(upload)
        return
    hub_logging.set_verbosity_error()  # its warnings hold signed addresses
    with _errors_in_words():
        _push(_connect(), uploads, tag)


def model_upload(
    run: Path,
    name: str,
    space_id: str | None,
    dataset_id: str | None,
    tag: str | None,
    private: bool | None,
) -> Upload:
    """Collect a run's networks, figures, code and card.

    Raises:
        UserError: the run is not finished, or not exported.
    """
    read_config(run)
    export = run / "export"
    missing = [path for path in (run / NETWORKS[0], export / CONFIG_FILE) if not path.is_file()]
    if missing:
        raise UserError(f"{missing[0]} is missing: train and export the run first.")
    load_detector(export)  # whole, and of this format
    card = str(render_card(run, export, name, space_id=space_id, dataset_id=dataset_id, tag=tag))
    (run / CARD).write_text(card, encoding="utf-8")
    log.info("%s: written.", run / CARD)
    files: dict[str, Path | bytes] = {file: run / file for file in RUN_FILES}
    files |= {file: SPACE / file for file in CODE_FILES}
    files |= {path.relative_to(export).as_posix(): path for path in _files(export)}
    files["README.md"] = card.encode()
    files["requirements.txt"] = _requirements().encode()
    files["LICENSE"] = PROJECT / "LICENSE"
    return Upload("model", name, files, MODEL_FILE, private)


def space_upload(
    name: str, model_id: str, dataset_id: str | None, examples: Path | None, private: bool | None
) -> Upload:
    """Collect the Space.

    Raises:
        UserError: the examples are no folder of photos.
    """
    files: dict[str, Path | bytes] = {
        path.relative_to(SPACE).as_posix(): path for path in _files(SPACE)
    }
    card = RepoCard.load(SPACE / "README.md")
    card.data["models"] = [model_id]
    if dataset_id:
        card.data["datasets"] = [dataset_id]
    files["README.md"] = str(card).encode()
    if examples:
        files |= {f"examples/{path.name}": path for path in _example_photos(examples)}
    return Upload("space", name, files, "detector.py", private)


def dataset_upload(run: Path, data: Path, name: str, *, private: bool) -> Upload:
    """Collect the photos that a run was trained on.

    Raises:
        UserError: the folder holds other photos.
    """
    from training.dataset import read_report

    if read_report(data)["fingerprint"] != read_config(run)["data"]["fingerprint"]:
        raise UserError(f"{data} is not the data that {run} was trained on: give its --data.")
    files: dict[str, Path | bytes] = {file: data / file for file in DATA_FILES}
    for split in SPLITS:
        files |= {path.relative_to(data).as_posix(): path for path in _files(data / split)}
    return Upload("dataset", name, files, "prepare_report.json", private)


def _files(folder: Path) -> list[Path]:
    """List a folder's files, without what Python or this project leave there for themselves."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != "mistakes.png"  # photos of the dataset
        and not any(part[0] in "._" for part in path.relative_to(folder).parts)
    ]


def _requirements() -> str:
    """Return what an endpoint needs: all that the page needs, without the page's own library."""
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    return "".join(f"{line}\n" for line in lines if line and not line.startswith(("#", "gradio")))


def _example_photos(folder: Path) -> list[Path]:
    """List the photos of a folder, and the texts that say where they are from."""
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


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{name} is no name of a repository: {error}") from error
    if "/" not in name:
        raise UserError(f"{name} is no name of a repository: give NAMESPACE/NAME.")


def _print_files(upload: Upload) -> None:
    sizes = {
        path: len(content) if isinstance(content, bytes) else content.stat().st_size
        for path, content in sorted(upload.files.items())
    }
    visibility = {True: "private", False: "public", None: "public where it is new"}
    print(
        f"{upload} ({visibility[upload.private]}): {len(sizes)} files, "
        f"{sum(sizes.values()) / 1e6:.1f} MB"
    )
    for path, size in sizes.items():
        print(f"  {size / 1e3:10,.1f} kB  {path}")


def _connect() -> HfApi:
    if get_token() is None:
        raise UserError("There is no token of the Hub: set HF_TOKEN or run `hf auth login`.")
    hub = HfApi()
    log.info("Pushing as %s.", hub.whoami()["name"])
    return hub


def _push(hub: HfApi, uploads: list[Upload], tag: str | None) -> None:
    model = next(upload for upload in uploads if upload.kind == "model")
    for upload in uploads:  # before anything is written
        _check_card(upload)
        _check_repository(hub, upload)
    if tag:
        _check_tag(hub, model.name, tag)
    commits = {}
    for upload in uploads:
        variables = {"MODEL_ID": model.name, "MODEL_REVISION": commits.get("model", "")}
        commits[upload.kind] = _push_one(hub, upload, variables)
        if upload is model and tag:
            hub.create_tag(model.name, tag=tag, revision=commits["model"], exist_ok=True)
            _check_tag(hub, model.name, tag)


def _push_one(hub: HfApi, upload: Upload, variables: Mapping[str, str]) -> str:
    """Bring a repository to what it is to hold; return its commit."""
    hub.create_repo(
        upload.name,
        repo_type=upload.kind,
        private=upload.private,
        exist_ok=True,
        space_sdk="gradio" if upload.kind == "space" else None,
    )
    if upload.kind == "space":  # before the commit, so that it is built once
        for key, value in variables.items():
            hub.add_space_variable(upload.name, key, value)
    present = set(hub.list_repo_files(upload.name, repo_type=upload.kind))
    operations = [CommitOperationAdd(path, content) for path, content in upload.files.items()]
    operations += [
        CommitOperationDelete(path, is_folder=False)
        for path in sorted(present - upload.files.keys() - KEPT)
    ]
    log.info("%s: sending %d files.", upload, len(upload.files))
    commit = hub.create_commit(
        upload.name, operations, commit_message="Push with training", repo_type=upload.kind
    )
    log.info("%s: commit %s.", upload, commit.oid)
    return commit.oid


def _check_card(upload: Upload) -> None:
    content = upload.files["README.md"]
    text = content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")
    try:
        RepoCard(text).validate(repo_type=upload.kind)
    except ValueError as error:  # its text is the Hub's answer
        problems = "; ".join(one["message"] for one in json.loads(str(error))["errors"])
        raise UserError(f"The Hub does not accept the card of {upload}: {problems}.") from error


def _check_repository(hub: HfApi, upload: Upload) -> None:
    """Refuse a repository that holds something else, or is public where it must not be."""
    try:
        info = hub.repo_info(upload.name, repo_type=upload.kind)
    except RepositoryNotFoundError:
        return  # it will be created
    if upload.private is not None and info.private != upload.private:
        is_, wanted = ("private", "public") if info.private else ("public", "private")
        raise UserError(
            f"The {upload} is {is_} where {wanted} was asked for: change that in its settings, or "
            "name another."
        )
    files = {file.rfilename for file in info.siblings}
    if upload.marker not in files and files - KEPT - STARTED:
        raise UserError(
            f"The {upload} holds something else (there is no {upload.marker}): name another."
        )


def _check_tag(hub: HfApi, model_id: str, tag: str) -> None:
    """Refuse a tag of an earlier commit; one of the last is what an interrupted push left."""
    try:
        tags = {ref.name: ref.target_commit for ref in hub.list_repo_refs(model_id).tags}
    except RepositoryNotFoundError:
        return
    if tags.get(tag) not in (None, hub.repo_info(model_id).sha):
        raise UserError(f"{model_id} has a tag {tag} of an earlier commit: give another --tag.")


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Turn the errors of the Hub and of the network into one sentence.

    Their own texts are left out: they hold signed addresses.
    """
    again = "run the same command again, files that arrived are not sent twice"
    remedies = {
        401: "the token is not valid: make one that may write under "
        "https://huggingface.co/settings/tokens",
        403: "the token may not write there: check the namespace and what the token may do",
        404: "there is no such repository, or the token may not see it",
    }
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        said = f" ({error.server_message})" if error.server_message else ""
        raise UserError(
            f"The Hub answered {status}{said}: {remedies.get(status, again)}."
        ) from error
    except (OSError, httpx2.HTTPError, RuntimeError) as error:  # the last of an upload cut off
        kind = type(error.__cause__ or error).__name__
        raise UserError(f"The Hub cannot be reached ({kind}): {again}.") from error
