"""The page as people meet it: in Chromium, driven by Playwright."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import write_portrait_clip
from tests.serving import SPACE, serve_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PORTRAIT = SPACE / "examples/portrait.jpg"
WAIT = 60_000  # ms; a busy machine is slow, a broken page never answers

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def address(space_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_page(space_python, tmp_path_factory.mktemp("page") / "log.txt") as client:
        yield client.src


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def open_page(browser: Browser, address: str, width: int = 1200, scheme: str = "light") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.get_by_role("tab", name="Photo", exact=True).wait_for()
    return page


def upload(page: Page, *files: Path) -> None:
    inputs = page.locator("input[type=file]")
    inputs.last.wait_for(state="attached")
    inputs.last.set_input_files([str(file) for file in files])


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = open_page(browser, address)
    yield page
    page.close()


def colour(page: Page, selector: str) -> tuple[int, ...]:
    style = page.locator(selector).first.evaluate("one => getComputedStyle(one).color")
    return tuple(map(int, re.findall(r"\d+", style)[:3]))


def test_photo_gets_a_verdict_a_box_and_a_heatmap(page, browser, tmp_path):
    upload(page, PORTRAIT)
    expect(page.locator(".summary")).to_contain_text("One face:", timeout=WAIT)
    assert page.locator(".photo rect").count() == 1
    heat = page.locator(".face .heat")
    assert heat.evaluate("one => one.complete && one.naturalWidth") == 224
    assert float(heat.evaluate("one => getComputedStyle(one).opacity")) == pytest.approx(0.6)
    box, photo = (page.locator(f".photo {one}").bounding_box() for one in ("rect", "img"))
    assert photo["x"] < box["x"] < box["x"] + box["width"] < photo["x"] + photo["width"]
    slider = page.get_by_label(re.compile("Strength of the heatmap")).last
    slider.fill("0.2")
    slider.dispatch_event("change")
    expect(heat).to_have_css("opacity", "0.2")
    with page.expect_download() as download:
        page.get_by_text("Save a report").click()
    saved = tmp_path / "report.html"
    download.value.save_as(saved)
    report = browser.new_page()
    report.goto(saved.as_uri())
    expect(report.get_by_role("heading", name="Deepfake face detector: report")).to_be_visible()
    expect(report.get_by_text("SHA-256 of the file")).to_be_visible()


def test_example_is_one_click_away(page):
    page.locator(".gallery-item, button.gallery-item, .gallery button").first.click()
    expect(page.locator(".summary")).to_contain_text("One face:", timeout=WAIT)


def test_no_face_offers_to_judge_the_whole_picture(page, tmp_path):
    path = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), "#8899aa").save(path)
    upload(page, path)
    expect(page.locator(".summary")).to_contain_text("No face found.", timeout=WAIT)
    page.get_by_role("button", name="Judge the whole picture anyway").click()
    expect(page.locator(".summary")).to_contain_text("The whole picture:", timeout=WAIT)
    expect(page.get_by_text("without looking for a face")).to_be_visible()


def test_unreadable_photo_is_explained(page, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"no photo")
    upload(page, path)
    expect(page.get_by_text("The file is not a readable photo")).to_be_visible(timeout=WAIT)


def test_clip_gets_a_plot_and_moments(page, clip):
    page.get_by_role("tab", name="Video").click()
    upload(page, clip)
    expect(page.locator(".summary")).to_contain_text("1 person", timeout=WAIT)
    assert page.locator(".plot circle").count() >= 4
    assert page.locator(".plot line[stroke-dasharray]").count() == 2
    assert page.locator(".moments li").count() >= 1
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()


def test_clip_can_be_stopped(page, tmp_path):
    page.get_by_role("tab", name="Video").click()
    upload(page, write_portrait_clip(tmp_path / "long.mp4", seconds=120))
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".summary")).to_have_text("Stopped.", timeout=WAIT)


def test_several_photos_get_a_table_that_can_be_saved(page, tmp_path):
    other = tmp_path / "text.jpg"
    other.write_text("no photo")
    page.get_by_role("tab", name="Several photos").click()
    upload(page, PORTRAIT, other)
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(2, timeout=WAIT)
    assert "not a readable photo" in rows.nth(1).inner_text()
    with page.expect_download() as download:
        page.get_by_text("Save as CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    assert "portrait.jpg,1," in (tmp_path / "table.csv").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_readable(browser, address, scheme):
    page = open_page(browser, address, scheme=scheme)
    upload(page, PORTRAIT)
    page.locator(".verdict").wait_for()
    ground = page.locator("body").evaluate("one => getComputedStyle(one).backgroundColor")
    behind = sum(map(int, re.findall(r"\d+", ground)[:3]))
    for selector in (".summary", ".verdict", ".face p", ".download", ".caution"):
        assert abs(sum(colour(page, selector)) - behind) > 250, selector
    page.close()


def test_phone_needs_no_sideways_scrolling(browser, address):
    page = open_page(browser, address, width=390)
    upload(page, PORTRAIT)
    page.locator(".verdict").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    card = page.locator(".face").bounding_box()
    assert card["x"] >= 0
    assert card["x"] + card["width"] <= 390
    page.close()


def test_every_control_has_a_name(page):
    upload(page, PORTRAIT)
    page.locator(".verdict").wait_for()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), [role=slider]')]
        .filter(one => one.checkVisibility())
        .filter(one => !(one.ariaLabel || one.title || one.innerText.trim() || one.labels?.length
                         || one.getAttribute('aria-labelledby')))
        .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert unnamed == []
