"""The page that judges photos in the visitor's own browser, as a visitor meets it in Chromium.

Its answers are also compared with Python's on the same photos.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from space import faces
from space.contract import FINDER_CONFIG_FILE, FINDER_FILE, Calibration, Look, SecondLook
from space.detector import BUNDLED, load_bundled
from space.faces import load_face_finder
from space.video import judge_video
from space.yunet import YuNet
from space.yunet_networks import Networks
from tests.conftest import SHARED
from tests.hub_server import Hub, serve_hub
from tests.serving import SPACE
from tests.web_cases import make_cases, saved
from tests.web_serving import StaticHost, serve_folder
from training.errors import UserError
from training.lab import benchmark_browser
from training.ship.web import PAGE, install_packages, web, with_batch_of_one

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
YUNET = SHARED.parent / "models/face_detection_yunet_2026may.onnx"
PORTRAIT = SPACE / "examples/portrait.jpg"
GENERATED = PORTRAIT.with_name("generated-face.jpg")
WAIT = 180_000  # ms; a busy machine is slow, a broken page never answers
NEAR_A_THRESHOLD = 0.05  # verdicts of two runtimes may differ there

# Canvases hold 8-bit colours, multiplied by their opacity.
TRANSPARENT, TRANSPARENT_LEVELS = ("alpha.png", "lossless.webp"), 1

needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def folder(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, made as `python -m training web` makes it."""
    if not YUNET.is_file():
        pytest.skip(f"needs YuNet's file, {YUNET}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACE_DETECTOR", str(YUNET))
        patch.setattr("training.ship.web.LEVEL", 1)  # the best level takes half a minute
        return web(tmp_path_factory.mktemp("web") / "page", packages=packages)


@pytest.fixture(scope="module")
def model(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with the face finder that the page was made with."""
    model = shutil.copytree(BUNDLED, tmp_path_factory.mktemp("model") / "model")
    packed = folder / f"model/{FINDER_FILE}.zst"
    with pyarrow.input_stream(packed, compression="zstd") as unpacked:
        (model / FINDER_FILE).write_bytes(unpacked.read())
    shutil.copyfile(folder / "model" / FINDER_CONFIG_FILE, model / FINDER_CONFIG_FILE)
    return model


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[StaticHost]:
    with serve_folder(folder) as host:
        yield host


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


def open_page(browser: Browser, address: str, **settings: object) -> Page:
    context = browser.new_context(**settings)
    context.set_default_timeout(WAIT)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(address)
    page.locator("body.ready").wait_for()
    return page


@pytest.fixture(scope="module")
def opened(browser: Browser, host: StaticHost) -> Iterator[Page]:
    """A page that several tests use, as loading takes seconds."""
    page = open_page(browser, host.address)
    yield page
    page.context.close()


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    yield opened
    assert opened.problems == []


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict:
    """Python's answers; the photos lie beside the page."""
    return make_cases(folder / "cases", load_bundled(), YuNet(YUNET, ""))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A three-second clip, playable by browsers, in which the portrait moves over a wall."""
    import cv2

    path = tmp_path_factory.mktemp("film") / "film.webm"
    portrait = cv2.imread(str(PORTRAIT))
    frames = []
    for number in range(30):
        frame = np.full((320, 480, 3), 150, np.uint8)
        left = 20 + 4 * number
        frame[10:310, left : left + 300] = portrait
        frames.append(frame)
    return write_film(path, frames)


def write_film(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """Write BGR frames as a clip at 10 frames per second; return its path."""
    import cv2

    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def in_page(page: Page, body: str, argument: object = None):
    """Return the result of a function body, which may use `argument` and `load` page modules."""
    script = f"async argument => {{ const load = name => import(new URL(name, location)); {body} }}"
    return page.evaluate(script, argument)


PIXELS = """
const digest = async data => Array.from(
    new Uint8Array(await crypto.subtle.digest("SHA-256", data)),
    byte => byte.toString(16).padStart(2, "0")).join("");
const rgb = async ({ pixels, width, height }) =>
    Uint8Array.from((await load("pictures.js")).levelsOf({ pixels, width, height }));
const picture = async (name, { width, height }) => {
    const { blank, packed } = await load("pictures.js");
    const levels = new Uint8Array(await (await fetch("cases/" + name)).arrayBuffer());
    const result = blank(width, height);
    for (let i = 0; i < width * height; i++) {
        result.pixels[i] = packed(...levels.subarray(3 * i, 3 * i + 3));
    }
    return result;
};
"""


def choose(page: Page, *files: Path) -> None:
    page.locator("#files").set_input_files([str(file) for file in files])


def status(page: Page, text: str) -> None:
    expect(page.locator("#status")).to_contain_text(text, timeout=WAIT)


# --- What Python and the page must agree on ---


@pytest.mark.slow
@needs_chromium
def test_photos_are_decoded_to_the_same_bytes(page, cases):
    got = in_page(
        page,
        PIXELS
        + """const { openPhoto } = await load("photos.js"); const found = [];
        for (const one of argument) {
            const { photo } = await openPhoto(await (await fetch("cases/" + one.file)).blob());
            const [got, wanted] =
                [await rgb(photo), await rgb(await picture(one.file + ".rgb", one))];
            let most = Math.abs(got.length - wanted.length);
            for (const [i, value] of got.entries()) {
                most = Math.max(most, Math.abs(value - wanted[i]));
            }
            found.push([one.file, photo.width, photo.height, most]);
        } return found;""",
        cases["decoded"],
    )
    for (name, *size, most), case in zip(got, cases["decoded"], strict=True):
        assert size == [case["width"], case["height"]], name
        assert most <= (TRANSPARENT_LEVELS if name in TRANSPARENT else 0), name


@pytest.mark.slow
@needs_chromium
def test_preview_shows_what_is_judged_upright_and_on_white(page, cases):
    away = in_page(
        page,
        PIXELS
        + """const [{ openPhoto, pixelsOf, preview }, { resized }] =
            [await load("photos.js"), await load("pictures.js")];
        await (await load("resample.js")).loadResampling();
        const found = [];
        for (const { file } of argument) {
            const { photo, whole } = await openPhoto(await (await fetch("cases/" + file)).blob());
            const side = Math.max(photo.width, photo.height);
            const shown = pixelsOf(await createImageBitmap(await preview(whole, side / 2)));
            const [wanted, coarse] =
                [await rgb(resized(photo, 12, 12)), await rgb(resized(shown, 12, 12))];
            const sum = wanted.reduce((one, value, i) => one + Math.abs(value - coarse[i]), 0);
            const size = [shown.width, shown.height].map((one) => 2 * one);
            found.push([file, size[0] - photo.width, size[1] - photo.height, sum / wanted.length]);
        } return found;""",
        cases["decoded"],
    )
    assert len(away) == len(cases["decoded"])
    for name, wider, higher, levels in away:
        assert max(abs(wider), abs(higher)) <= 1, name
        assert levels < 4, name  # a JPEG that the browser made smaller in its own way


@pytest.mark.slow
@needs_chromium
def test_pictures_are_resized_and_cut_to_the_same_bytes(page, cases):
    got = in_page(
        page,
        PIXELS
        + """const { resized } = await load("pictures.js");
        const { cropFace, cropLandmarks, faceSquare } = await load("crops.js");
        await (await load("resample.js")).loadResampling();
        const photo = await picture("portrait.rgb", argument.portrait);
        const digests = [];
        for (const { width, height, gap } of argument.resized) {
            digests.push(await digest(await rgb(resized(photo, width, height, gap ?? undefined))));
        }
        const crops = [];
        for (const { box, landmarks } of argument.cropped) {
            const face = { box, landmarks, confidence: 1, turn: 0 };
            const { left, top, side } = faceSquare(photo, face, 1.2);
            crops.push({ square: [left, top, side], in_crop: cropLandmarks(photo, face, 1.2),
                         digest: await digest(await rgb(cropFace(photo, face, 1.2))) });
        } return { digests, crops };""",
        cases,
    )
    assert got["digests"] == [case["digest"] for case in cases["resized"]]
    for crop, case in zip(got["crops"], cases["cropped"], strict=True):
        assert crop["square"] == list(case["square"])
        assert np.allclose(crop["in_crop"], case["in_crop"], atol=1e-5)
        assert crop["digest"] == case["digest"]


@pytest.mark.slow
@needs_chromium
def test_yunet_sees_the_same_rows(page, cases):
    got = in_page(
        page,
        PIXELS
        + """const { Runtime, unpacked } = await load("runtime.js");
        const { YuNet } = await load("yunet.js");
        const content = await unpacked(new URL("model/face_finder.tflite.zst", location));
        const { sizes: numbers } = await (await fetch("model/face_finder.json")).json();
        const yunet = new YuNet(await Runtime.load(), { content, numbers });
        const found = [];
        for (const one of argument) found.push(await yunet.rows(await picture(one.file, one)));
        return found;""",
        cases["rows"],
    )
    assert sum(len(case["rows"]) for case in cases["rows"]) >= 4
    for found, case in zip(got, cases["rows"], strict=True):
        assert len(found) == len(case["rows"])
        for row, wanted in zip(found, case["rows"], strict=True):
            assert overlap(row["box"], wanted["box"]) > 0.999
            assert np.allclose(row["landmarks"], wanted["landmarks"], atol=0.05)
            assert row["score"] == pytest.approx(wanted["score"], abs=1e-3)


@pytest.mark.slow
def test_litert_sees_the_same_rows_as_opencv(model):
    portrait = Image.open(PORTRAIT).convert("RGB")
    networks = [Networks(path) for path in (YUNET, model / FINDER_FILE)]
    for size in ((300, 300), (384, 384), (500, 260), (1300, 1300)):
        picture = np.asarray(portrait.resize(size))
        wanted, found = (network.rows(picture) for network in networks)
        assert len(wanted) == len(found) > 0
        for row, expected in zip(found, wanted, strict=True):
            assert overlap(row[:4], expected[:4]) > 0.999
            assert np.allclose(row, expected, atol=0.05)


@pytest.mark.slow
def test_a_folder_with_the_finder_needs_no_other_and_serves_threads(model, monkeypatch):
    monkeypatch.setattr(faces, "fetch_yunet", lambda: pytest.fail("fetched"))
    finder = load_face_finder(model)
    photos = [Image.open(PORTRAIT).convert("RGB").resize((side, side)) for side in (240, 300, 500)]
    alone = [finder.find(photo)[0].box for photo in photos]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(finder.find, photos * 4))
    assert [face.box for (face,) in found] == alone * 4


@pytest.mark.slow
@needs_chromium
def test_faces_get_the_same_probabilities_and_verdicts(page, cases):
    got = in_page(
        page,
        """const { Client } = await load("client.js"); const client = new Client();
        await client.load(); const found = [];
        for (const { file } of argument) {
            const { faces } = await client.photo(await (await fetch("cases/" + file)).blob());
            found.push({ file, faces: faces.map(({ box, probability, verdict, reason }) =>
                ({ box, probability, verdict, reason })) });
        } return found;""",
        cases["judged"],
    )
    distances, thresholds = [], cases["thresholds"].values()
    assert sum(len(case["faces"]) for case in cases["judged"]) >= 25
    for answer, case in zip(got, cases["judged"], strict=True):
        name = case["file"]
        assert len(answer["faces"]) == len(case["faces"]), name
        for wanted in case["faces"]:
            face = max(answer["faces"], key=lambda found: overlap(found["box"], wanted["box"]))
            assert overlap(face["box"], wanted["box"]) > 0.97, name
            distance = abs(face["probability"] - wanted["probability"])
            assert face["reason"] == wanted["reason"], name
            if wanted["at_edge"]:  # only one of the two may have taken a second look
                continue
            assert distance < 0.05, name
            distances.append(distance)
            near = (
                min(abs(wanted["probability"] - threshold) for threshold in thresholds)
                < NEAR_A_THRESHOLD
            )
            assert near or face["verdict"] == wanted["verdict"], name
    assert np.mean(distances) < 0.01


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_borderline_scores_get_the_same_second_look():
    """The network goes by the brightness of the left half, and Node.js runs the page's code."""
    looks = [Look(True, 2, -3), Look(False, 0, 5)]
    config = replace(
        load_bundled().config,
        input_size=12,
        thresholds={"real": 0.2, "fake": 0.6},
        calibration=Calibration("platt", 0.9, 0.2),
        second_look=SecondLook(0.4, looks),
    )
    detector = load_bundled()
    detector.config = config

    def judge(pixels):
        fake = pixels[:, :, :6].mean(axis=(1, 2, 3)) / 255
        return np.stack([1 - fake, fake], axis=1), np.zeros((len(pixels), 2, 2), np.float32)

    detector._judge = judge
    rng = np.random.default_rng(5)
    levels = np.linspace(0.2, 1, 20)[:, None, None, None]
    pictures = (rng.integers(0, 255, (20, 12, 12, 3)) * levels).astype(np.uint8)
    inputs = list(pictures.astype(np.float32))
    wanted = [prediction.probability for prediction in detector._predict(inputs)]
    once = [prediction.probability for prediction in detector._predict(inputs, [False] * 20)]
    assert 3 < np.sum(np.not_equal(wanted, once)) < 17
    code = f"""
    import {{ Detector }} from "{(SPACE / "browser/detector.js").as_uri()}";
    const [config, pictures] = JSON.parse(process.argv[1]);
    const run = async (input) => {{
        let sum = 0;
        for (let y = 0; y < 12; y++) for (let i = 0; i < 18; i++) sum += input[36 * y + i];
        const fake = sum / (12 * 18 * 255);
        return {{ probabilities: [1 - fake, fake], heatmap: new Float32Array(4) }};
    }};
    const detector = new Detector(config, {{ run }});
    const found = [];
    for (const data of pictures) {{
        const bytes = data.flatMap((level, i) => (i % 3 === 2 ? [level, 255] : [level]));
        const pixels = new Uint32Array(Uint8Array.from(bytes).buffer);
        const picture = {{ pixels, width: 12, height: 12 }};
        found.push((await detector.judgeWhole(picture)).probability);
    }}
    console.log(JSON.stringify(found));"""
    argument = json.dumps([asdict(config) | {"metrics": {}}, pictures.reshape(20, -1).tolist()])
    command = ["node", "--input-type=module", "-e", code, argument]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(json.loads(result.stdout), wanted, atol=1e-6)


# --- What a visitor meets ---


@pytest.mark.slow
@needs_chromium
def test_photo_gets_a_verdict_a_box_and_an_evidence_map(page, browser, tmp_path):
    choose(page, GENERATED)
    status(page, "generated-face.jpg: One face:")
    assert page.locator(".photo rect").count() == 1
    box, photo = (page.locator(f".photo {tag}").bounding_box() for tag in ("rect", "img"))
    assert photo["x"] < box["x"] < box["x"] + box["width"] < photo["x"] + photo["width"]
    heat = page.locator(".face .heat")
    expect(heat).to_have_css("opacity", "0.6")
    page.get_by_role("switch", name="Show what raised the score").uncheck()
    expect(heat).to_have_css("opacity", "0")
    page.locator(".face summary").click()
    expect(page.get_by_text("evidence for fake")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save a report").click()
    path = tmp_path / "report.html"
    download.value.save_as(path)
    report = browser.new_page()
    report.goto(path.as_uri())
    digest = hashlib.sha256(GENERATED.read_bytes()).hexdigest()
    expect(report.get_by_text(digest)).to_be_visible()
    expect(report.locator(".photo img")).to_have_js_property("complete", True)
    assert report.locator("script").count() == 0
    report.close()


@pytest.mark.slow
@needs_chromium
def test_example_paste_and_camera_are_judged(page):
    page.get_by_role("button", name="Made by a generator").click()
    status(page, "generated-face.jpg: One face:")
    image, number = (page.locator(f".photo {what}").bounding_box() for what in ("img", "text"))
    assert number["y"] >= image["y"]  # the face is near the upper edge
    in_page(
        page,
        """const photo = await (await fetch("examples/portrait.jpg")).blob();
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([photo], "pasted.jpg", { type: "image/jpeg" }));
        dispatchEvent(new ClipboardEvent("paste", { clipboardData }));""",
    )
    status(page, "pasted.jpg: One face:")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the photo").click()
    status(page, "the camera's photo:")
    expect(page.locator("#viewfinder")).to_be_hidden()


@pytest.mark.slow
@needs_chromium
def test_no_face_offers_to_judge_the_whole_picture(page, tmp_path):
    path = tmp_path / "wall.png"
    Image.new("RGB", (300, 200), "#8899aa").save(path)
    choose(page, path)
    status(page, "wall.png: No face found.")
    page.get_by_role("button", name="Judge the whole picture anyway").click()
    status(page, "The whole picture:")
    expect(page.get_by_text("without looking for a face")).to_be_visible()


@pytest.mark.slow
@needs_chromium
def test_several_photos_get_a_table_that_can_be_saved(page, tmp_path):
    formula = Path(shutil.copy(PORTRAIT, tmp_path / '=1+1,".jpg'))
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    choose(page, PORTRAIT, formula, text)
    status(page, "3 photos were judged.")
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(3)
    assert "not a readable photo" in rows.nth(2).inner_text()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    columns = "file,faces,face,box (left top width height),verdict,probability of fake,reason,model"
    assert lines[0] == columns
    assert lines[1].startswith("portrait.jpg,1,1,")
    assert lines[2].startswith('"\'=1+1,"".jpg",1,1,')
    rows.nth(0).get_by_role("button").click()
    status(page, "portrait.jpg: One face:")


@pytest.mark.slow
@needs_chromium
def test_of_several_pictures_in_a_file_the_first_is_judged_and_that_is_said(page, tmp_path):
    portrait = Image.open(PORTRAIT)
    wall = Image.new("RGB", portrait.size, "#8899aa")
    portrait.save(tmp_path / "film.gif", save_all=True, append_images=[wall])
    choose(page, tmp_path / "film.gif")
    status(page, "film.gif: One face:")
    expect(page.get_by_text("Only the first of the file's pictures")).to_be_visible()


@pytest.mark.slow
@needs_chromium
def test_clip_gets_a_verdict_for_each_person_with_times(page, film):
    choose(page, film)
    status(page, "film.webm was judged.")
    expect(page.locator(".headline")).to_contain_text("1 person:")
    expect(page.get_by_text("Seen in 8 of the frames, from 0:00.0 to 0:02.6.")).to_be_visible()
    page.locator(".face summary").click()
    assert page.locator(".plot circle").count() == 8
    assert page.locator(".moments li").count() >= 2
    places = page.locator(".plot circle").evaluate_all(
        "all => all.map(one => one.getAttribute('cx'))"
    )
    assert len(set(places)) == 8


@pytest.mark.slow
@needs_chromium
def test_clip_is_looked_at_after_cuts_as_by_python(page, folder, model):
    """The clip shows another person for two frames, between two looks."""
    path = folder / "cases/cut.webm"
    path.parent.mkdir(exist_ok=True)
    scenes = [
        np.asarray(Image.open(photo).convert("RGB").resize((320, 320)))[..., ::-1]
        for photo in (PORTRAIT, GENERATED)
    ]
    write_film(path, [scenes[number in (9, 10)] for number in range(30)])
    wanted = judge_video(path, load_bundled(), load_face_finder(model))
    got = in_page(
        page,
        """const { Client } = await load("client.js"); const { Clip } = await load("clip.js");
        const client = new Client(); await client.load();
        const clip = await Clip.open(await (await fetch("cases/cut.webm")).blob());
        await client.startClip(clip.seconds);
        const due = [];
        for await (const { frame, seconds, isDue } of clip.frames()) {
            due.push(isDue); await client.frame(frame, seconds, isDue);
        }
        clip.close();
        const { people, others, looks } = await client.endClip();
        return { due, people: people.length, others, looks };""",
    )
    assert sum(got["due"]) == 8
    assert len(got["due"]) == 16
    assert got["looks"] == wanted.frames_looked_at == 9
    assert (got["people"], got["others"]) == (len(wanted.people), wanted.others)


BAD_FILES = {
    "empty.jpg": (b"", "The file is empty"),
    "text.png": (b"no photo", "not a readable photo"),
    "page.html": (b"<!doctype html><img src=x onerror=alert(1)>", "not a readable photo"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable photo"),
    "cut.jpg": (PORTRAIT.read_bytes()[:9000], "its end is missing"),
    "cut.png": (saved(Image.new("RGB", (90, 90), "red"), "png")[:60], "damaged"),
    "noise.jpg": (b"\xff\xd8\xff" + bytes(range(256)) * 9 + b"\xff\xd9", "damaged"),
    "small.png": (saved(Image.new("RGB", (20, 90)), "png"), "20x90 pixels"),
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(64), "cannot decode HEIC"),
    "scan.tif": (saved(Image.new("RGB", (90, 90)), "tiff"), "cannot decode TIFF"),
    "damaged.mp4": (b"\0\0\0\x18ftypmp42" + bytes(900), "cannot play"),
}


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_gets_a_sentence_and_the_page_stays_usable(page, tmp_path, name):
    content, sentence = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    choose(page, tmp_path / name)
    status(page, sentence)
    expect(page.locator("#status")).to_have_class("error")
    choose(page, PORTRAIT)
    status(page, "portrait.jpg: One face:")


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("WebAssembly.validate = () => false", "no WebAssembly with SIMD"),
        ("delete globalThis.WebAssembly", "no WebAssembly (it may be"),
        ("delete globalThis.Worker", "no web workers"),
    ],
)
def test_what_a_browser_lacks_is_said(browser, host, change, message):
    context = browser.new_context()
    context.add_init_script(change)
    page = context.new_page()
    page.goto(host.address)
    status(page, message)
    context.close()


@pytest.mark.slow
@needs_chromium
def test_page_works_where_it_cannot_be_kept(browser, folder, tmp_path):
    incomplete = Path(shutil.copytree(folder, tmp_path / "incomplete"))
    (incomplete / "licences.txt").unlink()
    with serve_folder(incomplete) as host:
        page = open_page(browser, host.address)
        status(page, "Ready.")
        page.context.close()


@pytest.mark.slow
@needs_chromium
def test_page_waits_for_no_update_that_waits_for_other_tabs(browser, host):
    """Such a page is not controlled after a reload that bypasses the cache."""
    context = browser.new_context()
    context.add_init_script(
        """const worker = state => ({ state, addEventListener() {} });
        ServiceWorkerContainer.prototype.register = async () =>
            ({ installing: null, waiting: worker("installed"), active: worker("activated") });"""
    )
    page = context.new_page()
    page.goto(host.address)
    status(page, "Ready.")
    context.close()


# Chooses the portrait once the page is ready, and reports its answer to the server.
CHOOSE_AND_REPORT = """
const status = document.getElementById("status");
new MutationObserver(async () => {
    const text = status.textContent;
    if (text.startsWith("Ready")) {
        const photo = await (await fetch("examples/portrait.jpg")).blob();
        const chosen = new DataTransfer();
        chosen.items.add(new File([photo], "portrait.jpg"));
        const input = document.getElementById("files");
        input.files = chosen.files;
        input.dispatchEvent(new Event("change"));
    } else if (text.includes("One face") || status.classList.contains("error")) {
        await fetch("report?" + encodeURIComponent(text));
    }
}).observe(status, { childList: true });
"""


@pytest.mark.slow
@needs_chromium
@pytest.mark.skipif(not FIREFOX, reason="needs Firefox: apt-get install firefox-esr")
def test_firefox_gives_the_same_answer(page, folder, tmp_path):
    """Playwright drives only its own build of Firefox, so the page itself acts and reports."""
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    (changed / "probe.js").write_text(CHOOSE_AND_REPORT)
    with (changed / "index.html").open("a") as index:
        index.write('<script type="module" src="probe.js"></script>')
    choose(page, PORTRAIT)
    status(page, "portrait.jpg: One face:")
    with serve_folder(changed) as host:
        command = [FIREFOX, "--headless", "--no-remote", "--profile", tmp_path, host.address]
        firefox = subprocess.Popen(command, env={**os.environ, "HOME": str(tmp_path)})
        try:
            report = _wait_for_report(host)
        finally:
            firefox.kill()
            firefox.wait()
    assert report == page.locator("#status").inner_text()


def _wait_for_report(host: StaticHost) -> str:
    deadline = time.monotonic() + WAIT / 1000
    while time.monotonic() < deadline:
        for path in host.requests:
            if path.startswith("/report?"):
                return unquote(path.partition("?")[2])
        time.sleep(0.1)
    raise TimeoutError(f"Firefox never reported; it requested {host.requests}.")


@pytest.mark.slow
@needs_chromium
def test_wrong_runtime_is_noticed_at_the_start(browser, folder, tmp_path):
    """Another expected answer stands in for a browser that computes something else."""
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    answer = json.loads((broken / "model/selftest.json").read_text())
    answer["probability"] = (answer["probability"] + 0.5) % 1
    (broken / "model/selftest.json").write_text(json.dumps(answer))
    with serve_folder(broken) as host:
        context = browser.new_context()
        page = context.new_page()
        page.goto(host.address)
        status(page, "its answers cannot be trusted")
        page.locator("#files").set_input_files(str(PORTRAIT))
        expect(page.locator("#answer")).to_be_hidden()
        status(page, "its answers cannot be trusted")
        context.close()


@pytest.mark.slow
@needs_chromium
def test_nothing_leaves_the_page_and_it_works_without_a_network(browser, folder, film, tmp_path):
    with serve_folder(folder) as host:
        page = open_page(browser, host.address, accept_downloads=True)
        status(page, "also without a network")
        urls = []
        page.context.on("request", lambda request: urls.append(request.url))
        host.requests.clear()
        choose(page, PORTRAIT)
        status(page, "portrait.jpg: One face:")
        with page.expect_download():
            page.get_by_role("button", name="Save a report").click()
        choose(page, film)
        status(page, "film.webm was judged.")
        # The browser itself checks now and then whether the service worker's scripts changed.
        assert set(host.requests) <= {"/service-worker.js", "/files.js"}
        assert [url for url in urls if not url.startswith(("blob:", "data:"))] == []
        blocked = in_page(
            page, "return fetch(argument).then(() => 'sent', () => 'blocked');", "http://127.0.0.2/"
        )
        assert blocked == "blocked"
    # Registering may wait for a search for updates: a page that is served already must not.
    never = "ServiceWorkerContainer.prototype.register = () => new Promise(() => {});"
    page.add_init_script(never)
    page.reload()  # the server is gone
    page.locator("body.ready").wait_for()
    choose(page, PORTRAIT)
    status(page, "portrait.jpg: One face:")
    kept = in_page(
        page,
        """return { local: localStorage.length, session: sessionStorage.length,
        cookies: document.cookie, databases: (await indexedDB.databases()).length,
        caches: await caches.keys() };""",
    )
    (cache,) = kept.pop("caches")
    assert cache.startswith("page-")
    assert kept == {"local": 0, "session": 0, "cookies": "", "databases": 0}
    assert page.problems == []
    page.context.close()


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_accessible_at_all_widths(browser, host, packages, scheme, tmp_path):
    page = open_page(browser, host.address, color_scheme=scheme, bypass_csp=True)
    page.add_script_tag(path=packages / "axe-core/axe.min.js")

    def check(state: str) -> None:
        for width in (390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (state, width)
            violations = page.evaluate("async () => (await axe.run()).violations")
            assert [
                (violation["id"], violation["nodes"][0]["html"]) for violation in violations
            ] == [], (state, width)

    check("start")
    choose(page, PORTRAIT)
    status(page, "portrait.jpg: One face:")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    check("photo")
    choose(page, PORTRAIT, SPACE / "examples/portrait-mouth-replaced.jpg")
    status(page, "2 photos were judged.")
    check("table")
    page.context.close()


@pytest.mark.slow
@needs_chromium
def test_memory_stays_flat_over_many_photos(browser, host):
    """The page deletes all tensors, and graphs for sizes that it has not used for long."""
    page = open_page(browser, host.address)  # a new one, as a page loads the runtime only once
    found = in_page(
        page,
        """const { Runtime, unpacked } = await load("runtime.js");
        const { YuNet } = await load("yunet.js");
        const runtime = await Runtime.load();
        const content = await unpacked(new URL("model/face_finder.tflite.zst", location));
        const { sizes: numbers } = await (await fetch("model/face_finder.json")).json();
        const yunet = new YuNet(runtime, { content, numbers });
        const memory = [];
        for (let number = 0; number < 160; number++) {  // of twenty sizes
            const [width, height] = [64 * (1 + number % 10), 64 * (1 + number % 4)];
            const pixels = new Uint32Array(width * height).fill(number);
            await yunet.rows({ width, height, pixels });
            memory.push(runtime.litert.getGlobalLiteRt().liteRtWasm.HEAPU8.buffer.byteLength);
        } return { memory, kept: yunet.kept };""",
    )
    assert found["kept"] <= 12
    assert found["memory"][159] == found["memory"][99]


@pytest.mark.slow
@needs_chromium
def test_download_times_and_memory_are_measured(folder, monkeypatch):
    monkeypatch.setattr(benchmark_browser, "SETTLING", 1)
    with ThreadPoolExecutor(1) as pool:  # Playwright runs only once in a thread
        figures = pool.submit(benchmark_browser.measure_page, folder, photos=3).result()
    listed = json.loads((folder / "files.js").read_text().split("=", 1)[1].strip().rstrip(";"))
    # Only one of the two runtimes is fetched, and texts and an example are not.
    assert figures["download_megabytes"] == pytest.approx(listed["megabytes"], abs=0.15)
    assert figures["first_answer_seconds"].keys() == {"cold", "warm"}
    assert figures["further_photo_milliseconds"]["median"] > 0
    assert 50 < figures["memory_megabytes"][3] < 2000
    assert 50 < figures["memory_when_short_megabytes"] < 1.2 * figures["memory_megabytes"][3]


@pytest.mark.slow
def test_types_and_lint(packages):
    for path in [*PAGE.glob("*.js"), *PAGE.glob("*.mjs"), PAGE / "tsconfig.json"]:
        shutil.copyfile(path, packages.parent / path.name)
    for script in ("types", "lint"):
        result = subprocess.run(
            ["npm", "run", "--silent", script],
            cwd=packages.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr


# --- What is built ---


@pytest.mark.slow
def test_folder_holds_what_it_lists_and_no_address_of_another_host(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = json.loads((folder / "files.js").read_text().split("=", 1)[1].strip().rstrip(";"))
    cases = {name for name in files if name.startswith("cases/")}
    assert set(listed["first"]) | set(listed["later"]) == files - cases
    assert "index.html" in listed["first"]
    assert "model/detector_weights.bin.zst" in listed["later"]
    assert "sdk: static" in (folder / "README.md").read_text()
    for name in ("index.html", "style.css", "main.js", "judge.js", "runtime.js"):
        text = (folder / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert 'src="http' not in text
        assert 'import("http' not in text
        assert 'fetch("http' not in text


@pytest.mark.slow
def test_page_is_pushed_as_a_static_space(packages, model, tmp_path):
    shutil.copytree(model, tmp_path / "run/export")
    code = (
        "import sys; from pathlib import Path; from huggingface_hub import HfApi\n"
        "import training.ship.web; from training.ship.push import _push_one, static_space_upload\n"
        "training.ship.web.install_packages = lambda folder: Path(sys.argv[2])\n"
        "training.ship.web.LEVEL = 1\n"
        "names = ('someone/page', 'someone/detector')\n"
        "_push_one(HfApi(), static_space_upload(Path(sys.argv[1]), *names, None))"
    )
    hub = Hub({"hf_owner": "someone"})
    with serve_hub(hub):
        environment = hub.environment("hf_owner", tmp_path / "home")
        result = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "run", packages],
            env=os.environ | environment,
            cwd=SPACE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    assert hub.errors == []
    space = hub.repositories["space", "someone/page"]
    assert space.sdk == "static"
    card = space.files["README.md"].decode()
    assert "sdk: static" in card
    assert "- someone/detector" in card
    served = {name: content for name, content in space.files.items() if name != ".gitattributes"}
    for name, content in served.items():
        if name != "README.md":
            assert (tmp_path / "run/web" / name).read_bytes() == content
    assert {
        "index.html",
        "files.js",
        "model/detector_graph.tflite.zst",
        "model/detector_weights.bin.zst",
        "litert/core.js",
    } <= served.keys()


def test_network_for_one_photo_answers_as_the_exported_one():
    from ai_edge_litert.interpreter import Interpreter

    graph = (BUNDLED / "detector.tflite").read_bytes()
    fixed = with_batch_of_one(graph)
    assert len(fixed) == len(graph)
    interpreter = Interpreter(model_content=fixed)
    (details,) = interpreter.get_input_details()
    assert list(details["shape_signature"]) == list(details["shape"])
    assert details["shape"][0] == 1
    photo = np.random.default_rng(3).integers(0, 256, details["shape"]).astype(np.float32)
    outputs = (
        Interpreter(model_content=content).get_signature_runner()(image=photo)
        for content in (fixed, graph)
    )
    found, wanted = outputs
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def test_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="written by something else"):
        web(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_missing_npm_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="npm is not installed"):
        install_packages(tmp_path)


def overlap(first: list[float], second: list[float]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
