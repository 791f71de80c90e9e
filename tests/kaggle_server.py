"""A loopback server that answers the requests of `kagglehub` for a dataset.

The client reaches it as a proxy, which environment variables alone set up. Kaggle's own test
address, `KAGGLE_API_ENVIRONMENT=TEST`, will not do: it has one fixed port, and with it the client
prints every request, token included, and reads a whole answer before it writes any of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERVICE = "http://localhost/api/v1/datasets.DatasetApiService"
API = f"{SERVICE}/DownloadDataset"
STORAGE = "http://storage.googleapis.com/kaggle-data-sets/archive.zip"
ASKED = {
    "ownerSlug": "ciplab",
    "datasetSlug": "real-and-fake-face-detection",
    "datasetVersionNumber": 1,
}


def proxy_environment(port: int) -> dict[str, str]:
    """Return the environment in which `kagglehub` sends every call to a port of this machine."""
    # `no_proxy` must not exclude localhost, the address of this API environment.
    bypass = {"no_proxy": "", "NO_PROXY": ""}
    return {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": f"http://127.0.0.1:{port}",
        **bypass,
    }


@dataclass
class KaggleServer:
    """What the server answers and what it was asked; tests may change the answers between runs.

    Attributes:
        archive: the dataset's archive.
        asked: the only dataset that exists, as a request for its archive names it.
        accepted: the only accepted `Authorization` header; `None` accepts all.
        status: status of the API's answer; 200 leads to the archive.
        cut: number of bytes of the archive after which the connection is closed.
        checked: content whose MD5 sum the storage sends; `None` sends none.
        ranges: the `Range` header of every request for the archive.
        environment: variables that send `kagglehub` to this server.
    """

    archive: bytes = b""
    asked: dict[str, object] = field(default_factory=lambda: dict(ASKED))
    accepted: str | None = None
    status: int = 200
    cut: int | None = None
    checked: bytes | None = None
    ranges: list[str | None] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


class Handler(BaseHTTPRequestHandler):
    """Answers one request as a `KaggleServer` says."""

    def __init__(self, kaggle: KaggleServer, *arguments: object) -> None:
        self._kaggle = kaggle
        super().__init__(*arguments)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self._kaggle.status
        if self._kaggle.accepted not in (None, self.headers["Authorization"]):
            status = 401
        elif status == 200 and self._asks_version(request):
            version = {"currentVersionNumber": self._kaggle.asked["datasetVersionNumber"]}
            return self._send_json(200, version)
        elif (self.path, request) != (API, self._kaggle.asked):
            status = 404
        if status == 200:
            return self._send(302, b"", {"Location": STORAGE})
        # Kaggle's message may repeat what it was sent, so none of it may get through.
        problem = f"Refused {self.headers['Authorization']}"
        return self._send_json(status, {"code": status, "message": problem})

    def do_GET(self) -> None:
        if self.path != STORAGE or "Authorization" in self.headers:
            return self._send(400, b"", {})
        byte_range = self.headers["Range"]
        self._kaggle.ranges.append(byte_range)
        start = int(byte_range.removeprefix("bytes=").removesuffix("-")) if byte_range else 0
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/zip"}
        if self._kaggle.checked is not None:
            digest = hashlib.md5(self._kaggle.checked, usedforsecurity=False).digest()
            headers["X-Goog-Hash"] = f"md5={base64.b64encode(digest).decode()}"
        return self._send(206 if byte_range else 200, self._kaggle.archive[start:], headers)

    def _asks_version(self, asked: dict[str, object]) -> bool:
        dataset = {k: v for k, v in self._kaggle.asked.items() if k != "datasetVersionNumber"}
        return (self.path, asked) == (f"{SERVICE}/GetDataset", dataset)

    def _send_json(self, status: int, answer: dict[str, object]) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self._kaggle.cut])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def serve_kaggle() -> Iterator[KaggleServer]:
    """Run a server on a free port; yield its state."""
    kaggle = KaggleServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, kaggle))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    kaggle.environment = proxy_environment(server.server_port)
    try:
        yield kaggle
    finally:
        server.shutdown()
        server.server_close()
