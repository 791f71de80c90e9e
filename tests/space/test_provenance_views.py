"""How the page shows what a file says about itself."""

from __future__ import annotations

import pytest

from space.findings import Claim, Finding, Kind, Trust
from space.provenance import Provenance, read
from space.provenance_views import conflict, provenance_html
from tests.drawing import draw_face
from tests.space.test_provenance import as_file, with_preview


def saying(claim: Claim, trust: Trust) -> Provenance:
    return Provenance((Finding(Kind.ORIGIN, "A sentence.", "raw text", trust, "XMP", claim),))


@pytest.mark.parametrize(
    ("claim", "trust", "words"),
    [
        (Claim.AI, Trust.SIGNED, "Signed: made by AI."),
        (Claim.AI, Trust.UNKNOWN_SIGNER, "somebody who is not known here: made by AI."),
        (Claim.EDITED, Trust.ANYBODY, "edited. Anybody can write such notes."),
        (Claim.CAMERA, Trust.INVALID, "taken by a camera. Its signature is not valid."),
    ],
)
def test_the_headline_tells_how_far_to_trust_what_is_said(claim, trust, words):
    html = provenance_html(saying(claim, trust))
    assert words in html
    assert "not part of the model's answer" in html
    assert f'<span class="trust">{trust}</span>' in html
    assert "raw text" in html


def test_silence_is_no_evidence():
    html = provenance_html(read(as_file(draw_face(1), "WEBP")))
    assert "does not say how it was made. Most files do not: that is no evidence" in html
    assert "The file carries no Content Credentials" in html
    assert "<summary>Details of the file</summary>" in html  # what is absent does not count
    html = provenance_html(read(as_file(draw_face(1), "JPEG")))
    assert "<summary>Details of the file (1)</summary>" in html  # its encoding


@pytest.mark.parametrize(
    ("claim", "trust", "verdict", "shown"),
    [
        (Claim.AI, Trust.SIGNED, "real", True),
        (Claim.PARTLY_AI, Trust.ANYBODY, "real", True),
        (Claim.AI, Trust.INVALID, "real", False),
        (Claim.AI, Trust.SIGNED, "fake", False),
        (Claim.AI, Trust.SIGNED, "inconclusive", False),
        (Claim.CAMERA, Trust.SIGNED, "fake", True),
        (Claim.CAMERA, Trust.ANYBODY, "fake", False),
        (Claim.EDITED, Trust.SIGNED, "real", False),
    ],
)
def test_a_contradiction_is_shown_and_not_resolved(claim, trust, verdict, shown):
    found = saying(claim, trust)
    assert bool(conflict(found, [verdict])) == shown
    assert ("Neither overrules the other" in provenance_html(found, [verdict])) == shown


def test_a_contradiction_quotes_the_page_in_its_own_words():
    assert "the model says “no signs found”" in conflict(saying(Claim.AI, Trust.SIGNED), ["real"])
    camera = saying(Claim.CAMERA, Trust.SIGNED)
    assert "the model says “signs of manipulation”" in conflict(camera, ["fake"])


def test_the_most_credible_statement_comes_first():
    note = Finding(Kind.GENERATOR, "Note.", claim=Claim.AI)
    signed = Finding(Kind.ORIGIN, "Signed.", trust=Trust.SIGNED, claim=Claim.CAMERA)
    stranger = Finding(Kind.ORIGIN, "Stranger.", trust=Trust.UNKNOWN_SIGNER, claim=Claim.CAMERA)
    broken = Finding(Kind.ORIGIN, "Broken.", trust=Trust.INVALID, claim=Claim.AI)
    assert Provenance((note, signed)).statement == signed
    assert Provenance((stranger, note)).statement == note  # a stranger can sign in any name
    assert Provenance((broken, note)).statement == note
    assert Provenance((broken,)).statement == broken


def test_an_old_preview_stands_beside_the_photo():
    before, after = draw_face(3, 480), draw_face(12, 480, tinted=True)
    html = provenance_html(read(with_preview(after, before.resize((160, 160)))))
    assert html.count("<img") == 2
    assert "<strong>The preview in the file does not match the photo" in html
    assert "<figcaption>preview</figcaption>" in html
