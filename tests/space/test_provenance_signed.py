"""Content Credentials: what is signed, by whom, and whether that still holds."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from PIL import Image

from space.credentials import TRUST_ANCHORS
from space.findings import Claim, Finding, Kind, Trust
from space.provenance import Provenance, read
from tests.drawing import draw_face
from tests.signing import (
    CAMERA,
    Identity,
    make_identity,
    sign,
    sign_expired,
    statement,
)
from tests.space.test_provenance import as_file, write_clip


@pytest.fixture(scope="module")
def signer() -> Identity:
    return make_identity()


@pytest.fixture(scope="module")
def photo() -> bytes:
    return as_file(draw_face(1), "JPEG")


@pytest.fixture
def trusted(signer, tmp_path, monkeypatch) -> Path:
    """A trust list that holds the signer's authority."""
    path = tmp_path / "anchors.pem"
    path.write_bytes(signer.anchors)
    monkeypatch.setenv(TRUST_ANCHORS, str(path))
    return path


@pytest.fixture(autouse=True)
def _no_anchors(monkeypatch) -> None:
    monkeypatch.delenv(TRUST_ANCHORS, raising=False)


def of_kind(found: Provenance, kind: Kind) -> Finding:
    return next(finding for finding in found.findings if finding.kind == kind)


@pytest.mark.usefixtures("trusted")
def test_a_trusted_signer_states_that_a_picture_was_made_by_ai(photo, signer):
    found = read(sign(photo, "image/jpeg", signer, statement()))
    signature, origin = of_kind(found, Kind.CREDENTIALS), of_kind(found, Kind.ORIGIN)
    assert signature.trust == origin.trust == Trust.SIGNED
    assert "“Signer” of “Signer Ltd”" in signature.sentence
    assert "“Paint Machine 3”" in signature.sentence
    assert "made by AI" in origin.sentence
    assert found.statement == origin
    assert found.summary == "made by AI (signed)"


def test_without_a_trust_list_no_signer_is_known(photo, signer):
    found = read(sign(photo, "image/jpeg", signer, statement()))
    assert {
        finding.trust for finding in found.findings if finding.source == "Content Credentials"
    } == {Trust.UNKNOWN_SIGNER}
    assert "nobody here knows" in of_kind(found, Kind.CREDENTIALS).sentence


@pytest.mark.usefixtures("trusted")
def test_somebody_who_takes_the_name_of_a_trusted_signer_is_not_trusted(photo):
    found = read(sign(photo, "image/jpeg", make_identity(), statement()))
    assert of_kind(found, Kind.CREDENTIALS).trust == Trust.UNKNOWN_SIGNER


@pytest.mark.usefixtures("trusted")
def test_a_file_that_was_changed_after_it_was_signed_is_not_trusted(photo, signer):
    signed = bytearray(sign(photo, "image/jpeg", signer, statement(CAMERA)))
    signed[-30] ^= 0xFF
    found = read(bytes(signed))
    signature = of_kind(found, Kind.CREDENTIALS)
    assert signature.trust == of_kind(found, Kind.ORIGIN).trust == Trust.INVALID
    assert "changed after it was signed" in signature.sentence
    assert found.summary == "taken by a camera (signature invalid)"


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_had_expired_is_not_trusted(photo, signer):
    found = read(sign_expired(photo, "image/jpeg", signer, statement()))
    signature = of_kind(found, Kind.CREDENTIALS)
    assert signature.trust == Trust.INVALID
    assert "expired" in signature.sentence or "not valid when" in signature.sentence


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_credentials_that_are_cut_off_are_named(photo, signer, share):
    signed = sign(photo, "image/jpeg", signer, statement())
    manifest = len(signed) - len(photo)
    found = read(signed[: int(200 + share * manifest)])
    signature = of_kind(found, Kind.CREDENTIALS)
    assert signature.trust == Trust.INVALID
    assert "cannot be read" in signature.sentence


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\xfe"])
def test_a_trust_list_that_cannot_be_read_trusts_nobody_and_says_so(
    photo, signer, tmp_path, monkeypatch, content
):
    path = tmp_path / "anchors.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(TRUST_ANCHORS, str(path))
    signature = of_kind(read(sign(photo, "image/jpeg", signer, statement())), Kind.CREDENTIALS)
    assert signature.trust == Trust.UNKNOWN_SIGNER
    assert TRUST_ANCHORS in signature.sentence
    assert str(tmp_path) not in signature.sentence


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("format", "kind"),
    [("PNG", "image/png"), ("WEBP", "image/webp"), ("TIFF", "image/tiff"), ("AVIF", "image/avif")],
)
def test_credentials_are_read_in_other_formats(signer, format, kind):
    content = as_file(draw_face(2), format)
    found = read(sign(content, kind, signer, statement()))
    assert found.summary == "made by AI (signed)"


@pytest.mark.usefixtures("trusted")
def test_credentials_of_a_clip_are_read_from_its_path(signer, tmp_path):
    path = write_clip(tmp_path / "clip.mp4")
    path.write_bytes(sign(path.read_bytes(), "video/mp4", signer, statement()))
    assert read(path).summary == "made by AI (signed)"
    assert read(path) == read(path.read_bytes())


@pytest.mark.usefixtures("trusted")
def test_what_a_picture_was_made_from_is_told(photo, signer):
    parent = sign(photo, "image/jpeg", signer, statement())
    editor = {"claim_generator_info": [{"name": "Retouch"}], "title": "b", "assertions": []}
    found = read(sign(photo, "image/jpeg", signer, editor, parent=parent))
    sentences = [finding.sentence for finding in found.findings if finding.kind == Kind.INGREDIENTS]
    assert any("before.jpg" in sentence and "before" in sentence for sentence in sentences)
    assert any("made by AI" in sentence for sentence in sentences)
    assert found.summary == "made with AI in part (signed)"


def test_a_signer_nobody_knows_cannot_vouch_for_another(photo, signer):
    """Whoever signs a picture writes the validation of its ingredients."""
    parent = sign(photo, "image/jpeg", signer, statement(CAMERA))
    editor = {"claim_generator_info": [{"name": "Retouch"}], "title": "b", "assertions": []}
    stranger = make_identity("Stranger")
    content = sign(photo, "image/jpeg", stranger, editor, parent=parent, trust=signer.anchors)
    assert Trust.SIGNED not in {finding.trust for finding in read(content).findings}


@pytest.mark.usefixtures("trusted")
def test_a_trusted_signer_does_not_lend_trust_to_what_went_into_a_picture(photo, signer):
    parent = sign(photo, "image/jpeg", make_identity("Stranger"), statement())
    editor = {"claim_generator_info": [{"name": "Retouch"}], "title": "b", "assertions": []}
    found = read(sign(photo, "image/jpeg", signer, editor, parent=parent))
    assert of_kind(found, Kind.CREDENTIALS).trust == Trust.SIGNED
    partly_ai = next(finding for finding in found.findings if finding.claim == Claim.PARTLY_AI)
    assert partly_ai.trust == Trust.UNKNOWN_SIGNER


def test_a_generator_that_signs_only_its_name_is_recognised(photo, signer):
    generator = {"claim_version": 1, "claim_generator": "ChatGPT"}  # later ones state the origin
    manifest = generator | {"claim_generator_info": [{"name": "ChatGPT"}], "assertions": []}
    found = read(sign(photo, "image/jpeg", signer, manifest))
    assert found.summary == "made by AI (signed, signer unknown)"


def test_nothing_is_fetched(photo, signer, server):
    address, requests = server
    for signed in (
        sign(photo, "image/jpeg", signer, statement(), remote=address),
        sign(photo, "image/jpeg", signer, statement(), remote=address).replace(
            b"c2pa\0", b"c2pb\0"
        ),
    ):
        read(signed)
    assert requests == []


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server, and the list of the paths that were requested from it."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/manifest.c2pa", requests
        server.shutdown()
        thread.join()


def test_a_file_that_only_holds_the_mark_of_credentials_has_none(photo):
    marked = io.BytesIO()
    Image.open(io.BytesIO(photo)).save(
        marked, "JPEG", comment=b"c2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
    )
    assert of_kind(read(marked.getvalue()), Kind.CREDENTIALS).trust == Trust.UNKNOWN
