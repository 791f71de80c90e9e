"""A loopback server that answers what `kagglehub` asks when it downloads a dataset.

The client reaches it as a proxy, through its environment alone. Kaggle's own test address,
`KAGGLE_API_ENVIRONMENT=TEST`, will not do: it is one fixed port, and with it the client prints
every request, its token included, and reads an answer whole before it writes any of it.
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
    # `no_proxy` must not spare localhost, which is where this API environment has its address.
    bypass = {"no_proxy": "", "NO_PROXY": ""}
    return {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": f"http://127.0.0.1:{port}",
        **bypass,
    }


@dataclass
class KaggleServer:
    """What the server answers, which a test may change between two runs, and what it was asked.

    Attributes:
        archive: the dataset's archive.
        asked: the only dataset that there is, as a request for its archive names it.
        accepted: value of the only `Authorization` header that is let in; `None` lets all in.
        status: of the API's answer; 200 leads to the archive.
        cut: close the connection after so many bytes of the archive.
        checked: content whose MD5 sum the storage names; `None` names none.
        ranges: the `Range` header of every request for the archive.
        environment: leads `kagglehub` here.
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
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self._kaggle.status
        if self._kaggle.accepted not in (None, self.headers["Authorization"]):
            status = 401
        elif status == 200 and self._asks_version(asked):
            version = {"currentVersionNumber": self._kaggle.asked["datasetVersionNumber"]}
            return self._send_json(200, version)
        elif (self.path, asked) != (API, self._kaggle.asked):
            status = 404
        if status == 200:
            return self._send(302, b"", {"Location": STORAGE})
        # Kaggle's own words may name what it was sent: none of them may get through.
        problem = f"Refused {self.headers['Authorization']}"
        return self._send_json(status, {"code": status, "message": problem})

    def do_GET(self) -> None:
        if self.path != STORAGE or "Authorization" in self.headers:
            return self._send(400, b"", {})
        wanted = self.headers["Range"]
        self._kaggle.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/zip"}
        if self._kaggle.checked is not None:
            digest = hashlib.md5(self._kaggle.checked, usedforsecurity=False).digest()
            headers["X-Goog-Hash"] = f"md5={base64.b64encode(digest).decode()}"
        return self._send(206 if wanted else 200, self._kaggle.archive[start:], headers)

    def _asks_version(self, asked: dict[str, object]) -> bool:
        named = {k: v for k, v in self._kaggle.asked.items() if k != "datasetVersionNumber"}
        return (self.path, asked) == (f"{SERVICE}/GetDataset", named)

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
    """Run a server on a free port; yield what it answers."""
    kaggle = KaggleServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, kaggle))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    kaggle.environment = proxy_environment(server.server_port)
    try:
        yield kaggle
    finally:
        server.shutdown()
        server.server_close()
