"""Push a run to the Hugging Face Hub: `python -m training push RUN --model-id NAMESPACE/NAME`.

The model repository gets the networks, their figures and the code that serves them; the Space gets
`space/` and serves the commit that was just pushed; the dataset repository gets the photos. Each is
one commit, after which the repository holds what was pushed and nothing else. To resume a push that
was interrupted, run it again: files that arrived are not sent twice.
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import yaml
from huggingface_hub import HfApi, RepoCard, get_token
from huggingface_hub import (
    logging as hub_logging,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from training.errors import UserError
from training.ship.face_finder import add_face_finder
from training.ship.uploads import (
    Upload,
    dataset_upload,
    model_upload,
    space_upload,
    static_space_upload,
)

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
KEPT = {".gitattributes"}  # made by the Hub
STARTED = {"README.md", ".gitignore", "LICENSE"}  # what a new repository may have besides
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Repositories:
    """The repositories of a push, each as `NAMESPACE/NAME`; `None` for what is not pushed."""

    model: str
    space: str | None
    static_space: str | None
    dataset: str | None


def push(
    run: Path,
    model_id: str,
    *,
    data: Path,
    space_id: str | None = None,
    static_space_id: str | None = None,
    dataset_id: str | None = None,
    private: bool = False,
    public_dataset: bool = False,
    tag: str | None = None,
    examples: Path | None = None,
    dry_run: bool = False,
) -> None:
    """Push a run, and its Spaces and photos if their repositories are given.

    The token comes from `HF_TOKEN` or `hf auth login`. The card is written into the run's folder as
    well.

    Args:
        run: folder of a finished run that was exported.
        model_id: the model's repository.
        data: the prepared folder that the run was trained on; needed only with `dataset_id`.
        space_id: the Space's repository.
        static_space_id: the repository of a Space that judges in the visitor's browser; its page is
            built in the run's folder, which needs npm.
        dataset_id: the photos' repository.
        private: whether new repositories are private.
        public_dataset: whether the photos' repository is public.
        tag: name for the model's commit.
        examples: folder of photos that the Space offers as examples.
        dry_run: print what would be pushed, without asking the Hub.

    Raises:
        UserError: something is missing, or the Hub refuses it.
    """
    to = Repositories(model_id, space_id, static_space_id, dataset_id)
    _check_flags(to, tag, public_dataset, examples)
    if (run / "export").is_dir() and not dry_run:
        add_face_finder(run / "export")  # if the export was made without YuNet's file
    uploads = _collect(run, data, to, tag, examples, private=private, public_dataset=public_dataset)
    if dry_run:
        _print_files(uploads)
        return
    hub_logging.set_verbosity_error()  # its warnings contain signed URLs
    with _errors_in_words():
        _push(_connect(), uploads, tag)


def _check_flags(
    to: Repositories, tag: str | None, public_dataset: bool, examples: Path | None
) -> None:
    for name in (to.model, to.space, to.static_space, to.dataset):
        if name is not None:
            _check_name(name)
    if to.space is not None and to.space == to.static_space:
        raise UserError("--space-id and --static-space-id name one repository: give two names.")
    if tag is not None and (not TAG.fullmatch(tag) or tag == "main" or ".." in tag):
        raise UserError(f"--tag {tag!r} is not valid: use letters, digits, `.`, `-`, `_`, say v1.")
    if examples is not None and to.space is None:
        raise UserError("--examples needs --space-id: the photos are for the page.")
    if public_dataset and to.dataset is None:
        raise UserError("--public-dataset needs --dataset-id.")


def _collect(
    run: Path,
    data: Path,
    to: Repositories,
    tag: str | None,
    examples: Path | None,
    *,
    private: bool,
    public_dataset: bool,
) -> list[Upload]:
    """Return the upload of each repository, in the order in which they are pushed."""
    visibility = True if private else None
    uploads = [model_upload(run, to.model, to.space, to.dataset, tag, visibility, to.static_space)]
    if to.dataset is not None:
        uploads.insert(0, dataset_upload(run, data, to.dataset, private=not public_dataset))
    if to.space is not None:
        uploads.append(space_upload(run, to.space, to.model, to.dataset, examples, visibility))
    if to.static_space is not None:
        uploads.append(static_space_upload(run, to.static_space, to.model, visibility))
    return uploads


def _check_name(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(f"{name!r} is not the name of a repository: {error}") from error
    if "/" not in name:
        raise UserError(f"{name!r} is not the name of a repository: give NAMESPACE/NAME.")


def _print_files(uploads: list[Upload]) -> None:
    visibility = {True: "private", False: "public", None: "new ones as the namespace's default"}
    for upload in uploads:
        sizes = {
            path: len(content) if isinstance(content, bytes) else content.stat().st_size
            for path, content in sorted(upload.files.items())
        }
        print(
            f"{upload} ({visibility[upload.private]}): {len(sizes)} files, "
            f"{sum(sizes.values()) / 1e6:.1f} MB"
        )
        for path, size in sizes.items():
            print(f"  {size / 1e3:10,.1f} kB  {path}")


def _connect() -> HfApi:
    token = get_token()
    if token is None:
        raise UserError("There is no Hub token: set HF_TOKEN or run `hf auth login`.")
    if not (token.isascii() and token.isprintable()):
        raise UserError("The Hub token contains a character that tokens cannot have: set it again.")
    hub = HfApi()
    log.info("Pushing as %s.", hub.whoami()["name"])
    return hub


def _push(hub: HfApi, uploads: list[Upload], tag: str | None) -> None:
    model = next(upload for upload in uploads if upload.kind == "model")
    for upload in uploads:  # before anything is written
        _check_card(upload)
        _check_repository(hub, upload)
    if tag is not None:
        _check_tag(hub, model.name, tag)
    commits = {}
    for upload in uploads:
        commits[upload.kind] = _push_one(hub, upload)
        if upload.sdk == "gradio":
            _serve(hub, upload.name, model.name, commits["model"])
    if tag is not None:  # last: a tag means that everything is there
        hub.create_tag(model.name, tag=tag, revision=commits["model"])
        log.info("%s: tag %s.", model, tag)


def _push_one(hub: HfApi, upload: Upload) -> str:
    """Make a repository hold an upload and nothing else; return its commit."""
    hub.create_repo(
        upload.name,
        repo_type=upload.kind,
        private=upload.private,
        exist_ok=True,
        space_sdk=upload.sdk,
    )
    log.info("%s: sending %d files.", upload, len(upload.files))
    with tempfile.TemporaryDirectory() as staging:
        for path, content in upload.files.items():
            staged = Path(staging, path)
            staged.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                staged.write_bytes(content)
            else:
                staged.symlink_to(content.resolve())
        commit = hub.upload_folder(
            repo_id=upload.name,
            repo_type=upload.kind,
            folder_path=staging,
            delete_patterns="*",
            commit_message="Push with training",
        )
    log.info("%s: commit %s.", upload, commit.oid)
    return commit.oid


def _serve(hub: HfApi, space_id: str, model_id: str, commit: str) -> None:
    """Let a Space serve a commit of a model; each change of a variable restarts it."""
    variables = hub.get_space_variables(space_id)
    for key, value in {"MODEL_ID": model_id, "MODEL_REVISION": commit}.items():
        if key not in variables or variables[key].value != value:
            hub.add_space_variable(space_id, key, value)
    if hub.repo_info(model_id).private:
        log.warning(
            "The page cannot read the private model %s yet: give it a token that may read it, as "
            "the secret HF_TOKEN in the settings of https://huggingface.co/spaces/%s. Until then "
            "it serves the bundled model, and says so.",
            model_id,
            space_id,
        )


def _check_card(upload: Upload) -> None:
    content = upload.files["README.md"]
    content = content if isinstance(content, bytes) else content.read_bytes()
    try:
        RepoCard(content.decode()).validate(repo_type=upload.kind)
    except (ValueError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"The card of the {upload} is not accepted: {problem}.") from error


def _check_repository(hub: HfApi, upload: Upload) -> None:
    """Refuse a repository that holds something else or has the wrong visibility."""
    try:
        info = hub.repo_info(upload.name, repo_type=upload.kind)
    except RepositoryNotFoundError:
        return  # it will be created
    if upload.private is not None and info.private != upload.private:
        current, wanted = ("private", "public") if info.private else ("public", "private")
        raise UserError(
            f"The {upload} is {current} where {wanted} was asked for: change that in its settings, "
            "or name another."
        )
    files = {file.rfilename for file in info.siblings}
    missing = upload.markers - files
    if missing and files - KEPT - STARTED:
        raise UserError(
            f"The {upload} holds something else (there is no {min(missing)}): name another."
        )


def _check_tag(hub: HfApi, model_id: str, tag: str) -> None:
    try:
        tags = [ref.name for ref in hub.list_repo_refs(model_id).tags]
    except RepositoryNotFoundError:
        return
    if tag in tags:
        raise UserError(f"{model_id} has a tag {tag} already: give another --tag.")


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Turn the errors of the Hub and of the network into one sentence.

    Their own messages are left out, as they contain signed URLs.
    """
    retry = "run the same command again, files that arrived are not sent twice"
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
        detail = f" ({error.server_message})" if error.server_message else ""
        remedy = remedies.get(status, retry if status >= 500 else "it refused the upload")
        raise UserError(f"The Hub answered {status}{detail}: {remedy}.") from error
    except OfflineModeIsEnabled as error:
        raise UserError("HF_HUB_OFFLINE is set: a push needs the network.") from error
    # The client raises the last two for an upload that was cut off or refused by the storage.
    except (OSError, httpx2.HTTPError, RuntimeError, ValueError) as error:
        kind = type(error.__cause__ or error).__name__
        raise UserError(f"The Hub cannot be reached ({kind}): {retry}.") from error
