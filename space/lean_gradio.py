"""Import Gradio in half the time.

Gradio parses the source of each of its component classes and renders a stub file for editors, which
takes 2 of the 4 s of CPU time of its import (version 6.31). A class whose source file is unknown
gets no stub, so this module hides the source files while it imports Gradio. The patch affects the
whole process: import this module before other threads start.
"""

from __future__ import annotations

import inspect

_getfile = inspect.getfile


def _getfile_outside_gradio(thing: object) -> str:
    """Return the file of an object, but fail for Gradio's classes.

    The error is the one that `inspect.getfile` raises for a class typed into a shell.
    """
    if (getattr(thing, "__module__", None) or "").startswith("gradio."):
        raise OSError("source code not available")
    return _getfile(thing)


inspect.getfile = _getfile_outside_gradio
try:
    import gradio as gr
finally:
    inspect.getfile = _getfile

__all__ = ["gr"]
