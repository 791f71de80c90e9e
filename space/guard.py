"""Restrict callers of the page to what they uploaded: no file of this machine, no address.

Gradio checks only the paths that callers mark as files, and it downloads from an address that is
given as a path. The page needs neither other paths nor addresses.
"""

from __future__ import annotations

import json
import logging

from pydantic import ValidationError

if __package__:
    from .lean_gradio import gr
    from .photos import PhotoError
else:
    from lean_gradio import gr
    from photos import PhotoError

log = logging.getLogger(__name__)
CALLS = ("/gradio_api/queue/join", "/gradio_api/call/", "/gradio_api/run/", "/gradio_api/api/")
MAX_CALL = 5_000_000  # bytes; files are uploaded first, and a call only names them
_UPLOAD = "upload it first, and send an object with the `path` that the upload returned."


def uploaded_path(file: object, name: str) -> str:
    """Return the path of a file that was uploaded to this page.

    Args:
        file: what gradio passes on: a dict with a `path`.
        name: what the caller calls it.

    Raises:
        PhotoError: it is not a file, or its path leads elsewhere.
    """
    if not isinstance(file, dict):
        raise PhotoError(
            f"`{name}` is {json_type(file)} and no file: upload one, and send an object with the "
            "`path` that the upload returned."
        )
    path = file.get("path")
    if not isinstance(path, str):
        raise PhotoError(
            f"The `path` of `{name}` is {json_type(path)}: send the text that the upload returned."
        )
    if not _is_upload(path):
        raise PhotoError(f"`{name}` was not uploaded to this page: upload it first.")
    return path


def _is_upload(path: str) -> bool:
    try:
        return gr.utils.is_in_or_equal(path, gr.utils.get_upload_folder())
    except (ValueError, OSError):  # not a valid path: a null byte, half a surrogate pair, too long
        return False


def json_type(value: object) -> str:
    """Return the JSON type of a value, in words."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "text"}
    return kinds.get(type(value), "a list" if isinstance(value, list | tuple) else "an object")


class Page(gr.Blocks):
    """Blocks that answer an invalid call with a message, without a traceback."""

    def validate_inputs(self, block_fn, inputs: list) -> None:
        """Raise `gradio.Error` where a call has too few inputs."""
        if len(inputs) < len(block_fn.inputs):
            raise _refusal(
                f"The call has {len(inputs)} of the {len(block_fn.inputs)} inputs that it needs: "
                "`/gradio_api/info` tells which."
            )

    async def preprocess_data(self, *arguments, **options) -> list:
        """Take a call's inputs.

        Raises:
            gradio.Error: they are not what the endpoint takes.
        """
        try:
            return await super().preprocess_data(*arguments, **options)
        except gr.Error:
            raise
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise _refusal(f"`{where}` of a file has a wrong type: {_UPLOAD}") from error
        except Exception as error:  # gradio has several, for paths and for types
            raise _refusal(f"A file of the call was not uploaded here: {_UPLOAD}") from error

    async def process_api(self, *arguments, **options) -> dict:
        """Answer a call.

        Raises:
            gradio.Error: it is wrong, or something here is.
        """
        try:
            return await super().process_api(*arguments, **options)
        except gr.Error:
            raise
        except Exception as error:  # a mistake of this program: its traceback is printed
            text = f"Something is wrong with this page ({type(error).__name__}): try another file."
            raise gr.Error(text) from error


def _refusal(text: str) -> gr.Error:
    return gr.Error(text, title="This call cannot be answered", print_exception=False)


class RefuseAddresses:
    """ASGI middleware that answers 400 to a call that names an address in place of a file, or that
    gradio does not understand."""

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
            await _refuse(send, "Upload the file first; nothing is fetched from addresses.")
            return
        sent = started = False

        async def receive_again() -> dict:
            nonlocal sent
            if sent:
                return await receive()  # waits for the caller to hang up
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def note_start(message: dict) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive_again, note_start)
        except Exception as error:  # an endpoint does not exist, or an input has no value
            if started:
                raise
            log.warning("A call to %s was refused: %r", scope["path"], error)
            await _refuse(send, "There is no such endpoint, or an input of it is missing.")


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
        return False  # not JSON: gradio refuses it
    except RecursionError:
        return True
    return any(isinstance(path, str) and "://" in path for path in paths)


async def _refuse(send, text: str) -> None:
    body = json.dumps({"error": text})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
