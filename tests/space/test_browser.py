"""The page as visitors see it: in Chromium, driven by Playwright.

It runs the bundled model with thresholds that call every face fake, as what the page shows must not
depend on how good a model is.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image, PngImagePlugin
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.conftest import write_portrait_clip
from tests.serving import SPACE, serve_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PORTRAIT = SPACE / "examples/portrait.jpg"
WAIT = 120_000  # ms; a busy machine is slow, a broken page never answers
PHONE, TABLET, DESKTOP = (390, 844), (768, 1024), (1280, 800)
ZOOMED = (640, 400)  # a desktop at 200 %
NARROW = (320, 640)  # and at 400 %

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
def visitor(address: str) -> Iterator[BrowserContext]:
    """A browser that caches the page, so that opening it again is fast."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = chromium.new_context(base_url=address, reduced_motion="reduce")
        context.set_default_timeout(WAIT)
        expect.set_options(timeout=WAIT)
        yield context
        chromium.close()


@pytest.fixture(scope="module")
def opened(visitor: BrowserContext) -> Page:
    return visitor.new_page()


@pytest.fixture
def page(opened: Page) -> Page:
    """The page as a new visitor sees it on a desktop."""
    opened.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
    opened.emulate_media(color_scheme="light")
    opened.goto("/")
    opened.locator("#example-portrait img").wait_for()
    return opened


@pytest.fixture(scope="module")
def wall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wall") / "wall.png"
    Image.new("RGB", (300, 200), "#8899aa").save(path)
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.jpg"
    path.write_text("no photo")
    return path


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that takes long enough to be stopped."""
    return write_portrait_clip(tmp_path_factory.mktemp("clip") / "long.mp4", seconds=290)


def resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


def upload(page: Page, kind: str, *files: Path) -> None:
    inputs = page.locator(f"#{kind}-input input[type=file]")
    inputs.last.wait_for(state="attached")
    inputs.last.set_input_files([str(file) for file in files])


# Drop or choose a file to which the operating system gives another type, or none.
HAND_OVER = """({ kind, how, content, name, type }) => {
    const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name, { type }));
    const input = [...document.querySelectorAll(`#${kind}-input input[type=file]`)].at(-1);
    const event = { bubbles: true, cancelable: true, dataTransfer };
    if (how === 'drop') input.parentElement.dispatchEvent(new DragEvent('drop', event));
    else { input.files = dataTransfer.files; input.dispatchEvent(new Event('change', event)); }
}"""


def hand_over(page: Page, kind: str, how: str, content: bytes, name: str, file_type: str) -> None:
    page.locator(f"#{kind}-input input[type=file]").last.wait_for(state="attached")
    encoded = base64.b64encode(content).decode()
    file = {"kind": kind, "how": how, "content": encoded, "name": name, "type": file_type}
    page.evaluate(HAND_OVER, file)


def headline(page: Page, kind: str, text: str) -> None:
    expect(page.locator(f"#{kind}-answer .headline")).to_contain_text(text, timeout=WAIT)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def go_back(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()
    expect(page.locator(".headline:visible")).to_have_count(0)


def test_first_screen_holds_all_that_it_takes_to_begin(page):
    for size in (PHONE, TABLET, DESKTOP):
        resize(page, size)
        icons = page.locator("#photo-input .source-selection button").all()
        sides = [icon.bounding_box()[side] for icon in icons for side in ("width", "height")]
        assert len(sides) == 6
        assert min(sides) >= 44
        for selector in (".top h1", ".top p", "#photo-input", "#example-portrait-clip"):
            box = page.locator(selector).bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size[0]
            assert box["y"] + box["height"] <= size[1], selector
        assert page.locator(".top p").bounding_box()["width"] > 300  # a line, not a column of words
    assert not re.search(r"\d %|\d%|0\.\d", page.locator("body").inner_text())  # no figures yet


def test_photo_gets_a_headline_a_box_a_heatmap_and_a_report(page, visitor, tmp_path):
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation in this face")
    answer = page.locator("#photo-answer")
    assert answer.locator(".photo img").count() == 1
    assert answer.locator(".photo rect").count() == 1
    assert answer.get_by_text("This is not proof.").count() == 1
    expect(page.locator("#photo-input")).to_be_hidden()  # the picture is shown once
    heat = answer.locator(".photo svg .heat")
    expect(heat).to_have_css("opacity", "0.6")
    box, photo = (answer.locator(f".photo {tag}").bounding_box() for tag in ("rect", "img"))
    assert photo["x"] < box["x"] < box["x"] + box["width"] < photo["x"] + photo["width"]
    page.get_by_label("Strength").fill("0.2")
    expect(heat).to_have_css("opacity", "0.2")
    page.get_by_label("Heatmap").uncheck()
    expect(heat).to_be_hidden()
    expect(page.locator("#said")).to_contain_text("Signs of manipulation")  # for screen readers
    with page.expect_download() as download:
        page.get_by_text("Save a report").click()
    saved = tmp_path / "report.html"
    download.value.save_as(saved)
    report = visitor.new_page()
    report.goto(saved.as_uri())
    expect(report.get_by_role("heading", name="Deepfake face detector: report")).to_be_visible()
    expect(report.get_by_text("SHA-256 of portrait.jpg")).to_be_visible()
    expect(report.get_by_text("Probability of fake")).to_be_visible()
    report.close()


def test_the_way_back_leads_to_the_next_photo_also_a_heic(page, tmp_path):
    resize(page, PHONE)
    page.evaluate("scrollTo(0, 10000)")
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    expect(page.locator("#photo-answer .headline")).to_be_in_viewport()
    go_back(page, "Another photo")
    pillow_heif.register_heif_opener()
    Image.open(PORTRAIT).save(tmp_path / "portrait.heic", quality=90)
    heic = (tmp_path / "portrait.heic").read_bytes()
    hand_over(page, "photo", "drop", heic, "portrait.HEIC", "")
    headline(page, "photo", "Signs of manipulation")
    picture = page.locator("#photo-answer .photo img")
    assert picture.evaluate("one => one.complete && one.naturalWidth") == 300


def test_example_is_one_click_away_and_its_answer_has_an_address(page, visitor):
    page.locator("#example-generated-face").click()
    headline(page, "photo", "Signs of manipulation")
    with visitor.expect_page() as opened:
        page.get_by_role("link", name="Link to this answer").click()
    linked = opened.value
    headline(linked, "photo", "Signs of manipulation")
    linked.close()
    link = page.get_by_role("link", name="Link to this answer")
    open_tab(page, "Several photos")  # photos judged there are no examples
    hand_over(page, "photos", "drop", PORTRAIT.read_bytes(), "own.jpg", "")
    headline(page, "photos", "Signs of manipulation in this photo")
    expect(page.locator("#photos-answer").get_by_text("Save a report")).to_be_visible()
    expect(page.locator("#photos-answer .download", has_text="Link to")).to_have_count(0)
    expect(page).to_have_url(re.compile("/$"))
    go_back(page, "Other photos")
    expect(page).to_have_url(re.compile("example=generated-face$"))
    open_tab(page, "Photo")
    expect(link).to_be_visible()
    go_back(page, "Another photo")
    expect(page).to_have_url(re.compile("/$"))
    hand_over(page, "photo", "choose", PORTRAIT.read_bytes(), "own.jpg", "application/octet-stream")
    headline(page, "photo", "Signs of manipulation")
    expect(link).to_have_count(0)


def test_the_browsers_back_leads_to_the_first_screen_and_forward_to_an_examples_answer(page):
    page.locator("#example-portrait").click()
    headline(page, "photo", "Signs of manipulation")
    expect(page).to_have_url(re.compile("example=portrait$"))
    open_tab(page, "How good is it?")
    page.evaluate("history.back()")  # first to the answer, which was out of sight
    expect(page.locator("#photo-answer .headline")).to_be_visible()
    page.evaluate("history.back()")
    expect(page.locator("#photo-input")).to_be_visible()
    expect(page.locator(".headline:visible")).to_have_count(0)
    expect(page).to_have_url(re.compile("/$"))
    page.evaluate("history.forward()")
    headline(page, "photo", "Signs of manipulation")
    expect(page).to_have_url(re.compile("example=portrait$"))


def test_no_face_offers_to_judge_the_whole_picture(page, wall):
    upload(page, "photo", wall)
    headline(page, "photo", "No face found")
    page.get_by_role("button", name="Judge the whole picture anyway").click()
    headline(page, "photo", "Signs of manipulation")
    expect(page.get_by_text("without looking for a face")).to_be_visible()


def test_files_are_refused_in_the_place_of_the_answer(page, text, tmp_path):
    upload(page, "photo", text)
    headline(page, "photo", "This photo cannot be judged")
    expect(page.locator("#photo-answer")).to_contain_text("The file is not a readable photo")
    go_back(page, "Another photo")
    large = tmp_path / "large.jpg"
    with large.open("wb") as file:
        file.truncate(101_000_000)
    upload(page, "photo", large)
    headline(page, "photo", "This file cannot be judged")
    expect(page.locator("#photo-answer")).to_contain_text("large.jpg has 101 MB")
    go_back(page, "Another photo")
    for name, file_type in (("clip.mp4", "video/mp4"), ("no-ending", "")):
        hand_over(page, "photo", "drop", b"x", name, file_type)
        headline(page, "photo", "This file cannot be judged")
        expect(page.locator("#photo-answer")).to_contain_text(f"{name} is not a photo")
        go_back(page, "Another photo")
    for source in ("Capture from camera", "Paste from clipboard"):  # neither has a picture
        page.get_by_label(source).first.click()
        if source == "Capture from camera":
            page.get_by_title("grant webcam access").locator("button").click()
        headline(page, "photo", source.split()[-1])
        go_back(page, "Another photo")
    expect(page.locator(".toast-header")).to_have_count(0)


def test_the_way_back_leaves_the_next_answer_alone_even_if_it_waits(page, visitor, text, tmp_path):
    upload(page, "photo", text)
    headline(page, "photo", "This photo cannot be judged")
    copies = [shutil.copy(PORTRAIT, tmp_path / f"{number}.jpg") for number in range(60)]
    busy_pages = [
        visitor.new_page() for _ in range(os.cpu_count() or 1)
    ]  # all that are judged at once
    for busy_page in busy_pages:
        busy_page.goto("/")
        open_tab(busy_page, "Several photos")
        upload(busy_page, "photos", *copies)
        busy_page.get_by_role("button", name="Stop").wait_for()
    go_back(page, "Another photo")
    hand_over(page, "photo", "drop", b"x", "no-ending", "")
    headline(page, "photo", "This file cannot be judged")
    for busy_page in busy_pages:
        expect(busy_page.get_by_role("button", name="Stop")).to_have_count(0, timeout=WAIT)
        busy_page.close()
    page.wait_for_timeout(1000)
    headline(page, "photo", "This file cannot be judged")


def test_clip_gets_a_plot_and_moments_and_can_be_stopped(page, clip, long_clip):
    open_tab(page, "Video")
    upload(page, "video", long_clip)
    page.get_by_role("button", name="Stop").click()
    headline(page, "video", "Stopped")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    go_back(page, "Another clip")
    hand_over(page, "video", "choose", clip.read_bytes(), "clip.mov", "")
    headline(page, "video", "in this person")
    page.get_by_text("Over time, and the most suspicious moments").click()
    assert page.locator(".plot circle").count() >= 4
    assert page.locator(".plot line[stroke-dasharray]").count() == 2
    assert page.locator(".moments li").count() >= 1
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    expect(page.locator(".toast-header")).to_have_count(0)  # although Chromium cannot play it


def test_a_clip_waits_for_its_turn_with_words_and_a_lost_answer_is_told(page, visitor, long_clip):
    doing = page.locator("#video-answer #doing")
    busy_page = visitor.new_page()
    busy_page.goto("/")
    open_tab(busy_page, "Video")
    upload(busy_page, "video", long_clip)
    busy_page.get_by_role("button", name="Stop").wait_for()
    page.locator("#example-portrait-clip").click()
    expect(doing).to_have_text("Waiting for its turn")
    expect(page.locator("#video-input")).to_be_hidden()
    resize(page, NARROW)  # where the tab is in a menu
    page.reload()
    headline(page, "video", "The answer did not arrive")
    resize(page, DESKTOP)
    for _ in range(2):  # an abandoned clip does not block the next one
        page.get_by_role("button", name="Another clip").click()
        expect(page.locator("#video-input button").first).to_be_focused()
        open_tab(page, "Photo")
        page.locator("#example-portrait-clip").click()
        expect(doing).to_have_text("Waiting for its turn")
    busy_page.close()  # on a fast machine, its clip may have been judged by now
    headline(page, "video", "in this person")


def test_several_photos_get_a_table_that_sorts_filters_and_can_be_saved(page, text, tmp_path):
    open_tab(page, "Several photos")
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a face\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    Image.open(PORTRAIT).save(portrait := tmp_path / "portrait.png", pnginfo=info)
    upload(page, "photos", portrait, text)
    headline(page, "photos", "Signs of manipulation in 1 of 2 photos")
    resize(page, PHONE)
    page.wait_for_function(  # all columns fit, once the page is laid out anew
        "() => { const table = document.querySelector('#photos-answer .scroll');"
        "return table.scrollWidth <= table.clientWidth; }"
    )
    resize(page, DESKTOP)
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(2)
    assert "not a readable photo" in rows.nth(1).inner_text()
    page.get_by_role("button", name="File", exact=True).click()
    assert "text.jpg" in rows.nth(0).inner_text()
    page.get_by_label("Signs of manipulation (1)").check()
    expect(rows.filter(has_text="text.jpg")).to_be_hidden()
    expect(rows.filter(has_text="portrait.png")).to_be_visible()
    # A table that is rewritten, as while it grows, keeps its filter, its order and the focus.
    page.evaluate(
        "() => { const all = document.getElementById('photos-answer').firstElementChild;"
        "all.innerHTML = all.innerHTML; }"
    )
    expect(page.get_by_label("Signs of manipulation (1)")).to_be_checked()
    expect(page.get_by_label("Signs of manipulation (1)")).to_be_focused()
    expect(rows.filter(has_text="text.jpg")).to_be_hidden()
    assert "text.jpg" in rows.nth(0).text_content()
    with page.expect_download() as download:
        page.get_by_text("Save as CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    assert "portrait.png,1," in (tmp_path / "table.csv").read_text()
    go_back(page, "Other photos")
    upload(page, "photos", PORTRAIT, text)
    headline(page, "photos", "Signs of manipulation in 1 of 2 photos")
    expect(rows.filter(has_text="text.jpg")).to_be_visible()  # new photos reset the filter


def test_a_keyboard_is_enough(page):
    page.locator("#example-portrait").focus()
    page.keyboard.press("Enter")
    headline(page, "photo", "Signs of manipulation")
    expect(page.locator("#photo-answer .headline")).to_be_focused()
    heat = page.locator("#photo-answer .photo svg .heat")
    page.get_by_label("Heatmap").focus()
    expect(page.get_by_label("Heatmap")).to_have_css("outline-style", "solid")
    page.keyboard.press("Space")
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="Another photo").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#photo-input button").first).to_be_focused()


def states(page: Page, clip: Path, long_clip: Path, wall: Path, text: Path) -> Iterator[str]:
    """Take the page through every state that a visitor may see; yield the name of each."""
    yield "first screen"
    upload(page, "photo", PORTRAIT)
    headline(page, "photo", "Signs of manipulation")
    yield "answer"
    go_back(page, "Another photo")
    upload(page, "photo", text)
    headline(page, "photo", "This photo cannot be judged")
    yield "error"
    go_back(page, "Another photo")
    upload(page, "photo", wall)
    headline(page, "photo", "No face found")
    yield "no face"
    open_tab(page, "Video")
    page.locator("#video-input button").first.wait_for()
    yield "first screen of clips"
    upload(page, "video", long_clip)
    page.locator("#video-answer progress").wait_for()
    yield "working"
    page.get_by_role("button", name="Stop").click()
    headline(page, "video", "Stopped")
    go_back(page, "Another clip")
    upload(page, "video", clip)
    headline(page, "video", "in this person")
    page.locator("#video-answer details").evaluate_all("all => all.forEach(one => one.open = true)")
    yield "clip"
    open_tab(page, "Several photos")
    page.locator("#photos-input button").first.wait_for()
    yield "first screen of several photos"
    upload(page, "photos", PORTRAIT, wall, text)
    headline(page, "photos", "Signs of manipulation in 1 of 3 photos")
    yield "several photos"
    open_tab(page, "How good is it?")
    page.locator(".about table").wait_for()
    yield "about"
    open_tab(page, "For programs")
    page.locator(".programs pre").first.wait_for()
    yield "for programs"


def test_every_state_fits_every_width_and_is_accessible(
    page, clip, long_clip, wall, text, packages
):
    page.evaluate((packages / "axe-core/axe.min.js").read_text(encoding="utf-8"))
    # Colours fade otherwise.
    page.add_style_tag(content="*, ::before, ::after { transition: none !important }")
    problems = []
    for state in states(page, clip, long_clip, wall, text):
        # Themes differ only in colours: each state is seen in both, but not each of its widths.
        for size, scheme in ((PHONE, "light"), (DESKTOP, "light"), (TABLET, "dark")):
            resize(page, size)
            show_theme(page, scheme)
            problems += [f"{state}, {size}, {scheme}: {problem}" for problem in violations(page)]
        for size, enlarged in ((NARROW, 1), (PHONE, 1), (ZOOMED, 1), (TABLET, 1), (DESKTOP, 2)):
            resize(page, size)
            cut = page.evaluate(CUT_OFF, enlarged)
            problems += [f"{state}, {size}, text x {enlarged}: {tag} is cut off" for tag in cut]
        page.evaluate("document.documentElement.style.fontSize = ''")
    assert not problems, "\n".join(problems)


def show_theme(page: Page, scheme: str) -> None:
    """Switch the page's theme, and wait until its colours have changed."""
    page.emulate_media(color_scheme=scheme)
    is_shown = "dark => document.body.classList.contains('dark') === dark"
    page.wait_for_function(is_shown, arg=scheme == "dark")


# Enlarge the text by a factor; return what is cut off and not in a box that scrolls.
CUT_OFF = """factor => {
    document.documentElement.style.fontSize = `${100 * factor}%`;
    const parts = '.top, .examples, .answer, .about, .programs';
    const scrolls = (one, part) => /auto|scroll/.test(getComputedStyle(one).overflowX)
        || (one !== part && scrolls(one.parentElement, part));
    return [...document.querySelectorAll(parts)].flatMap(part => [...part.querySelectorAll('*')]
        .filter(one => one.checkVisibility() && !one.closest('svg') && !scrolls(one, part)))
        .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.outerHTML.slice(0, 200)).slice(0, 3);
}"""


def violations(page: Page) -> list[str]:
    """Return the elements that break a rule of WCAG 2.2 AA, and why."""
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    result = page.evaluate(
        "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations']})", tags
    )
    return [
        f"{violation['id']} {node['html'][:200]} {node['failureSummary'][:300]}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]
