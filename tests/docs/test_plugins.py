"""The pages of the plug-ins: every Python block runs, in order, on test doubles, and every name in them exists."""

import re
from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame

ROOT = Path(__file__).parents[2]
PAGES = {
    path.stem: path for path in (ROOT / "docs").glob("*.md") if path.stem in ("plugins", "langchain", "llama_index")
}
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("page", "blocks"), [("langchain", 10), ("llama_index", 9), ("plugins", 3)])
def test_the_blocks_run(page, blocks, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / "photos" / f"{color}.png")
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA()))
    monkeypatch.setattr(FlorenceRAG, "open", lambda db: rag)
    monkeypatch.chdir(tmp_path)
    code = BLOCK.findall(PAGES[page].read_text("utf-8"))
    names = {}
    for block in code:
        exec(compile(block, str(PAGES[page]), "exec"), names)
    assert len(code) >= blocks


def test_what_the_page_of_langchain_prints(tmp_path, monkeypatch, capsys):
    test_the_blocks_run("langchain", 9, tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert '"blue" (confidence 1.00)' in printed and "['tool', 'human']" in printed


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = PAGES[page].read_text("utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (PAGES[page].parent / path) if path else PAGES[page]
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(path):
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["langchain", "llama_index"])
def test_every_public_name_is_in_a_page(page):
    package = __import__(f"{page}_florence")
    text = "".join(PAGES[name].read_text("utf-8") for name in (page, "plugins"))
    assert [name for name in package.__all__ if name not in text] == []


def test_the_tests_that_are_named_exist():
    named, file = [], ""
    for where in re.findall(r"`([\w/]*::test_\w+)`", PAGES["plugins"].read_text("utf-8")):
        path, _, name = where.partition("::")
        file = path or file
        named.append((file, name))
    assert len(named) >= 15
    missing = [
        (file, name) for file, name in named if f"def {name}(" not in (ROOT / "tests" / f"{file}.py").read_text()
    ]
    assert missing == []
