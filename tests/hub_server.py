"""A Hugging Face Hub on loopback, with the parts that the project's tests use.

Clients can create, fill, tag, describe, list and download repositories, and set the variables of a
Space. The server keeps its repositories in memory. The client is the real one, `huggingface_hub`
2.4. It reads the variables of `Hub.environment` on import, so it runs in `tests.clients.call` or in
a process of its own:

    with serve_hub(Hub({"hf_owner": "someone"})) as hub:
        subprocess.run(command, env=os.environ | hub.environment("hf_owner", tmp_path), check=True)
    assert hub.repositories["model", "someone/detector"].head.message == "Upload the model"
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = "SECRET-SIGNATURE"  # of upload links; a secret, as anyone who has a link may write
LFS_SUFFIXES = {".h5", ".jpeg", ".jpg", ".keras", ".onnx", ".parquet", ".png", ".tflite", ".zip"}
DATE = "2026-01-01T00:00:00.000Z"
KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}  # in links to pages and files
FRONT_MATTER = re.compile(r"^\s*---[\r\n]+([\S\s]*?)[\r\n]+---[ \t]*(?:\r?\n|$)")
LICENSES = ("gpl-3.0", "mit", "apache-2.0", "unknown", "other")  # some that the Hub knows


@dataclass(frozen=True)
class Commit:
    """A state of all files in a repository."""

    sha: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """A model, dataset or Space with its history, oldest commit first."""

    kind: str
    name: str
    private: bool = False
    sdk: str | None = None
    gated: bool = False  # all see the list of files, only the owner downloads them
    variables: dict[str, str] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # LFS by sha256, committed or not

    @property
    def head(self) -> Commit:
        """Return the newest commit of `main`, the only branch."""
        return self.commits[-1]

    @property
    def files(self) -> dict[str, bytes]:
        """Return the files of `main` by path."""
        return self.head.files

    def find(self, revision: str) -> Commit:
        """Return the commit that `main`, a tag or a full sha names."""
        if revision in ("main", "refs/heads/main"):
            return self.head
        sha = self.tags.get(revision.removeprefix("refs/tags/"), revision)
        for commit in self.commits:
            if commit.sha == sha:
                return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, message: str, files: Mapping[str, bytes], sha: str | None = None) -> Commit:
        """Append a commit that holds exactly these files; return it."""
        details = [self.kind, self.name, len(self.commits), message, sorted(files)]
        identity = json.dumps(details + [git_oid(files[path]) for path in sorted(files)])
        self.commits.append(
            Commit(sha or hashlib.sha1(identity.encode()).hexdigest(), message, dict(files))
        )
        return self.head


def git_oid(content: bytes) -> str:
    """Return the git object ID of some content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_large(path: str, size: int) -> bool:
    """Return whether a file is stored in LFS; the client never sends empty files there."""
    return size > 0 and PurePosixPath(path).suffix.lower() in LFS_SUFFIXES


def oid(path: str, content: bytes) -> str:
    """Return the ID by which the client compares a file with its own."""
    large = is_large(path, len(content))
    return hashlib.sha256(content).hexdigest() if large else git_oid(content)


class Hub:
    """The repositories of a Hub, who may write to them, and which faults to inject.

    Attributes:
        users: user names by token. Without users, tokens are not checked.
        repositories: by kind ("model", "dataset" or "space") and "namespace/name".
        requests: "METHOD /path" of every answered request, in order, without queries.
        uploads: sha256 of every LFS upload, in order.
        errors: tracebacks of requests that made the server itself fail; tests expect none.
        stop_after_uploads: the server dies after it answers the n-th upload: it cuts open
            connections, refuses new ones and loses unfinished uploads.
        failures: status to answer with instead of content, by "METHOD /path".
        corrupt: content to send instead of the stored one, by path.
    """

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        self.users = dict(users or {})
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.uploads: list[str] = []
        self.errors: list[str] = []
        self.stop_after_uploads: int | None = None
        self.failures: dict[str, int] = {}
        self.corrupt: dict[str, bytes] = {}
        self.lock = threading.RLock()  # the client uploads in several threads at once
        self.doomed = False  # dies once the current answer is sent
        self._server: _Server | None = None
        self._port = 0  # any free port at first, the same port later

    def add_repository(
        self,
        name: str,
        files: Mapping[str, bytes] | Path,
        kind: str = "model",
        *,
        sha: str | None = None,
        **options: bool | str,
    ) -> str:
        """Add a repository with one commit; return the commit's sha.

        Args:
            name: "namespace/name".
            files: contents by path, or a folder.
            kind: "model", "dataset" or "space".
            sha: name of the commit; by default made from its contents.
            options: `private`, `gated` and `sdk`, as in `Repository`.
        """
        contents = read_folder(files) if isinstance(files, Path) else files
        repository = Repository(kind, name, **options)
        repository.commit("initial commit", contents, sha)
        with self.lock:
            self.repositories[kind, name] = repository
        return repository.head.sha

    @property
    def endpoint(self) -> str:
        """Return the address, which stays the same after a restart."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self, token: str | None, home: Path) -> dict[str, str]:
        """Return the environment variables that make a client talk to this server only.

        Args:
            token: the client's token; None for an anonymous client, even on a machine with a login.
            home: folder for everything that the client keeps.
        """
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),  # these would take precedence over HF_HOME
            "HF_DATASETS_CACHE": str(home / "datasets"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_TOKEN": token or "",
            "HUGGING_FACE_HUB_TOKEN": "",
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def start(self) -> None:
        """Serve, on the previous port if there was one."""
        self.doomed = False
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Stop at once, like a server that dies: cut connections and refuse new ones."""
        with self.lock:
            server, self._server = self._server, None
        if server is not None:
            server.die()

    def restart(self) -> None:
        """Serve the same repositories at the same address, without the injected faults."""
        self.stop()
        self.stop_after_uploads = None
        self.failures.clear()
        self.corrupt.clear()
        self.start()

    def serves(self, server: object) -> bool:
        """Return whether this server is alive; a dead one may still be reading requests."""
        return server is not None and server is self._server and not self.doomed


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    """Serve a Hub for as long as the context lasts."""
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


# Requests and answers


@dataclass(frozen=True)
class Answer:
    """What the server sends back."""

    status: int
    body: bytes
    headers: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What a visitor asks for; the visitor is a user's name, or None if anonymous."""

    hub: Hub
    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    visitor: str | None

    def json(self) -> dict:
        """Return the parsed body."""
        return json.loads(self.body)

    def read(self, kind: str, name: str) -> Repository:
        """Return a repository that the visitor may see."""
        repository = self.hub.repositories.get((KINDS.get(kind, kind), name))
        owner = name.split("/")[0]
        if repository is not None and (not repository.private or self.visitor == owner):
            return repository
        # Without the code, the client takes a 401 for a missing repository only over https.
        status = 404 if self.visitor else 401
        raise HubError(status, "Repository not found", "RepoNotFound")

    def write(self, kind: str, name: str) -> Repository:
        """Return a repository that the visitor may change."""
        repository = self.read(kind, name)
        self.check_owner(name.split("/")[0])
        return repository

    def check_owner(self, namespace: str) -> None:
        """Refuse a visitor who may not write to a namespace."""
        if self.visitor is None:
            raise HubError(401, "Invalid username or password.")
        if self.visitor != namespace:
            raise HubError(403, f'You don\'t have the rights to write to "{namespace}"')


class HubError(Exception):
    """A refusal, in the Hub's words."""

    def __init__(self, status: int, message: str, code: str = "", **more: object) -> None:
        super().__init__(message)
        self.answer = answer({"error": message} | more, status)
        self.answer.headers["X-Error-Message"] = message.encode("ascii", "replace").decode()
        if code:
            self.answer.headers["X-Error-Code"] = code


def answer(data: object, status: int = 200) -> Answer:
    """Return an answer of JSON."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, json.dumps(data, default=str).encode(), headers)


def identify(hub: Hub, headers: Mapping[str, str]) -> str | None:
    """Return the user whose token a request carries; an unknown token is refused everywhere."""
    token = headers.get("Authorization", "").removeprefix("Bearer ").strip()
    if not token or not hub.users:
        return None
    if token not in hub.users:
        raise HubError(401, "Invalid username or password.")
    return hub.users[token]


Route = Callable[..., Answer]
ROUTES: list[tuple[str, re.Pattern[str], Route]] = []


def route(method: str, path: str) -> Callable[[Route], Route]:
    """Register a function for a path, in which {names} stand for parts, {path} for any number."""
    parts = {
        "kind": "models|datasets|spaces",
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
    """Answer a request with the function that is registered for its path."""
    method = "GET" if request.method == "HEAD" else request.method
    for route_method, pattern, function in ROUTES:
        match = pattern.fullmatch(request.path)
        if route_method == method and match:
            return function(request, **{k: unquote(v) for k, v in match.groupdict().items()})
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


# Accounts and repositories


@route("GET", "/api/whoami-v2")
def whoami(request: Request) -> Answer:
    """Name the owner of the token."""
    request.check_owner(request.visitor or "")
    return answer({"type": "user", "name": request.visitor, "orgs": []})


@route("POST", "/api/repos/create")
def create_repository(request: Request) -> Answer:
    """Create a repository with one commit."""
    data = request.json()
    kind, namespace = data.get("type") or "model", data.get("organization") or request.visitor
    request.check_owner(namespace)
    name = f"{namespace}/{data['name']}"
    url = f"{request.hub.endpoint}/{PREFIXES[kind]}{name}"
    if (kind, name) in request.hub.repositories:
        raise HubError(409, f"You already created this {kind} repo: {name}", url=url)
    private = data.get("visibility") == "private" or data.get("private") is True
    repository = Repository(kind, name, private, data.get("sdk"))
    repository.commit("initial commit", {".gitattributes": b"*.h5 filter=lfs\n"})
    request.hub.repositories[kind, name] = repository
    return answer({"url": url, "name": name, "id": name})


@route("GET", "/api/{kind}/{name}")
def describe(request: Request, kind: str, name: str) -> Answer:
    """Describe a repository as it is now."""
    return describe_revision(request, kind, name, "main")


@route("GET", "/api/{kind}/{name}/revision/{revision}")
def describe_revision(request: Request, kind: str, name: str, revision: str) -> Answer:
    """Describe a repository at a revision."""
    repository = request.read(kind, name)
    commit = repository.find(revision)
    return answer(
        {
            "id": name,
            "sha": commit.sha,
            "lastModified": DATE,
            "private": repository.private,
            "gated": "manual" if repository.gated else False,
            "sdk": repository.sdk,
            "siblings": [{"rfilename": path} for path in commit.files],
        }
    )


@route("GET", "/api/{kind}/{name}/refs")
def list_references(request: Request, kind: str, name: str) -> Answer:
    """List branches and tags."""
    repository = request.read(kind, name)
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head.sha}
    tags = [
        {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": sha}
        for tag, sha in repository.tags.items()
    ]
    return answer({"branches": [main], "converts": [], "tags": tags, "pullRequests": []})


@route("POST", "/api/{kind}/{name}/tag/{revision}")
def create_tag(request: Request, kind: str, name: str, revision: str) -> Answer:
    """Name a commit."""
    repository = request.write(kind, name)
    repository.tags[request.json()["tag"]] = repository.find(revision).sha
    return answer({})


@route("GET", "/api/spaces/{name}/variables")
def list_variables(request: Request, name: str) -> Answer:
    """List the public variables of a Space."""
    variables = request.read("spaces", name).variables
    return answer({key: {"key": key, "value": value} for key, value in variables.items()})


@route("POST", "/api/spaces/{name}/variables")
def add_variable(request: Request, name: str) -> Answer:
    """Set a variable of a Space."""
    data = request.json()
    request.write("spaces", name).variables[data["key"]] = data["value"]
    return list_variables(request, name)


# Files


def describe_tree(commit: Commit) -> dict[str, dict]:
    """Return the entries of all files and folders of a commit by path."""
    entries = {}
    for path, content in commit.files.items():
        for folder in map(str, PurePosixPath(path).parents[:-1]):
            tree = git_oid(folder.encode())
            entries[folder] = {"type": "directory", "path": folder, "size": 0, "oid": tree}
        file = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
        if is_large(path, len(content)):
            file["lfs"] = {"oid": oid(path, content), "size": len(content), "pointerSize": 130}
        entries[path] = file
    return dict(sorted(entries.items()))


@route("GET", "/api/{kind}/{name}/tree/{revision}")
def list_root(request: Request, kind: str, name: str, revision: str) -> Answer:
    """List the root folder of a repository."""
    return list_folder(request, kind, name, revision, "")


@route("GET", "/api/{kind}/{name}/tree/{revision}/{path}")
def list_folder(request: Request, kind: str, name: str, revision: str, path: str) -> Answer:
    """List a folder, recursively on request, in one answer."""
    commit = request.read(kind, name).find(revision)
    prefix = f"{path}/" if path else ""
    deep = request.query.get("recursive", "").lower() in ("true", "1")
    entries = [
        entry
        for entry in describe_tree(commit).values()
        if entry["path"].startswith(prefix) and (deep or "/" not in entry["path"][len(prefix) :])
    ]
    if path and not entries:
        raise HubError(404, f"{path} does not exist on {revision}", "EntryNotFound")
    return answer(entries)


@route("POST", "/api/{kind}/{name}/paths-info/{revision}")
def list_paths(request: Request, kind: str, name: str, revision: str) -> Answer:
    """Describe those paths of a form that exist."""
    entries = describe_tree(request.read(kind, name).find(revision))
    paths = parse_qs(request.body.decode()).get("paths", [])
    return answer([entries[path] for path in paths if path in entries])


@route("GET", "/{prefix}{name}/resolve/{revision}/{path}")
def download(request: Request, prefix: str, name: str, revision: str, path: str) -> Answer:
    """Send a file, or the requested part of it, without the Hub's redirect for LFS."""
    repository = request.read(prefix.strip("/") or "models", name)
    commit = repository.find(revision)
    if repository.gated and request.visitor != name.split("/")[0]:
        raise HubError(403, f"Access to {name} is restricted.", "GatedRepo")
    if path not in commit.files:
        missing = HubError(404, "Entry not found", "EntryNotFound")
        missing.answer.headers["X-Repo-Commit"] = commit.sha
        raise missing
    stored = commit.files[path]
    content = request.hub.corrupt.get(path, stored)
    headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{oid(path, stored)}"'}
    byte_range = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    if byte_range is None:
        return Answer(200, content, headers)
    part = content[int(byte_range[1]) : int(byte_range[2] or len(content)) + 1]
    end = int(byte_range[1]) + len(part) - 1
    headers["Content-Range"] = f"bytes {byte_range[1]}-{end}/{len(content)}"
    return Answer(206, part, headers)


# Uploads


@route("POST", "/api/{kind}/{name}/preupload/{revision}")
def choose_upload(request: Request, kind: str, name: str, revision: str) -> Answer:
    """Answer how to send each file, and what is stored under its path now."""
    stored = request.write(kind, name).find(revision).files
    files = []
    for file in request.json()["files"]:
        path = file["path"]
        mode = "lfs" if is_large(path, file["size"]) else "regular"
        entry = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in stored:
            entry["oid"] = oid(path, stored[path])
        files.append(entry)
    return answer({"files": files})


@route("POST", "/{prefix}{name}.git/info/lfs/objects/batch")
def link_uploads(request: Request, prefix: str, name: str) -> Answer:
    """Give a signed link for each LFS object that is not stored yet."""
    kind = prefix.strip("/") or "models"
    repository = request.write(kind, name)
    objects = []
    for item in request.json()["objects"]:
        entry = {"oid": item["oid"], "size": item["size"], "authenticated": True}
        if item["oid"] not in repository.objects:
            path = f"/storage/{kind}/{name}/{item['oid']}"
            link = f"{request.hub.endpoint}{path}?X-Amz-Signature={SIGNATURE}"
            entry["actions"] = {"upload": {"href": link}}
        objects.append(entry)
    return answer({"transfer": "basic", "objects": objects})


@route("PUT", "/storage/{kind}/{name}/{sha256}")
def store_upload(request: Request, kind: str, name: str, sha256: str) -> Answer:
    """Store an LFS object; the signature replaces the token, as in links to S3."""
    hub = request.hub
    if request.query.get("X-Amz-Signature") != SIGNATURE:
        raise HubError(403, "SignatureDoesNotMatch")
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise HubError(400, "BadDigest")
    hub.repositories[KINDS[kind], name].objects[sha256] = request.body
    hub.uploads.append(sha256)
    hub.doomed = len(hub.uploads) == hub.stop_after_uploads
    return Answer(200, b"", {"ETag": f'"{sha256}"'})


@route("POST", "/api/{kind}/{name}/commit/{revision}")
def commit_changes(request: Request, kind: str, name: str, revision: str) -> Answer:
    """Apply the operations of a commit, one per line after its header."""
    repository = request.write(kind, name)
    header, *operations = [json.loads(line) for line in request.body.splitlines() if line]
    files = dict(repository.files)
    for operation in operations:
        apply(repository, files, operation["key"], operation["value"])
    commit = repository.commit(header["value"]["summary"], files)
    url = f"{request.hub.endpoint}/{PREFIXES[repository.kind]}{name}/commit/{commit.sha}"
    return answer({"success": True, "commitOid": commit.sha, "commitUrl": url, "hookOutput": ""})


def apply(repository: Repository, files: dict[str, bytes], key: str, value: dict) -> None:
    """Apply one operation of a commit to the files of its parent."""
    path = value["path"]
    if key == "file":
        files[path] = base64.b64decode(value["content"], validate=True)
    elif key == "lfsFile":
        if value["oid"] not in repository.objects:
            raise HubError(400, f"An LFS pointer pointed to a file that does not exist: {path}")
        files[path] = repository.objects[value["oid"]]
    elif key == "deletedFile" and path in files:
        del files[path]
    else:
        raise HubError(400, f"Cannot {key} {path}")


# Cards


@route("POST", "/api/validate-yaml")
def validate_card(request: Request) -> Answer:
    """Check the front matter of a README; the client also asks this without a token."""
    problems = check_card(request.json()["content"])
    if not problems:
        return answer({"errors": [], "warnings": []})
    text = "\n".join(f"- Error: {problem}" for problem in problems)
    return Answer(400, text.encode(), {"Content-Type": "text/plain"})


def check_card(content: str) -> list[str]:
    """Return what is wrong with the front matter of a README."""
    match = FRONT_MATTER.search(content)
    if match is None:
        return []
    try:
        card = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"Invalid YAML: {error}"]
    if not isinstance(card, dict):
        return ["the metadata must be a mapping"]
    problems = []
    if card.get("license", "other") not in LICENSES:
        problems.append(f'"license" must be one of [{", ".join(LICENSES)}]')
    results = [result for model in card.get("model-index") or [] for result in model["results"]]
    for metric in (metric for result in results for metric in result["metrics"]):
        if not (isinstance(metric["value"], int | float) and math.isfinite(metric["value"])):
            problems.append(f'the value of "{metric["type"]}" must be a number')
    return problems


# The server


class _Server(ThreadingHTTPServer):
    """A server that can die, as it keeps track of open connections."""

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
        """Ignore broken connections: clients end, and so does the server."""

    def die(self) -> None:
        """Refuse new connections and cut the open ones."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """Return the class that reads the requests to a Hub and writes its answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # keep-alive: every answer states its length
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self._read()  # first, or unread bytes would pass for the next request
            with hub.lock:
                if not hub.serves(self.server):
                    self.close_connection = True
                    return
                response = _answer(hub, self.command, self.path, self.headers, body)
                dies = hub.doomed
            self._send(response)
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
