"""Gradio, imported in half of the time.

Whenever a component's class is made, Gradio parses its source and renders a stub file for editors:
2 of the 4 s of CPU that its import takes (version 6.31). A class whose file is not known gets no
stub, so while Gradio is imported its classes have none. That holds for the whole process: import
this before there are other threads.
"""

from __future__ import annotations

import inspect

_getfile = inspect.getfile


def _getfile_outside_gradio(thing: object) -> str:
    """Do as `inspect.getfile`, which fails so for a class that was typed into a shell."""
    if (getattr(thing, "__module__", None) or "").startswith("gradio."):
        raise OSError("source code not available")
    return _getfile(thing)


inspect.getfile = _getfile_outside_gradio
try:
    import gradio as gr
finally:
    inspect.getfile = _getfile

__all__ = ["gr"]
