"""Makes the pictures of README.md: a contact sheet, and the page with a search and a chat.

    python recipes/pictures.py [--db DEMO.db]

It indexes the demo corpus in a temporary folder, if no database of it is given, and needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COMMAND = [sys.executable, "-m", "florence_rag"]
QUERY = "a car parked next to a fire hydrant"
WIDTH, HEIGHT = 1000, 760
MAX_BYTES = 300_000
TIMEOUT_MS = 120_000
LOADED = """[...document.images]
    .filter(image => image.checkVisibility() && image.getBoundingClientRect().top < innerHeight)
    .every(image => image.complete && image.naturalWidth)"""


@contextmanager
def serving(db: str) -> Iterator[str]:
    """Yield the address of a server of a database."""
    process = subprocess.Popen([*COMMAND, "serve", "--db", db, "--port", "0", "--json"], stdout=subprocess.PIPE)
    try:
        assert process.stdout
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(60)


def search(page: Page) -> None:
    """Search by a text."""
    page.get_by_label("Description").fill(QUERY)
    page.keyboard.press("Enter")
    expect(page.locator(".card").nth(3)).to_be_visible()


def chat(page: Page) -> None:
    """Ask a question, and one that refers to it."""
    page.get_by_role("tab", name="Chat").click()
    questions = ("What color is the dog beside the person in green?", "and how many dogs are there?")
    for count, question in enumerate(questions, start=1):
        page.get_by_label("Message").fill(question)
        page.keyboard.press("Enter")
        expect(page.locator(".turn[aria-busy=false]")).to_have_count(count)
        expect(page.locator(".turn").last.locator(".strip button").first).to_be_visible()


def save(image: Image.Image, name: str) -> None:
    """Save a small picture."""
    path = IMAGES / name
    image.convert("RGB").save(path, quality=85, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {image.width} x {image.height}, {size:,} bytes")
    if size > MAX_BYTES:
        raise SystemExit(f"{path} is larger than {MAX_BYTES:,} bytes")


def make(db: str, folder: Path) -> None:
    """Make all pictures of a database."""
    sheet = folder / "contact-sheet.png"
    options = ["-k", "10", "--kind", "image", "--contact-sheet", str(sheet)]
    subprocess.run([*COMMAND, "search", QUERY, "--db", db, *options], check=True, stdout=subprocess.DEVNULL)
    with Image.open(sheet) as image:
        save(image, "contact-sheet.jpg")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with serving(db) as url, sync_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MS)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, show in (("page.jpg", search), ("chat.jpg", chat)):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, bypass_csp=True)
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(url, wait_until="networkidle")  # otherwise the form may be sent before its script runs
            show(page)
            page.wait_for_function(LOADED)
            with Image.open(io.BytesIO(page.screenshot())) as screenshot:
                save(screenshot, name)
        browser.close()


def main() -> None:
    """Make all pictures of a database, or of a new one of the demo corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--db")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.db:
            subprocess.run([*COMMAND, "demo", str(Path(folder) / "demo")], check=True, stdout=subprocess.DEVNULL)
        make(arguments.db or str(Path(folder) / "demo" / "demo.db"), Path(folder))


if __name__ == "__main__":
    main()
