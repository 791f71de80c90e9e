"""Measure the page in the visitor's browser: `python -m training.lab.benchmark_browser PAGE`.

`PAGE` is a folder that `python -m training web PAGE` wrote. Chromium opens it from a local server,
first with an empty cache, then with a filled one, and judges photos of one megapixel in sequence.
They show the page's example faces in turn; faces that score near a threshold get a second look.
The download, the times and the resident memory of the page's process are printed as JSON. Chromium
keeps decoded pictures until memory is short, so at the end it is told that memory is short.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.lab.benchmark_growth import resident_memory
from training.lab.benchmark_photo import PORTRAIT

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, CDPSession, Page

PHOTOS, EVERY = 200, 20  # photos to judge; memory is read after each `EVERY` of them
SIZE = (1155, 866)  # px: a megapixel
FACE_SIDES = (500, 860)  # px, smallest and largest side of the example face in it
SETTLING = 20  # photos after which memory and times count
WAIT = 300_000  # ms
GIVING_BACK = 3  # s
# Sets a promise of the milliseconds from choosing a file to the page's answer.
WATCH = """() => {
    const status = document.getElementById("status");
    let start = 0;
    addEventListener("change", () => { start = performance.now(); }, { capture: true, once: true });
    window.answer = new Promise((resolve, reject) => {
        const observer = new MutationObserver(() => {
            if (status.classList.contains("error")) reject(new Error(status.textContent));
            else if (!/face/i.test(status.textContent)) return;
            observer.disconnect();
            resolve(performance.now() - start);
        });
        observer.observe(status, { childList: true, attributes: true });
    });
}"""


def measure_page(folder: Path, photos: int = PHOTOS) -> dict[str, object]:
    """Measure a page and return the figures.

    Args:
        folder: the page's folder.
        photos: number of photos to judge, more than `SETTLING`.

    Returns:
        A JSON-compatible dict: `download_megabytes` (size in the folder of all files requested
        until the first answer), `first_answer_seconds` (from opening the page to the answer about
        the first photo; `cold`, and `warm` after an earlier visit), `further_photo_milliseconds`
        (median and largest), `memory_megabytes` by the number of photos judged, and
        `memory_when_short_megabytes` after all of them.

    Raises:
        FileNotFoundError: Chromium is not installed.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise FileNotFoundError("Chromium is not installed: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        paths = write_photos(Path(temporary), photos)
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        with _served(folder) as (address, requested):
            context = browser.new_context()
            cold = _first_answer(context, address, paths[0])
            downloaded = sum(requested.values())
            context.pages[0].evaluate("() => navigator.serviceWorker.ready.then(() => null)")
            context.pages[0].close()
            warm = _first_answer(context, address, paths[0])
            session = browser.new_browser_cdp_session()
            times, memory = _judge_all(session, context.pages[0], paths)
            short = _memory_when_short(session, context.pages[0])
        browser.close()
    settled = times[SETTLING:]
    return {
        "download_megabytes": round(downloaded / 1e6, 2),
        "first_answer_seconds": {"cold": round(cold, 2), "warm": round(warm, 2)},
        "further_photo_milliseconds": {
            "median": round(statistics.median(settled), 1),
            "largest": round(max(settled), 1),
        },
        "memory_megabytes": memory,
        "memory_when_short_megabytes": short,
    }


def write_photos(folder: Path, number: int) -> list[Path]:
    """Write different photos of one megapixel with one face each; return their paths."""
    rng = np.random.default_rng(0)
    faces = [Image.open(path).convert("RGB") for path in sorted(PORTRAIT.parent.glob("*.jpg"))]
    paths = [folder / f"{index}.jpg" for index in range(number)]
    for path, face in zip(paths, cycle(faces), strict=False):
        side = int(rng.integers(*FACE_SIDES))
        photo = Image.new("RGB", SIZE, tuple(rng.integers(60, 200, 3).tolist()))
        left, top = (int(rng.integers(0, room - side + 1)) for room in SIZE)
        photo.paste(face.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        photo.save(path, quality=90)
    return paths


def _first_answer(context: BrowserContext, address: str, photo: Path) -> float:
    """Open the page and have a photo judged; return the seconds that both take."""
    page = context.new_page()
    page.set_default_timeout(WAIT)
    start = time.monotonic()
    page.goto(address)
    page.locator("body.ready").wait_for()
    _choose(page, photo)
    return time.monotonic() - start


def _choose(page: Page, photo: Path) -> float:
    """Have a photo judged; return the milliseconds from choosing it to the answer."""
    page.evaluate(WATCH)
    page.locator("#files").set_input_files(photo)
    return page.evaluate("() => window.answer")


def _judge_all(session: CDPSession, page: Page, paths: list[Path]) -> tuple[list[float], dict]:
    """Have photos judged; return each one's milliseconds, and MB by the number judged so far."""
    times, memory = [], {}
    for number, path in enumerate(paths, start=1):
        times.append(_choose(page, path))
        if number % EVERY == 0 or number == len(paths):
            memory[number] = round(_page_memory(session), 1)
    return times, memory


def _memory_when_short(session: CDPSession, page: Page) -> float:
    """Make Chromium free what it need not keep; return the page's resident memory in MB."""
    pressure = "Memory.simulatePressureNotification"
    page.context.new_cdp_session(page).send(pressure, {"level": "critical"})
    time.sleep(GIVING_BACK)
    return round(_page_memory(session), 1)


def _page_memory(session: CDPSession) -> float:
    """Return the resident memory in MB of the largest process that shows a page."""
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [process["id"] for process in processes if process["type"] == "renderer"]
    return max(resident_memory(pid, peak=False) for pid in pages)


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Serve a folder; yield its address, and the size in bytes of each requested file."""
    requested: dict[str, int] = {}

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            path = Path(self.translate_path(self.path))
            path = path / "index.html" if path.is_dir() else path
            if path.is_file():
                requested[str(path)] = path.stat().st_size

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", requested
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="folder that `python -m training web` wrote")
    parser.add_argument("--photos", type=int, default=PHOTOS, help="that are judged")
    options = parser.parse_args()
    if not (options.page / "index.html").is_file():
        print(f"{options.page} holds no page: `python -m training web {options.page}` makes one.")
        return 2
    if options.photos <= SETTLING:
        print(f"--photos {options.photos} is too few: the first {SETTLING} do not count.")
        return 2
    print(json.dumps(measure_page(options.page, options.photos), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
