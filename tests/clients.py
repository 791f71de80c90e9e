"""Programs that ask a server on loopback, run in the process of the tests.

A process of its own takes seconds to import what such a program needs. `call` gives a program the
variables and the output of such a process without one; what it cannot show is that the program
starts at all, so that each has a test that starts it.
"""

from __future__ import annotations

import io
import logging
import runpy
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from huggingface_hub import close_session, constants

CLIENT = ssl.PROTOCOL_TLS_CLIENT
LOGGERS = ("", "huggingface_hub", "kagglehub")  # the last two pass nothing on to the first


def call(
    program: Callable[[], object], environment: Mapping[str, str | None]
) -> subprocess.CompletedProcess:
    """Run a program in this process; return its exit code and all that it printed and logged.

    `huggingface_hub`, which reads its variables when it is imported, reads them anew. Waits take a
    hundredth of their time: the client waits 1 + 2 + 4 + 8 + 8 s for a server that does not answer.

    Args:
        program: returns an exit code or nothing, or ends with `sys.exit`.
        environment: variables by name; `None` for those that are not to be set.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        _read_variables_anew(patch)
        sleep = time.sleep
        patch.setattr(time, "sleep", lambda seconds: sleep(seconds / 100))
        # The servers speak http: no certificates are read, which takes longest of all.
        patch.setattr(ssl, "create_default_context", lambda *_, **__: ssl.SSLContext(CLIENT))
        close_session()
        try:
            with redirect_stdout(out), redirect_stderr(err), _logs_in(err):
                code = program()
        except SystemExit as end:
            code = end.code
        finally:
            close_session()
    if isinstance(code, str):
        print(code, file=err)
        code = 1
    return subprocess.CompletedProcess(program, code or 0, out.getvalue(), err.getvalue())


def _read_variables_anew(patch: pytest.MonkeyPatch) -> None:
    """Give the constants of `huggingface_hub` the values that they get in this environment."""
    for name, value in runpy.run_path(constants.__file__).items():
        if isinstance(value, str | bool | int | float) and not name.startswith("__"):
            patch.setattr(constants, name, value)


@contextmanager
def _logs_in(stream: io.StringIO) -> Iterator[None]:
    """Write into a stream what is logged, as much of it as `python -m training` shows."""
    handler = logging.StreamHandler(stream)
    levels = {name: logging.getLogger(name).level for name in (*LOGGERS, "training")}
    logging.getLogger("training").setLevel(logging.INFO)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
