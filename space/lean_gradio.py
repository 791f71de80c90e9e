"""Gradio, imported in about half of the time.

Whenever a component's class is made, Gradio parses its source and renders a stub file for editors.
That is nearly half of what its import takes, and a page has no editor. A class whose file is not
known gets no stub, so while Gradio is imported its classes have none. That holds for the whole
process: import this before there are other threads.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _files_unknown(package: str) -> Iterator[None]:
    """Make `inspect.getfile` fail for what is defined in a package, as for a class typed into a
    shell."""
    getfile = inspect.getfile

    def unless_of_package(thing: object) -> str:
        if (getattr(thing, "__module__", None) or "").startswith(f"{package}."):
            raise OSError("source code not available")
        return getfile(thing)

    inspect.getfile = unless_of_package
    try:
        yield
    finally:
        inspect.getfile = getfile


with _files_unknown("gradio"):
    import gradio as gr


def spare_matplotlib() -> None:
    """Make Matplotlib seem not to be installed, as in a Space, for the rest of the process.

    Where it is installed, as beside `training`, Gradio imports it when it is first asked anything,
    for plots that a page might draw. Ours draws none, and its first visitor would wait for that.
    """
    sys.modules.setdefault("matplotlib", None)


__all__ = ["gr", "spare_matplotlib"]
