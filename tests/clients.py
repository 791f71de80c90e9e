"""Run programs that talk to a server on loopback in the process of the tests.

A separate process spends seconds on imports. `call` gives a program its own environment variables
and captures its output without one. It cannot show that the program starts at all, so each program
also has a test that starts it.
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
LOGGERS = ("", "huggingface_hub", "kagglehub")  # the last two do not propagate to the first


def call(
    program: Callable[[], object], environment: Mapping[str, str | None]
) -> subprocess.CompletedProcess:
    """Run a program in this process; return its exit code and everything it printed and logged.

    `huggingface_hub` reads its variables on import; here it reads them again. Sleeps take a
    hundredth of their time: the client waits 1 + 2 + 4 + 8 + 8 s for a server that does not answer.

    Args:
        program: returns an exit code or nothing, or ends with `sys.exit`.
        environment: values of variables by name; `None` unsets a variable.
    """
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        _read_variables_anew(patch)
        sleep = time.sleep
        patch.setattr(time, "sleep", lambda seconds: sleep(seconds / 100))
        # The servers speak http, so this skips reading certificates, the slowest step of all.
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
    """Set the constants of `huggingface_hub` to their values in this environment."""
    for name, value in runpy.run_path(constants.__file__).items():
        if isinstance(value, str | bool | int | float) and not name.startswith("__"):
            patch.setattr(constants, name, value)


@contextmanager
def _logs_in(stream: io.StringIO) -> Iterator[None]:
    """Write log records to a stream, at the levels that `python -m training` shows."""
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
