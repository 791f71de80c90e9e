"""A Hugging Face Hub on the loopback interface, for the real client of `huggingface_hub` 2.4.

It keeps its repositories in memory and answers what the client asks to create, fill, tag, describe
and download them. Nothing of the client is replaced: tests run it in a subprocess with the
variables of `Hub.environment`, because it reads them when it is imported.

    hub = Hub({"hf_owner": "someone"})
    with serve_hub(hub):
        environment = os.environ | hub.environment("hf_owner", tmp_path / "home")
        subprocess.run(command, env=environment, check=True)
    assert hub.repositories["model", "someone/detector"].head.message == "Upload the model"

The answers are those that the source of the client reads, worded as in what people report of the
Hub. Where it had to be otherwise, a comment says so.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import yaml


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


COMMIT = "0123456789abcdef0123456789abcdef01234567"  # the only commit of `serve_repository`
SIGNATURE = "SECRET-SIGNATURE"  # of upload links: whoever sees one may write, so it is a secret
PAGE = 1000  # entries of a tree in one answer, as on the Hub
REGULAR_LIMIT = 10 * 1000 * 1000  # bytes; larger files go to LFS whatever they are called
LFS_SUFFIXES = words(
    ".7z .arrow .bin .bmp .bz2 .ckpt .gif .gz .h5 .jpeg .jpg .joblib .keras .mp4 .msgpack .npy .npz"
    " .onnx .parquet .pb .pickle .pkl .png .pt .pth .safetensors .tar .tflite .tgz .tiff .wasm .wav"
    " .webp .xz .zip .zst"
)
LICENSES = words(
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0"
    " bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5"
    " cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0"
    " cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0"
    " cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0"
    " etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc"
    " lppl-1.3c ms-pl mpl-2.0 odc-by odbl osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl"
    " gemma llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 unknown other"
)
TASKS = words(
    "text-classification token-classification question-answering translation summarization"
    " feature-extraction text-generation fill-mask sentence-similarity text-to-speech"
    " automatic-speech-recognition audio-classification depth-estimation image-classification"
    " object-detection image-segmentation text-to-image image-to-text image-to-image"
    " video-classification zero-shot-image-classification image-feature-extraction"
    " tabular-classification tabular-regression reinforcement-learning other"
)
SIZE_CATEGORIES = words(
    "n<1K 1K<n<10K 10K<n<100K 100K<n<1M 1M<n<10M 10M<n<100M 100M<n<1B 1B<n<10B 10B<n<100B"
    " 100B<n<1T n>1T"
)
SDKS = frozenset({"gradio", "docker", "static", "streamlit"})
COLORS = words("red yellow green blue indigo purple pink gray")
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}  # in links to pages and files
NAME = re.compile(r"\b[\w.-]{1,96}\b", re.ASCII)
FRONT_MATTER = re.compile(r"^\s*---[\r\n]+([\S\s]*?)[\r\n]+---[ \t]*(?:\r?\n|$)")
DATASET_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

BAD_CREDENTIALS = "Invalid username or password."


# The state


@dataclass(frozen=True)
class Commit:
    """A state of all files of a repository."""

    sha: str
    message: str
    files: dict[str, bytes]
    date: str


@dataclass
class Repository:
    """A model, dataset or Space with its history, oldest commit first."""

    kind: str
    name: str
    private: bool = False
    sdk: str | None = None
    gated: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # of LFS by sha256, committed or not

    @property
    def namespace(self) -> str:
        """Return the user or organization it belongs to."""
        return self.name.split("/")[0]

    @property
    def head(self) -> Commit:
        """Return the newest commit of `main`, the only branch."""
        return self.commits[-1]

    @property
    def files(self) -> dict[str, bytes]:
        """Return what `main` holds."""
        return self.head.files

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or a full sha stands for."""
        if revision in ("main", "refs/heads/main", "HEAD"):
            return self.head
        sha = self.tags.get(revision.removeprefix("refs/tags/"), revision)
        return next((commit for commit in self.commits if commit.sha == sha), None)

    def commit(self, message: str, files: Mapping[str, bytes], sha: str | None = None) -> Commit:
        """Append a commit of these files, of all of them and no others."""
        number = len(self.commits)
        if sha is None:
            # Unique, for it says where in which history it is; and the same in every run.
            history = [self.kind, self.name, number, message, sorted(files)]
            contents = [git_oid(files[path]) for path in sorted(files)]
            sha = hashlib.sha1(json.dumps(history + contents).encode()).hexdigest()
        date = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        written = date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits.append(Commit(sha, message, dict(files), written))
        return self.head


def git_oid(content: bytes) -> str:
    """Return the name of a content in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """Return the file that git stores in place of an LFS object."""
    oid = hashlib.sha256(content).hexdigest()
    url = "https://git-lfs.github.com/spec/v1"
    return f"version {url}\noid sha256:{oid}\nsize {len(content)}\n".encode()


class Hub:
    """The repositories of a Hub, who may write to them, and what is to go wrong.

    Attributes:
        users: user name by token. Without users, nobody looks at tokens.
        organizations: names of the members by organization.
        read_tokens: the tokens that may read only.
        lfs: whether large files go to LFS. A client with hf_xet installed and not switched off
            uploads those by Xet or not at all; without LFS it sends them inside the commit.
        repositories: by kind ("model", "dataset" or "space") and "namespace/name".
        requests: "METHOD /path" of every request that was answered, in order, without queries.
        uploads: sha256 of what was put into LFS, in order.
        errors: tracebacks of requests that made the server itself fail, which a test wants empty.
        stop_after_uploads: the server dies with the n-th upload answered: open connections are
            cut, new ones refused, and uploads on their way are lost. Counted from the start.
        expire_after_uploads: upload links are refused with 403, as expired, from then on.
        failures: status to answer instead of serving, by "METHOD /path".
        corrupt: what a download of a path gives in place of its content, though under the same
            checksums.
    """

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        organizations: Mapping[str, Collection[str]] | None = None,
        read_tokens: Collection[str] = (),
        lfs: bool = True,
    ) -> None:
        self.users = dict(users or {})
        self.organizations = dict(organizations or {})
        self.read_tokens = frozenset(read_tokens)
        self.lfs = lfs
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.uploads: list[str] = []
        self.errors: list[str] = []
        self.stop_after_uploads: int | None = None
        self.expire_after_uploads: int | None = None
        self.failures: dict[str, int] = {}
        self.corrupt: dict[str, bytes] = {}
        self.lock = threading.RLock()  # the client uploads in several threads at once
        self.doomed = False  # dies as soon as the answer under way is sent
        self._server: _Server | None = None
        self._port = 0  # any free one at first, the same one later

    def add_repository(
        self,
        name: str,
        files: Mapping[str, bytes] | Path,
        kind: str = "model",
        *,
        private: bool = False,
        gated: bool = False,
        sdk: str | None = None,
        sha: str | None = None,
    ) -> str:
        """Add a repository of one commit.

        Args:
            name: "namespace/name".
            files: contents by path, or a folder.
            kind: "model", "dataset" or "space".
            private: hide it from everybody but its namespace.
            gated: let everybody see what it holds, but nobody else have it.
            sdk: what runs a Space.
            sha: name of the commit, in place of one made from its contents.

        Returns:
            The sha of the commit.
        """
        contents = read_folder(files) if isinstance(files, Path) else files
        repository = Repository(kind, name, private, sdk, gated)
        repository.commit("initial commit", contents, sha)
        for path, content in contents.items():
            if self.is_large(path, len(content)):
                repository.objects[self.oid(path, content)] = content
        with self.lock:
            self.repositories[kind, name] = repository
        return repository.head.sha

    def is_large(self, path: str, size: int) -> bool:
        """Return whether a file is stored in LFS; the client never sends empty ones there."""
        suffix = PurePosixPath(path).suffix.lower()
        return self.lfs and size > 0 and (suffix in LFS_SUFFIXES or size > REGULAR_LIMIT)

    def oid(self, path: str, content: bytes) -> str:
        """Return the name under which the client compares a file to its own."""
        if self.is_large(path, len(content)):
            return hashlib.sha256(content).hexdigest()
        return git_oid(content)

    @property
    def endpoint(self) -> str:
        """Return the address, which stays the same when the server is started again."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self, token: str | None, home: Path) -> dict[str, str]:
        """Return the variables under which a client talks to this server, and only to it.

        Args:
            token: who asks; nobody when None, whatever the machine is logged in with.
            home: folder for everything that the client keeps.
        """
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),  # these would take precedence over HF_HOME
            "HF_XET_CACHE": str(home / "xet"),
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_TOKEN": token or "",
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_OIDC_RESOURCE": "",
            "HF_HUB_OFFLINE": "0",
            "TRANSFORMERS_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # see `lfs`
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def start(self) -> None:
        """Serve, on the port of the time before if there was one."""
        self.doomed = False
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop at once, as a server that dies: connections are cut and refused from here on."""
        with self.lock:
            server, self._server = self._server, None
        if server is not None:
            server.die()

    def restart(self) -> None:
        """Serve the same repositories at the same address; what was to go wrong is repaired."""
        self.stop()
        self.stop_after_uploads = self.expire_after_uploads = None
        self.failures.clear()
        self.corrupt.clear()
        self.start()

    @property
    def running(self) -> bool:
        """Return whether it takes requests."""
        return self.serves(self._server)

    def serves(self, server: object) -> bool:
        """Return whether requests to this server still count: a dead one may be reading some."""
        return server is not None and server is self._server and not self.doomed


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve a Hub as long as the context lasts."""
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


@contextmanager
def serve_repository(name: str, folder: Path) -> Iterator[str]:
    """Serve a folder as the model repository `name`; yield the value for `HF_ENDPOINT`."""
    hub = Hub()
    hub.add_repository(name, folder, sha=COMMIT)
    with serve_hub(hub):
        yield hub.endpoint


def short_waits(folder: Path) -> dict[str, str]:
    """Return variables under which a Python child sleeps a hundredth of the time it asks for.

    The client waits 1 + 2 + 4 + 8 + 8 s for a server that does not answer. The clock is all that
    changes: it asks as often as ever and fails in the same way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import time\nsleep = time.sleep\ntime.sleep = lambda seconds: sleep(seconds / 100)\n",
        encoding="utf-8",
    )
    inherited = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(folder), inherited)))}


# Requests and answers


@dataclass(frozen=True)
class Visitor:
    """Whoever sent a token."""

    name: str
    writes: bool
    organizations: tuple[str, ...]

    def owns(self, namespace: str) -> bool:
        """Return whether a namespace is this user's or of one of the organizations."""
        return namespace == self.name or namespace in self.organizations


@dataclass(frozen=True)
class Request:
    """What is asked, and by whom."""

    hub: Hub
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    visitor: Visitor | None

    def json(self) -> dict:
        """Return the body."""
        try:
            data = json.loads(self.body)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise HubError(400, "Invalid JSON")
        return data


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes
    headers: dict[str, str]


class HubError(Exception):
    """An answer that says why not, as the Hub words it."""

    def __init__(self, status: int, message: str, code: str = "", **more: object) -> None:
        super().__init__(message)
        self.answer = answer({"error": message} | more, status)
        line = " ".join(message.split()).encode("ascii", "replace").decode()
        self.answer.headers["X-Error-Message"] = line
        if code:
            self.answer.headers["X-Error-Code"] = code


def answer(data: object, status: int = 200, **headers: str) -> Answer:
    """Answer JSON."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, json.dumps(data, default=str).encode(), kind | headers)


def identify(hub: Hub, headers: Mapping[str, str]) -> Visitor | None:
    """Return who sent the token of a request; an unknown one is refused wherever it is sent."""
    token = headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not token or not hub.users:
        return None
    if token not in hub.users:
        raise HubError(401, BAD_CREDENTIALS)
    name = hub.users[token]
    organizations = tuple(org for org, members in hub.organizations.items() if name in members)
    return Visitor(name, token not in hub.read_tokens, organizations)


def require_visitor(request: Request) -> Visitor:
    """Return who asks, which has to be somebody."""
    if request.visitor is None:
        raise HubError(401, BAD_CREDENTIALS)
    return request.visitor


def repository_to_read(request: Request, kinds: str, name: str) -> Repository:
    """Return a repository that whoever asks may know of."""
    repository = request.hub.repositories.get((KINDS[kinds], name))
    visitor = request.visitor
    if repository is not None and (
        not repository.private or (visitor is not None and visitor.owns(repository.namespace))
    ):
        return repository
    if visitor is None:
        # Without the code the client takes a 401 for a missing repository only over https.
        raise HubError(401, BAD_CREDENTIALS, "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def repository_to_write(request: Request, kinds: str, name: str) -> Repository:
    """Return a repository that whoever asks may change."""
    repository = repository_to_read(request, kinds, name)
    visitor = require_visitor(request)
    if not visitor.writes or not visitor.owns(repository.namespace):
        raise HubError(
            403,
            "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request",
        )
    return repository


def find_commit(repository: Repository, revision: str) -> Commit:
    """Return the commit of a revision."""
    commit = repository.find(revision)
    if commit is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


Route = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Register what serves a path, in which {names} stand for parts, {path} for any number."""
    parts = {
        "kinds": "models|datasets|spaces",
        "prefix": "|datasets/|spaces/",
        "name": "[^/]+/[^/]+",
        "path": ".+",
    }
    pattern = re.sub(
        r"\\{(\w+)\\}", lambda m: f"(?P<{m[1]}>{parts.get(m[1], '[^/]+')})", re.escape(path)
    )

    def register(function: Route) -> Route:
        ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


def serve(request: Request) -> Answer:
    """Find what serves a request and let it."""
    method = "GET" if request.method == "HEAD" else request.method
    for served, pattern, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if served == method and match:
            return function(request, **{k: unquote(v) for k, v in match.groupdict().items()})
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


# Accounts and repositories


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Answer:
    """Say whose token it is."""
    visitor = require_visitor(request)
    role = "write" if visitor.writes else "read"
    return answer(
        {
            "type": "user",
            "id": hashlib.sha1(visitor.name.encode()).hexdigest()[:24],
            "name": visitor.name,
            "fullname": visitor.name,
            "email": f"{visitor.name}@example.org",
            "orgs": [{"type": "org", "name": name} for name in visitor.organizations],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": "test", "role": role},
            },
        }
    )


@route("POST", "/api/repos/create")
def create_repository(request: Request) -> Answer:
    """Create a repository of one commit."""
    visitor = require_visitor(request)
    data = request.json()
    kind = data.get("type") or "model"
    namespace = data.get("organization") or visitor.name
    check_repository_name(data.get("name"))
    name = f"{namespace}/{data['name']}"
    if not visitor.writes or not visitor.owns(namespace):
        rights = f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"'
        raise HubError(403, rights)
    url = page(request.hub, kind, name)
    if (kind, name) in request.hub.repositories:
        raise HubError(409, f"You already created this {kind} repo: {name}", url=url)
    if kind == "space" and data.get("sdk") not in SDKS:
        raise HubError(400, f'"sdk" must be one of {listed(SDKS)}')
    private = data.get("visibility") == "private" or data.get("private") is True
    repository = Repository(kind, name, private, data.get("sdk"))
    repository.variables.update({v["key"]: v["value"] for v in data.get("variables") or []})
    repository.commit("initial commit", first_files(repository))
    request.hub.repositories[kind, name] = repository
    return answer({"url": url, "name": name, "id": repository.head.sha[:24]})


def page(hub: Hub, kind: str, name: str) -> str:
    """Return the link to a repository."""
    return f"{hub.endpoint}/{PREFIXES[kind]}{name}"


def check_repository_name(name: object) -> None:
    """Refuse what the Hub does not take for a name."""
    valid = isinstance(name, str) and NAME.fullmatch(name)
    if not valid or "--" in name or ".." in name or name.endswith((".git", ".ipynb")):
        raise HubError(400, f'Invalid repo name: "{name}"')


def first_files(repository: Repository) -> dict[str, bytes]:
    """Return what the Hub writes into a new repository."""
    lines = [f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in sorted(LFS_SUFFIXES)]
    files = {".gitattributes": "".join(lines).encode()}
    if repository.kind == "space":
        card = {"title": repository.name.split("/")[1], "sdk": repository.sdk, "pinned": False}
        files["README.md"] = f"---\n{yaml.safe_dump(card)}---\n".encode()
    return files


@route("GET", "/api/{kinds}/{name}")
def describe(request: Request, kinds: str, name: str) -> Answer:
    """Describe a repository as it is now."""
    return describe_revision(request, kinds, name, "main")


@route("GET", "/api/{kinds}/{name}/revision/{revision}")
def describe_revision(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """Describe a repository at a revision."""
    repository = repository_to_read(request, kinds, name)
    commit = find_commit(repository, revision)
    card = read_card(commit.files.get("README.md", b"").decode(errors="replace"))
    card = card if isinstance(card, dict) else {}
    data = {
        "id": name,
        "author": repository.namespace,
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repository.commits[0].date,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": card.get("tags") or [],
        "siblings": siblings(request, commit),
        "cardData": card,
    }
    data |= {key: card[key] for key in ("library_name", "pipeline_tag") if key in card}
    if repository.kind == "space":
        stage = "RUNNING" if "app.py" in commit.files else "NO_APP_FILE"
        data |= {"sdk": repository.sdk, "runtime": {"stage": stage, "hardware": None}}
    return answer(data)


def siblings(request: Request, commit: Commit) -> list[dict]:
    """Return the files of a commit, with their sizes and checksums when these are asked for."""
    if not request.query.get("blobs"):
        return [{"rfilename": path} for path in commit.files]
    entries = []
    for path, content in commit.files.items():
        entry = describe_file(request.hub, path, content)
        lfs = entry.get("lfs")
        more = {"lfs": lfs | {"sha256": lfs["oid"]}} if lfs else {}
        entries.append(
            {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]} | more,
        )
    return entries


@route("GET", "/api/{kinds}/{name}/refs")
def list_references(request: Request, kinds: str, name: str) -> Answer:
    """List branches and tags."""
    repository = repository_to_read(request, kinds, name)
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head.sha}
    tags = [
        {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha}
        for tag, sha in repository.tags.items()
    ]
    return answer({"branches": [main], "converts": [], "tags": tags, "pullRequests": []})


@route("GET", "/api/{kinds}/{name}/commits/{revision}")
def list_commits(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """List a revision and what came before it, newest first."""
    repository = repository_to_read(request, kinds, name)
    last = repository.commits.index(find_commit(repository, revision))
    return answer(
        [
            {
                "id": commit.sha,
                "title": commit.message,
                "message": "",
                "authors": [{"user": repository.namespace}],
                "date": commit.date,
            }
            for commit in reversed(repository.commits[: last + 1])
        ]
    )


@route("POST", "/api/{kinds}/{name}/tag/{revision}")
def create_tag(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """Name a commit."""
    repository = repository_to_write(request, kinds, name)
    commit = find_commit(repository, revision)
    tag = request.json()["tag"]
    if tag in repository.tags:
        raise HubError(409, f"Tag reference already exists: {tag}")
    repository.tags[tag] = commit.sha
    return answer({})


@route("GET", "/api/spaces/{name}/variables")
def list_variables(request: Request, name: str) -> Answer:
    """List the public variables of a Space."""
    repository = repository_to_read(request, "spaces", name)
    return answer({k: {"key": k, "value": v} for k, v in repository.variables.items()})


@route("POST", "/api/spaces/{name}/variables")
def add_variable(request: Request, name: str) -> Answer:
    """Set a variable of a Space."""
    repository = repository_to_write(request, "spaces", name)
    data = request.json()
    repository.variables[data["key"]] = data["value"]
    return list_variables(request, name)


# Files


def describe_file(hub: Hub, path: str, content: bytes) -> dict:
    """Return the entry of a file in a tree."""
    entry = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if hub.is_large(path, len(content)):
        written = pointer(content)
        sha256 = hashlib.sha256(content).hexdigest()
        entry["oid"] = git_oid(written)
        entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": len(written)}
    return entry


def describe_tree(hub: Hub, commit: Commit) -> dict[str, dict]:
    """Return the entries of all files and folders of a commit by path."""
    entries = {}
    for path, content in commit.files.items():
        for folder in reversed(PurePosixPath(path).parents[:-1]):
            oid = git_oid(f"tree {folder} of {commit.sha}".encode())
            entries[str(folder)] = {"type": "directory", "path": str(folder), "size": 0, "oid": oid}
        entries[path] = describe_file(hub, path, content)
    return dict(sorted(entries.items()))


@route("GET", "/api/{kinds}/{name}/tree/{revision}")
def list_root(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """List what a repository holds."""
    return list_folder(request, kinds, name, revision, "")


@route("GET", "/api/{kinds}/{name}/tree/{revision}/{path}")
def list_folder(request: Request, kinds: str, name: str, revision: str, path: str) -> Answer:
    """List what a folder holds, all the way down when that is asked for."""
    commit = find_commit(repository_to_read(request, kinds, name), revision)
    inside = f"{path}/" if path else ""
    deep = request.query.get("recursive", "").lower() in ("true", "1")
    found = [
        entry
        for entry in describe_tree(request.hub, commit).values()
        if entry["path"].startswith(inside) and (deep or "/" not in entry["path"][len(inside) :])
    ]
    if path and not found:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    start = int(request.query.get("cursor", 0))
    links = {}
    if len(found) > start + PAGE:
        recursive = "true" if deep else "false"
        query = f"recursive={recursive}&cursor={start + PAGE}"
        links["Link"] = f'<{request.hub.endpoint}{request.path}?{query}>; rel="next"'
    return answer(found[start : start + PAGE], **links)


@route("POST", "/api/{kinds}/{name}/paths-info/{revision}")
def list_paths(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """Describe the paths of a form that exist; the others are left out."""
    commit = find_commit(repository_to_read(request, kinds, name), revision)
    entries = describe_tree(request.hub, commit)
    paths = parse_qs(request.body.decode()).get("paths", [])
    return answer([entries[path] for path in paths if path in entries])


@route("GET", "/{prefix}{name}/resolve/{revision}/{path}")
def download(request: Request, prefix: str, name: str, revision: str, path: str) -> Answer:
    """Send a file, or the part of it that is asked for.

    The Hub redirects to its storage for LFS. With one address for both there is nothing to
    redirect to: the client would look for the metadata there.
    """
    hub = request.hub
    repository = repository_to_read(request, prefix.strip("/") or "models", name)
    commit = find_commit(repository, revision)
    if repository.gated and not (request.visitor and request.visitor.owns(repository.namespace)):
        restricted = f"Access to {name} is restricted and you are not in the authorized list."
        raise HubError(403, restricted, "GatedRepo")
    if path not in commit.files:
        missing = HubError(404, "Entry not found", "EntryNotFound")
        missing.answer.headers["X-Repo-Commit"] = commit.sha
        raise missing
    stored = commit.files[path]
    content = hub.corrupt.get(path, stored)
    etag = f'"{hub.oid(path, stored)}"'
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "X-Repo-Commit": commit.sha,
        "ETag": etag,
    }
    if hub.is_large(path, len(stored)):
        headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": etag}
    return cut(content, request.headers.get("Range"), headers)


def cut(content: bytes, wanted: str | None, headers: dict[str, str]) -> Answer:
    """Answer a content, or the one range of it that is wanted."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
    if match is None:
        return Answer(200, content, headers)
    first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
    if first > last:
        return Answer(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
    span = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
    return Answer(206, content[first : last + 1], headers | span)


# Uploads


@route("POST", "/api/{kinds}/{name}/preupload/{revision}")
def choose_upload(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """Say how to send each file, and what is stored under its path now."""
    repository = repository_to_write(request, kinds, name)
    stored = find_commit(repository, revision).files
    hub = request.hub
    files = []
    for file in request.json()["files"]:
        path = file["path"]
        mode = "lfs" if hub.is_large(path, file["size"]) else "regular"
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in stored:
            entry["oid"] = hub.oid(path, stored[path])
        files.append(entry)
    return answer({"files": files})


@route("POST", "/{prefix}{name}.git/info/lfs/objects/batch")
def link_uploads(request: Request, prefix: str, name: str) -> Answer:
    """Give a signed link for each LFS object that is not stored yet."""
    kinds = prefix.strip("/") or "models"
    repository = repository_to_write(request, kinds, name)
    objects = []
    for wanted in request.json()["objects"]:
        entry = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
        if wanted["oid"] not in repository.objects:
            path = f"/storage/{kinds}/{name}/{wanted['oid']}"
            link = f"{request.hub.endpoint}{path}?X-Amz-Expires=900&X-Amz-Signature={SIGNATURE}"
            entry["actions"] = {"upload": {"href": link}}
        objects.append(entry)
    return answer({"transfer": "basic", "objects": objects})


@route("PUT", "/storage/{kinds}/{name}/{oid}")
def store_upload(request: Request, kinds: str, name: str, oid: str) -> Answer:
    """Store an LFS object; the signature stands for the token, as in links to S3."""
    hub = request.hub
    if request.query.get("X-Amz-Signature") != SIGNATURE:
        return refuse_upload(403, "SignatureDoesNotMatch")
    if hub.expire_after_uploads is not None and len(hub.uploads) >= hub.expire_after_uploads:
        return refuse_upload(403, "AccessDenied")
    if hashlib.sha256(request.body).hexdigest() != oid:
        return refuse_upload(400, "BadDigest")
    hub.repositories[KINDS[kinds], name].objects[oid] = request.body
    hub.uploads.append(oid)
    hub.doomed = len(hub.uploads) == hub.stop_after_uploads
    return Answer(200, b"", {"ETag": f'"{oid}"'})


def refuse_upload(status: int, code: str) -> Answer:
    """Answer as S3 does."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


@route("POST", "/api/{kinds}/{name}/commit/{revision}")
def commit_changes(request: Request, kinds: str, name: str, revision: str) -> Answer:
    """Apply the operations of a commit, one a line after its header."""
    repository = repository_to_write(request, kinds, name)
    if find_commit(repository, revision) is not repository.head:
        raise HubError(400, f"Cannot commit to {revision}: it is not a branch")
    header, *operations = [json.loads(line) for line in request.body.splitlines() if line]
    parent = header["value"].get("parentCommit")
    if parent is not None and not repository.head.sha.startswith(parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = dict(repository.files)
    for operation in operations:
        apply(repository, files, operation["key"], operation["value"])
    commit = repository.commit(header["value"]["summary"], files)
    return answer(
        {
            "success": True,
            "commitOid": commit.sha,
            "commitUrl": f"{page(request.hub, repository.kind, name)}/commit/{commit.sha}",
            "hookOutput": "",
        }
    )


def apply(repository: Repository, files: dict[str, bytes], key: str, value: dict) -> None:
    """Apply one operation of a commit to the files of its parent."""
    path = value["path"].rstrip("/")
    if key == "file":
        content = base64.b64decode(value["content"], validate=True)
        if path == "README.md" and (problems := check_card(content.decode(), repository.kind)):
            raise HubError(400, "Invalid metadata in README.md: " + " ".join(problems))
        files[path] = content
    elif key == "lfsFile":
        if value["oid"] not in repository.objects:
            missing = "an LFS pointer pointed to a file that does not exist"
            raise HubError(400, f"Your push was rejected because {missing}: {path}")
        files[path] = repository.objects[value["oid"]]
    elif key in ("deletedFile", "deletedFolder"):
        gone = [path] if key == "deletedFile" else [p for p in files if p.startswith(f"{path}/")]
        if not gone or any(p not in files for p in gone):
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for each in gone:
            del files[each]
    else:
        raise HubError(400, f"Unknown operation: {key}")


# Cards


@route("POST", "/api/validate-yaml")
def validate_card(request: Request) -> Answer:
    """Check the front matter of a README; the client asks this without a token, too."""
    data = request.json()
    content, kind = data["content"], data.get("repoType") or "model"
    errors = [{"message": problem} for problem in check_card(content, kind)]
    warnings = []
    if read_card(content) is None:
        warnings.append({"message": "empty or missing yaml metadata in repo card"})
    found = {"errors": errors, "warnings": warnings}
    if errors and "text/plain" in request.headers.get("Accept", ""):  # of `ModelCard.validate`
        text = "\n".join(f"- Error: {one['message']}" for one in errors)
        return Answer(400, text.encode(), {"Content-Type": "text/plain"})
    return answer(found, 400 if errors else 200)


def read_card(content: str) -> object:
    """Return the front matter of a README: None without one, an error as text."""
    match = FRONT_MATTER.search(content)
    if match is None:
        return None
    try:
        return yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return f"Invalid YAML: {error}"


def check_card(content: str, kind: str) -> list[str]:
    """Return what is wrong with the front matter of a README.

    The Hub only warns of a task that it does not know, and takes names of datasets without a
    namespace and values of metrics of any type. Those are mistakes in a card of this project.
    """
    card = read_card(content)
    if card is None:
        return []
    if not isinstance(card, dict):
        return [card if isinstance(card, str) else "the metadata must be a mapping"]
    checks = CARD_CHECKS | (SPACE_CHECKS if kind == "space" else {})
    problems = [
        f'"{key}" {complaint}'
        for key, (accepts, complaint) in checks.items()
        if key in card and not accepts(card[key])
    ]
    if kind == "space" and "sdk" not in card:
        problems.append('"sdk" is required')
    return problems + check_results(card.get("model-index"))


def is_text(value: object) -> bool:
    """Return whether it is a string that says something."""
    return isinstance(value, str) and bool(value.strip())


def is_license_link(value: object) -> bool:
    """Return whether it leads to a licence's text."""
    return is_text(value) and (value in ("LICENSE", "LICENSE.md") or "://" in value)


def is_number(value: object) -> bool:
    """Return whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_list(value: object, accepts: Callable[[object], bool] = is_text) -> bool:
    """Return whether it is a list of what is accepted."""
    return isinstance(value, list) and all(accepts(item) for item in value)


def among(names: Collection[str]) -> Callable[[object], bool]:
    """Return a check whether a value is one of these names."""
    return lambda value: isinstance(value, str) and value in names


def any_or_list(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    """Return a check that takes one value or a list of them."""
    return lambda value: accepts(value) or is_list(value, accepts)


def is_id(value: object) -> bool:
    """Return whether it names a repository."""
    return isinstance(value, str) and DATASET_ID.fullmatch(value) is not None


def listed(names: Collection[str]) -> str:
    """Return names as the Hub lists them."""
    return f"[{', '.join(sorted(names))}]"


CARD_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "license": (any_or_list(among(LICENSES)), f"must be one of {listed(LICENSES)}"),
    "license_name": (is_text, "must be a string"),
    "license_link": (is_license_link, "must be LICENSE, LICENSE.md or an address"),
    "pipeline_tag": (among(TASKS), f"must be one of {listed(TASKS)}"),
    "library_name": (is_text, "must be a string"),
    "language": (any_or_list(is_text), "must be a string or a list of strings"),
    "tags": (is_list, "must be a list of strings"),
    "metrics": (is_list, "must be a list of strings"),
    "datasets": (lambda value: is_list(value, is_id), "must be a list of dataset ids"),
    "models": (lambda value: is_list(value, is_id), "must be a list of model ids"),
    "base_model": (any_or_list(is_id), "must be a model id or a list of them"),
    "pretty_name": (is_text, "must be a string"),
    "task_categories": (
        lambda value: is_list(value, among(TASKS)),
        f"must be a list of {listed(TASKS)}",
    ),
    "size_categories": (
        lambda value: is_list(value, among(SIZE_CATEGORIES)),
        f"must be a list of {listed(SIZE_CATEGORIES)}",
    ),
}
SPACE_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "title": (is_text, "must be a string"),
    "emoji": (is_text, "must be a string"),
    "sdk": (among(SDKS), f"must be one of {listed(SDKS)}"),
    "sdk_version": (is_text, "must be a string"),
    "app_file": (is_text, "must be a string"),
    "colorFrom": (among(COLORS), f"must be one of {listed(COLORS)}"),
    "colorTo": (among(COLORS), f"must be one of {listed(COLORS)}"),
    "short_description": (
        lambda value: is_text(value) and len(value) <= 60,
        "length must be less than or equal to 60 characters long",
    ),
    "pinned": (lambda value: isinstance(value, bool), "must be a boolean"),
}


def check_results(index: object) -> list[str]:
    """Return what is wrong with the results in a card."""
    if index is None:
        return []
    if not isinstance(index, list):
        return ['"model-index" must be a list']
    problems = []
    for number, model in enumerate(index):
        where = f"model-index[{number}]"
        problems += check_field(model, where, "name", is_text)
        problems += check_field(model, where, "results", lambda value: isinstance(value, list))
        results = model.get("results") if isinstance(model, dict) else None
        for place, result in enumerate(results if isinstance(results, list) else []):
            problems += check_result(result, f"{where}.results[{place}]")
    return problems


def check_result(result: object, where: str) -> list[str]:
    """Return what is wrong with the metrics of one task on one dataset."""
    parts = result if isinstance(result, dict) else {}
    problems = check_field(parts.get("task"), f"{where}.task", "type", is_text)
    problems += check_field(parts.get("dataset"), f"{where}.dataset", "type", is_text)
    problems += check_field(parts.get("dataset"), f"{where}.dataset", "name", is_text)
    metrics = parts.get("metrics")
    if not isinstance(metrics, list):
        return [*problems, f'"{where}.metrics" must be a list']
    for number, metric in enumerate(metrics):
        problems += check_field(metric, f"{where}.metrics[{number}]", "type", is_text)
        problems += check_field(metric, f"{where}.metrics[{number}]", "value", is_number)
    return problems


def check_field(
    holder: object, where: str, key: str, accepts: Callable[[object], bool]
) -> list[str]:
    """Return what is wrong with one required field."""
    if not isinstance(holder, dict) or key not in holder:
        return [f'"{where}.{key}" is required']
    return [] if accepts(holder[key]) else [f'"{where}.{key}" is not valid: {holder[key]!r}']


# The server


class _Server(ThreadingHTTPServer):
    """A server that can die: it knows the connections that are open."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: socket.socket, client_address: tuple) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: socket.socket, client_address: tuple) -> None:
        """Say nothing of connections that break: clients end, and so does the server."""

    def die(self) -> None:
        """Take no more connections and cut those that are open."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return what reads the requests to a Hub and writes its answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept: every answer says how long it is
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self._read()  # first of all, or its rest would pass for the next request
            with hub.lock:
                if not hub.serves(self.server):
                    self.close_connection = True
                    return
                found = _answer(hub, self.command, self.path, self.headers, body)
                dies = hub.doomed
            self._send(found)
            if dies:
                hub.stop()

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

        def _read(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = io.BytesIO()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body.write(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return body.getvalue()

        def _send(self, found: Answer) -> None:
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(found.body)
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    return Handler


def _answer(hub: Hub, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Log a request and answer it, whatever happens."""
    url = urlsplit(target)
    hub.requests.append(f"{method} {url.path}")
    status = hub.failures.get(hub.requests[-1])
    try:
        if status is not None:
            raise HubError(status, "This was to fail.")
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        visitor = identify(hub, headers)
        return serve(Request(hub, method, url.path, query, headers, body, visitor))
    except HubError as error:
        return error.answer
    except Exception:
        hub.errors.append(traceback.format_exc())
        return answer({"error": "Internal error of tests/hub_server.py"}, 500)
