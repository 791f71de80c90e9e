"""The page as people meet it: in Chromium, driven by Playwright.

The model under it is the bundled one with other thresholds, so that it calls every face fake: what
the page shows must not depend on how good a model is.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import write_portrait_clip
from tests.serving import SPACE, serve_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
AXE = os.environ.get("AXE_CORE")  # path of axe.min.js, out of the npm package axe-core
PORTRAIT = SPACE / "examples/portrait.jpg"
WAIT = 120_000  # ms; a busy machine is slow, a broken page never answers
PHONE, TABLET, DESKTOP = (390, 844), (768, 1024), (1280, 800)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def accuser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that calls every face fake."""
    folder = Path(shutil.copytree(SPACE / "model", tmp_path_factory.mktemp("model") / "accuser"))
    config = json.loads((folder / "detector.json").read_text())
    config["thresholds"] = {"real": 0.0, "fake": 0.0}
    (folder / "detector.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def address(
    space_python: Path, accuser: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    log = tmp_path_factory.mktemp("page") / "log.txt"
    with serve_page(space_python, log, MODEL_ID=str(accuser)) as client:
        yield client.src


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def open_page(
    browser: Browser,
    address: str,
    size: tuple[int, int] = DESKTOP,
    scheme: str = "light",
    query: str = "",
) -> Page:
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page.set_default_timeout(WAIT)
    page.goto(address + query)
    page.get_by_role("tab", name="Photo", exact=True).wait_for()
    return page


def upload(page: Page, kind: str, *files: Path) -> None:
    inputs = page.locator(f"#{kind}-input input[type=file]")
    inputs.last.wait_for(state="attached")
    inputs.last.set_input_files([str(file) for file in files])


def headline(page: Page, kind: str, text: str) -> None:
    expect(page.locator(f"#{kind}-answer .headline")).to_contain_text(text, timeout=WAIT)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = open_page(browser, address)
    yield page
    page.close()


@pytest.mark.parametrize("size", [PHONE, TABLET, DESKTOP])
def test_first_screen_holds_all_that_it_takes_to_begin(browser, address, size):
    page = open_page(browser, address, size)
    page.locator("#example-portrait img").wait_for()
    for selector in (".top h1", ".top p", "#photo-input", "#example-portrait-clip"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1], selector
    assert page.locator(".top p").bounding_box()["width"] > 300  # a line, not a column of words
    assert not re.search(r"\d %|\d%|0\.\d", page.locator("body").inner_text())  # no figures yet
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.close()


def test_photo_gets_a_headline_a_box_and_a_heatmap(page, browser, tmp_path):
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation in this face")
    answer = page.locator("#photo-answer")
    assert answer.locator(".photo img").count() == 1
    assert answer.locator(".photo rect").count() == 1
    assert answer.get_by_text("This is not proof.").count() == 1
    expect(page.locator("#photo-input")).to_be_hidden()  # the picture is shown once
    heat = answer.locator(".photo svg .heat")
    expect(heat).to_have_css("opacity", "0.6")
    box, photo = (answer.locator(f".photo {one}").bounding_box() for one in ("rect", "img"))
    assert photo["x"] < box["x"] < box["x"] + box["width"] < photo["x"] + photo["width"]
    slider = page.get_by_label("Strength")
    slider.fill("0.2")
    expect(heat).to_have_css("opacity", "0.2")
    page.get_by_label("Heatmap").uncheck()
    expect(heat).to_be_hidden()
    expect(page.locator("#said")).to_contain_text("Signs of manipulation")  # told to screen readers
    with page.expect_download() as download:
        page.get_by_text("Save a report").click()
    saved = tmp_path / "report.html"
    download.value.save_as(saved)
    report = browser.new_page()
    report.goto(saved.as_uri())
    expect(report.get_by_role("heading", name="Deepfake face detector: report")).to_be_visible()
    expect(report.get_by_text("SHA-256 of portrait.jpg")).to_be_visible()
    expect(report.get_by_text("Probability of fake")).to_be_visible()
    report.close()


def test_the_way_back_leads_to_the_next_photo(page):
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    page.get_by_role("button", name="Another photo").click()
    expect(page.locator("#photo-input")).to_be_visible()
    expect(page.locator("#photo-answer .headline")).to_have_count(0)
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")


def test_example_is_one_click_away_and_its_answer_has_an_address(browser, address, page):
    page.locator("#example-generated-face").click()
    headline(page, "photo", "Signs of manipulation")
    query = page.evaluate("location.search")
    other = open_page(browser, address, query=query)
    headline(other, "photo", "Signs of manipulation")
    other.close()


def test_example_clip_is_one_click_away(page):
    page.locator("#example-portrait-clip").click()
    headline(page, "video", "in this person")


def test_no_face_offers_to_judge_the_whole_picture(page, tmp_path):
    path = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), "#8899aa").save(path)
    upload(page, "photo", path)
    headline(page, "photo", "No face found")
    page.get_by_role("button", name="Judge the whole picture anyway").click()
    headline(page, "photo", "Signs of manipulation")
    expect(page.get_by_text("without looking for a face")).to_be_visible()


def test_heic_is_shown_in_its_answer(page, tmp_path):
    pillow_heif.register_heif_opener()
    Image.open(PORTRAIT).save(tmp_path / "portrait.heic", quality=90)
    upload(page, "photo", tmp_path / "portrait.heic")
    headline(page, "photo", "Signs of manipulation")
    picture = page.locator("#photo-answer .photo img")
    assert picture.evaluate("one => one.complete && one.naturalWidth") == 300


def test_unreadable_photo_is_explained_until_the_next_one(page, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"no photo")
    upload(page, "photo", path)
    headline(page, "photo", "This photo cannot be judged")
    expect(page.locator("#photo-answer")).to_contain_text("The file is not a readable photo")


def test_clip_gets_a_plot_and_moments(page, clip):
    page.get_by_role("tab", name="Video").click()
    upload(page, "video", clip)
    headline(page, "video", "in this person")
    page.get_by_text("Over time, and the most suspicious moments").click()
    assert page.locator(".plot circle").count() >= 4
    assert page.locator(".plot line[stroke-dasharray]").count() == 2
    assert page.locator(".moments li").count() >= 1
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_clip_can_be_stopped(page, tmp_path):
    page.get_by_role("tab", name="Video").click()
    upload(page, "video", write_portrait_clip(tmp_path / "long.mp4", seconds=120))
    page.get_by_role("button", name="Stop").click()
    headline(page, "video", "Stopped")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_several_photos_get_a_table_that_sorts_filters_and_can_be_saved(page, tmp_path):
    other = tmp_path / "text.jpg"
    other.write_text("no photo")
    page.get_by_role("tab", name="Several photos").click()
    upload(page, "photos", PORTRAIT, other)
    headline(page, "photos", "Signs of manipulation in 1 of 2 photos")
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(2)
    assert "not a readable photo" in rows.nth(1).inner_text()
    page.get_by_role("button", name="File").click()
    assert "text.jpg" in rows.nth(0).inner_text()
    page.get_by_label("Signs of manipulation (1)").check()
    expect(rows.filter(has_text="text.jpg")).to_be_hidden()
    expect(rows.filter(has_text="portrait.jpg")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_text("Save as CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    assert "portrait.jpg,1," in (tmp_path / "table.csv").read_text()


def test_answer_on_a_phone_is_in_view_and_needs_no_sideways_scrolling(browser, address):
    page = open_page(browser, address, PHONE)
    page.evaluate("scrollTo(0, 10000)")
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    expect(page.locator("#photo-answer .headline")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    card = page.locator("#photo-answer .face").bounding_box()
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= 390
    page.close()


def test_a_keyboard_is_enough(page):
    page.locator("#example-portrait").focus()
    page.keyboard.press("Enter")
    headline(page, "photo", "Signs of manipulation")
    heat = page.locator("#photo-answer .photo svg .heat")
    page.get_by_label("Heatmap").focus()
    page.keyboard.press("Space")
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="Another photo").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#photo-input")).to_be_visible()


def test_every_control_has_a_name(page):
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), [role=slider]')]
        .filter(one => one.checkVisibility())
        .filter(one => !(one.ariaLabel || one.title || one.innerText.trim() || one.labels?.length
                         || one.getAttribute('aria-labelledby')))
        .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []


@pytest.mark.slow
@pytest.mark.skipif(not AXE, reason="needs axe-core: npm install axe-core, AXE_CORE=.../axe.min.js")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, address, scheme):
    page = open_page(browser, address, PHONE if scheme == "light" else DESKTOP, scheme)
    page.locator("#example-portrait img").wait_for()
    found = axe(page, "first screen")
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    found += axe(page, "answer")
    page.goto(address)
    page.get_by_role("tab", name="How good is it?").click()
    page.locator(".about table").wait_for()
    found += axe(page, "about")
    assert found == []
    page.close()


def axe(page: Page, state: str) -> list[str]:
    """Return what breaks a rule of WCAG 2.2 AA."""
    page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    result = page.evaluate("tags => axe.run(document, {runOnly: tags})", tags)
    return [
        f"{state}: {one['id']} {node['html'][:200]} {node['failureSummary'][:300]}"
        for one in result["violations"]
        for node in one["nodes"]
    ]
