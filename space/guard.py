"""Keep callers of the page to what they uploaded: no file of this machine, no address.

Gradio checks paths for callers who mark them as files, and downloads what is at an address that
somebody names as a path. The page needs neither.
"""

from __future__ import annotations

import json

if __package__:  # imported by the benchmark
    from .lean_gradio import gr
    from .photos import PhotoError
else:
    from lean_gradio import gr
    from photos import PhotoError

CALLS = ("/gradio_api/queue/join", "/gradio_api/call/", "/gradio_api/run/", "/gradio_api/api/")
MAX_CALL = 5_000_000  # bytes; files are uploaded before, a call only names them


def uploaded_path(file: object) -> str:
    """Return the path of a file that was uploaded to this page.

    Args:
        file: what gradio passes on: a dict with a `path`.

    Raises:
        PhotoError: there is no path, or it leads elsewhere.
    """
    path = file.get("path") if isinstance(file, dict) else None
    if not isinstance(path, str) or not gr.utils.is_in_or_equal(path, gr.utils.get_upload_folder()):
        raise PhotoError("The file was not uploaded to this page: upload it first.")
    return path


class RefuseAddresses:
    """ASGI middleware that answers 400 to a call which names an address in place of a file."""

    def __init__(self, app) -> None:
        self._app = app

    async def __call__(self, scope, receive, send) -> None:
        """Serve one connection."""
        is_call = scope["type"] == "http" and scope["method"] == "POST"
        if not (is_call and scope["path"].startswith(CALLS)):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if len(body) > MAX_CALL or _names_address(body):
            await _refuse(send)
            return
        sent = False

        async def receive_again() -> dict:
            nonlocal sent
            if sent:
                return await receive()  # waits for the caller to hang up
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, receive_again, send)


async def _read(receive) -> bytes:
    body = b""
    while len(body) <= MAX_CALL:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


def _names_address(body: bytes) -> bool:
    paths = []

    def look(item: dict) -> dict:
        paths.append(item.get("path"))
        return item

    try:
        json.loads(body, object_hook=look)
    except ValueError:
        return False  # no JSON: gradio refuses it
    except RecursionError:
        return True
    return any(isinstance(path, str) and "://" in path for path in paths)


async def _refuse(send) -> None:
    body = json.dumps({"error": "Upload the file first; nothing is fetched from addresses."})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
