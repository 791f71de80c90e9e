"""Send damaged files and malformed calls to a page, over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import requests

from tests.fuzz.harness import Report, case
from tests.fuzz.samples import CLIPS, KINDS

META = {"_type": "gradio.FileData"}
ENDPOINTS = {"judge_photo": 2, "judge_photos": 2, "judge_video": 1}  # number of inputs of each
# Values that no endpoint accepts, or that are only half of an input.
ODD = (None, True, 0, -1.5, "", "x", "\0", "\ud800", [], {}, [None], [[]], {"path": None})
ODD += ({"path": 5}, {"path": "a\0b"}, {"path": "/etc/passwd"}, {"path": "", "meta": META})
ODD += ({"path": "x", "orig_name": 5, "meta": META}, {"meta": META}, {"path": ["x"], "meta": META})
PATIENCE = 120  # s


class Api:
    """A client of a running page.

    Args:
        address: base URL of the page.
        log: file with the output of the page's server.
    """

    def __init__(self, address: str, log: Path) -> None:
        self._address = f"{address.rstrip('/')}/gradio_api"
        self._log, self._read = log, 0

    def run(self, seed: int, number: int, report: Report) -> None:
        """Send one damaged file and one malformed call; add their outcomes to the report."""
        kind = KINDS[number % len(KINDS)]
        content = case(kind, seed, number)
        endpoint = "judge_video" if kind in CLIPS else "judge_photo"
        name = f".{number}.{kind}"
        report.add(
            f"api {kind}", self._outcome(lambda: self._send(endpoint, name, content)), content
        )
        rng = np.random.default_rng([seed, number])
        odd_endpoint = list(ENDPOINTS)[number % len(ENDPOINTS)]
        call = [_odd(rng) for _ in range(ENDPOINTS[odd_endpoint] + rng.integers(-1, 2))]
        text = json.dumps([odd_endpoint, call]).encode()
        report.add("api call", self._outcome(lambda: self._ask(odd_endpoint, call)), text)

    def _outcome(self, send: Callable[[], str]) -> str:
        try:
            outcome = send()
        except requests.Timeout:
            outcome = "hang"
        except requests.ConnectionError:
            outcome = "crash"
        log = self._log.read_text(errors="replace")
        new, self._read = log[self._read :], len(log)
        return "traceback" if "Traceback" in new else outcome

    def _send(self, endpoint: str, name: str, content: bytes) -> str:
        """Upload a file and have it judged; return the outcome."""
        files = {"files": (name, content)}
        response = requests.post(f"{self._address}/upload", files=files, timeout=PATIENCE)
        if response.status_code != 200:
            return f"status: {response.status_code} {response.text}"
        uploaded = {"path": response.json()[0], "meta": META}
        return self._ask(endpoint, [uploaded, False][: ENDPOINTS[endpoint]])

    def _ask(self, endpoint: str, data: list) -> str:
        address = f"{self._address}/call/{endpoint}"
        response = requests.post(address, json={"data": data}, timeout=PATIENCE)
        if response.status_code != 200:
            message = response.status_code in (400, 422) and response.text
            return "refused" if message else f"status: {response.status_code} {response.text}"
        event = response.json()["event_id"]
        lines = requests.get(f"{address}/{event}", timeout=PATIENCE).text.split("\n")
        # Heartbeats precede an answer that takes long.
        kind, data = [line for line in lines if line][-2:]
        answer = json.loads(data.removeprefix("data: "))
        if kind == "event: error":
            return "refused" if answer["error"] else "silent"
        answers = answer[0] if isinstance(answer[0], list) else answer
        return "judged" if all(map(_is_answer, answers)) else f"answer: {answer}"


def _odd(rng: np.random.Generator) -> object:
    value = ODD[rng.integers(len(ODD))]
    return [value, ODD[rng.integers(len(ODD))]] if rng.random() < 0.2 else value


def _is_answer(answer: dict) -> bool:
    return bool(answer.get("error")) or "faces" in answer or "people" in answer
