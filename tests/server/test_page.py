"""The page in headless Chromium. Skipped where Chromium or Playwright is absent."""

import shutil
import threading
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import expect, sync_playwright

from florence_rag.context import Models
from florence_rag.perception.base import Detection
from florence_rag.rag import FlorenceRAG
from florence_rag.server.app import create_app
from florence_rag.server.config import ServerConfig
from florence_rag.server.run import base_url, listening, run
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex
from tests.server.conftest import image_file, write_video

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]

TOKEN = "a-token-of-many-characters"
HTML = "<img src=x onerror=document.title=1><b>bold</b> the golden harbor"


class LeftHalf:
    def detect(self, frames):
        return [[Detection("car", (0.0, 0.0, 0.5, 1.0), 0.875)] for _ in frames]


@pytest.fixture(scope="module")
def rag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for color in ("red", "blue", "green", "orange"):
        (folder / f"{color}.png").write_bytes(image_file(color))
    (folder / "two.png").write_bytes(image_file("yellow", "pink"))
    (folder / "note.txt").write_text(HTML)
    write_video(folder / "clip.webm", ("black", "purple"), codec="libvpx")
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), Models.of(ColorEmbedder(), vqa=ColorVQA(), detector=LeftHalf()))
    report = rag.add(folder)
    assert not report.failed
    return rag


class Server:
    """A server in a thread, which stops at the end of the block."""

    def __init__(self, rag, folder, **settings):
        self.config = ServerConfig(port=0, upload_folder=folder, **settings)
        self.app, self.ready = create_app(rag, self.config), threading.Event()

    def __enter__(self):
        self._listening = listening(self.config)
        self.url = base_url(self.config, listener := self._listening.__enter__())
        self._thread = threading.Thread(target=run, args=(self.app, listener, self._begin), daemon=True)
        self._thread.start()
        assert self.ready.wait(30)
        return self

    def _begin(self):
        self.ready.set()

    def __exit__(self, *error):
        self._listening.__exit__(None, None, None)


@pytest.fixture(scope="module")
def server(rag, tmp_path_factory):
    with Server(rag, tmp_path_factory.mktemp("uploads")) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["desktop", "phone"])
def page(request, browser, server):
    """The page, which may neither report an error nor ask another server for anything."""
    size = {"desktop": (1280, 860), "phone": (380, 800)}[request.param]
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme="dark")
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda message: (
            message.type == "error" and "(Bad Request)" not in message.text and problems.append(message.text)
        ),
    )
    page.on("request", lambda sent: sent.url.startswith((server.url, "blob:", "data:")) or problems.append(sent.url))
    page.goto(server.url)
    yield page
    width = page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert problems == [] and width <= size[0]


def search(page, text):
    page.get_by_label("Description").fill(text)
    page.keyboard.press("Enter")


def names(page, count=1):
    expect(page.locator(".card").first).to_be_visible()
    return [card.inner_text() for card in page.locator(".card .name").all()[:count]]


def test_a_text_is_searched_and_a_result_opens(page):
    search(page, "something red")
    expect(page.locator(".card .name").first).to_have_text("red.png")
    page.locator(".card").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading")).to_have_text("red.png")
    assert dialog.locator("img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    dialog.get_by_role("button", name="Objects").click()
    expect(dialog.locator(".object")).to_have_text("car 88 %")
    dialog.get_by_role("button", name="Heat map").click()
    expect(dialog.get_by_role("status")).to_contain_text("Warmer parts")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_everything_works_by_keyboard(page):
    page.keyboard.press("Tab")
    page.keyboard.press("/")
    page.keyboard.type("something blue")
    page.keyboard.press("Enter")
    expect(page.locator(".card .name").first).to_have_text("blue.png")
    page.locator(".card").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Search a region").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    page.get_by_role("button", name="Search this region").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#query-hint")).to_contain_text("This part")
    page.get_by_role("tab", name="Search").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Message")).to_be_visible()


def test_an_image_is_searched_and_a_region_of_it(page):
    image = {"name": "query.png", "mimeType": "image/png", "buffer": image_file("green", "orange")}
    page.locator("#image").set_input_files(image)
    expect(page.locator(".card .name").first).to_be_visible()
    stage = page.locator("#query-stage")
    area = stage.bounding_box()
    page.mouse.move(area["x"] + 2, area["y"] + 2)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.45, area["y"] + area["height"] - 2, steps=4)
    page.mouse.up()
    expect(page.locator(".card .name").first).to_have_text("green.png")
    page.get_by_role("button", name="Whole image").click()
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator(".card")).to_have_count(0)


def test_an_image_is_dropped(page):
    data = page.evaluate_handle(
        """(bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            return data;
        }""",
        list(image_file("orange")),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator(".card .name").first).to_have_text("orange.png")


def test_an_image_that_is_none_is_named(page):
    page.locator("#image").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    expect(page.locator("#status.error")).to_contain_text("image")
    search(page, "red")  # a new text with the same image
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator(".card .name").first).to_have_text("red.png")


def test_a_video_plays_from_the_moment(page):
    search(page, "purple")
    page.locator(".card", has_text="clip.webm").click()
    video = page.get_by_role("dialog").locator("video")
    expect(video).to_be_visible()
    page.wait_for_timeout(1500)
    at, source = video.evaluate("video => [video.currentTime, video.currentSrc]")
    start = float(source.partition("#t=")[2].partition(",")[0])
    assert start > 0 and at >= start


def test_filters(page):
    search(page, "red harbor")
    expect(page.locator(".card").first).to_be_visible()
    page.locator("#kinds label", has_text="Texts").click()
    expect(page.locator(".card .name")).to_have_text(["note.txt"])
    page.locator("#kinds label", has_text="Texts").click()
    page.get_by_text("Filters").click()
    page.get_by_label("File or folder", exact=True).fill("BLUE")
    page.keyboard.press("Enter")
    expect(page.locator(".card .name")).to_have_text(["blue.png"])
    page.get_by_label("Tags").fill("nowhere")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Nothing found")


def test_the_text_of_a_file_is_never_html(page):
    search(page, "golden harbor")
    page.locator(".card", has_text="note.txt").click()
    expect(page.get_by_role("dialog").locator("blockquote")).to_have_text(HTML)
    assert page.locator("blockquote b, .passage b").count() == 0 and page.title() == "florence_rag"


def test_a_conversation_with_a_follow_up(page):
    page.get_by_role("tab", name="Chat").click()
    message = page.get_by_label("Message")
    message.fill("show me something green")
    message.press("Enter")
    expect(page.locator(".turn[aria-busy=false]")).to_have_count(1)
    expect(page.locator(".turn").last.locator(".strip button").first).to_be_visible()
    message.fill("only videos")
    message.press("Enter")
    expect(page.locator(".turn[aria-busy=false]")).to_have_count(2)
    page.reload()
    expect(page.locator(".turn")).to_have_count(2)
    page.locator(".turn").first.locator(".strip button").first.click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text("green.png")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)


def test_uploads_are_indexed_and_a_bad_file_is_named(page):
    page.get_by_role("tab", name="Index").click()
    page.locator("#files").set_input_files(
        [
            {"name": "gray.png", "mimeType": "image/png", "buffer": image_file("gray")},
            {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"this is no image"},
            {"name": "virus.exe", "mimeType": "application/octet-stream", "buffer": b"MZ"},
        ]
    )
    job = page.locator(".job").first
    expect(job).to_contain_text("1 added, 1 failed", timeout=20_000)
    expect(job.get_by_text("broken.jpg")).to_be_visible()
    expect(page.locator("#index-status")).to_contain_text("virus.exe")
    page.get_by_role("tab", name="Search").click()
    search(page, "gray")
    expect(page.locator(".card .name").first).to_have_text("gray.png")


def test_the_token_comes_from_the_address_or_is_asked_for(browser, rag, tmp_path):
    with Server(rag, tmp_path, token=TOKEN) as server:
        page = browser.new_context().new_page()
        page.goto(f"{server.url}/#token={TOKEN}")
        expect(page.locator("#contents")).to_contain_text("images")
        assert TOKEN not in page.url and TOKEN not in page.evaluate("document.cookie")
        page = browser.new_context().new_page()
        page.goto(server.url)
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#login-status")).to_contain_text("not the token")
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#contents")).to_contain_text("images")
        expect(page.get_by_role("textbox", name="Token")).to_be_hidden()


def test_a_server_that_is_gone_is_said(browser, rag, tmp_path):
    with Server(rag, tmp_path) as server:
        page = browser.new_context().new_page()
        page.goto(server.url)
        page.route("**/api/**", lambda route: route.abort())
        search(page, "red")
        expect(page.locator("#status")).to_have_text("The server cannot be reached.")
    assert Path(tmp_path).is_dir()
