"""Write reports: self-contained HTML files that print well."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

if __package__:
    from .about import broken_promise, figures_table, trained_on
    from .detector import Detector
else:
    from about import broken_promise, figures_table, trained_on
    from detector import Detector

STYLE = Path(__file__).with_name("style.css")
# What a score depends on besides the model.
PACKAGES = ("ai-edge-litert", "av", "numpy", "opencv-python-headless", "pillow", "pillow-heif")


def report(
    judged: str, files: Sequence[tuple[str, str]], detector: Detector, finder_name: str
) -> str:
    """Return an answer as an HTML document to hand on: one file, without scripts.

    Args:
        judged: the answer, as HTML.
        files: name and SHA-256 of each file that was judged; several may have the same name.
        detector: judged them.
        finder_name: name of the face finder.
    """
    facts = {
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Model": f"{detector.name}, {detector.config.variant}",
        "SHA-256 of the model": detector.config.sha256,
        "Faces found by": finder_name,
        "Computed with": ", ".join(_versions()),
    }
    rows = "".join(map(_row, facts, facts.values()))
    rows += "".join(_row(f"SHA-256 of {name}", digest) for name, digest in files)
    title = files[0][0] if len(files) == 1 else f"{len(files)} files"
    # Nobody can click on paper: sections that are folded on the page are open here.
    judged = judged.replace("<details", "<details open")
    style = STYLE.read_text(encoding="utf-8")
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>Report: {escape(title)}</title><style>{style}</style></head>"
        f"<body class='report'><h1>Deepfake face detector: report</h1>{judged}"
        f"<section class='about'><h2>Limits</h2>{trained_on(detector.config)}"
        f"{broken_promise(detector.config)}{figures_table(detector.config)}"
        f"<h2>What was judged, and by what</h2><table>{rows}</table></section></body></html>"
    )


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_link(text: str, name: str, content: str, kind: str) -> str:
    """Return a link that saves content embedded in the page.

    Args:
        text: of the link.
        name: of the file that is saved.
        content: of that file.
        kind: its MIME type.
    """
    data = base64.b64encode(content.encode()).decode()
    return (
        f'<a class="download" download="{escape(name)}" href="data:{kind};base64,{data}">'
        f"{escape(text)}</a>"
    )


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):  # its modules are from a package of another name
            yield f"{name} {version(name)}"


def _row(name: str, value: str) -> str:
    return f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>"
