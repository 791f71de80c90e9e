"""Serve a built page and record what is requested."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class StaticHost:
    """A static host on loopback.

    Attributes:
        address: address of the page.
        requests: requested paths.
    """

    address: str
    requests: list[str] = field(default_factory=list)


@contextmanager
def serve_folder(folder: Path) -> Iterator[StaticHost]:
    """Serve a folder as `python -m http.server` does."""

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            host.requests.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    host = StaticHost(f"http://127.0.0.1:{server.server_port}/")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
