import asyncio
import json
from pathlib import Path

import pytest
from gradio.utils import get_upload_folder

from space.guard import MAX_CALL, RefuseAddresses, uploaded_path
from space.photos import PhotoError

CALL = "/gradio_api/call/judge_photo"


def status(body: bytes, path: str = CALL, method: str = "POST") -> int:
    """Return the status that a call gets; the page behind the guard answers with 200."""
    sent: list[dict] = []
    parts = [body[:10], body[10:]]  # as a slow caller sends it

    async def page(scope, receive, send) -> None:
        received = b""
        while True:
            message = await receive()
            received += message["body"]
            if not message["more_body"]:
                break
        assert received == body
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> dict:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path}
    asyncio.run(RefuseAddresses(page)(scope, receive, send))
    return sent[0]["status"]


def call(*data: object) -> bytes:
    return json.dumps({"data": data}).encode()


def test_calls_with_uploads_pass():
    assert status(call({"path": "/tmp/gradio/a/face.jpg", "url": "http://x/face.jpg"}, True)) == 200
    assert status(call("https://example.com is no path here")) == 200
    assert status(b"no JSON at all") == 200


@pytest.mark.parametrize(
    "data",
    [
        {"path": "http://10.0.0.1/face.jpg"},
        {"path": "HTTPS://example.com/face.jpg", "meta": {"_type": "gradio.FileData"}},
        {"path": "file:///etc/passwd"},
        [{"path": "/tmp/gradio/a/face.jpg"}, {"path": "ftp://example.com/face.jpg"}],
        {"image": {"deep": [{"path": "http://example.com"}]}},
    ],
)
def test_calls_with_addresses_are_refused(data):
    assert status(call(data)) == 400


def test_calls_that_are_too_large_or_too_deep_are_refused():
    assert status(call("x" * MAX_CALL)) == 400
    assert status(b'{"data": ' + b"[" * 200_000 + b"]" * 200_000 + b"}") == 400


def test_everything_else_passes_untouched():
    body = call({"path": "http://example.com/face.jpg"})
    assert status(body, path="/gradio_api/upload") == 200
    assert status(body, method="PUT") == 200


@pytest.mark.parametrize(
    "file",
    [
        *(None, "", "/etc/passwd", {}, {"path": None}, {"path": 1}),
        *({"path": path} for path in ("/etc/passwd", "a\0b", "\ud800", "x/" * 5000)),
    ],
)
def test_only_uploaded_files_have_a_path(file):
    with pytest.raises(PhotoError, match=r"`photo`.* upload"):
        uploaded_path(file, "photo")


def test_uploaded_files_have_one():
    path = str(Path(get_upload_folder()) / "a" / "face.jpg")
    assert uploaded_path({"path": path}, "photo") == path
    with pytest.raises(PhotoError):
        uploaded_path({"path": f"{get_upload_folder()}/../face.jpg"}, "photo")


def test_a_call_that_the_page_does_not_understand_is_refused_in_words():
    sent: list[dict] = []

    async def page(scope, receive, send) -> None:
        raise TypeError("no value for `photo`")

    async def receive() -> dict:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CALL}
    asyncio.run(RefuseAddresses(page)(scope, receive, send))
    assert sent[0]["status"] == 400
    assert "input of it is missing" in json.loads(sent[1]["body"])["error"]
