import gc

import pytest
from IPython.core.interactiveshell import InteractiveShell
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from florence_rag.viz.notebook import show_in_notebook


@pytest.fixture
def html():
    shell = InteractiveShell.instance()
    yield shell.display_formatter.formatters["text/html"]
    InteractiveShell.clear_instance()


@pytest.fixture
def rag(html, tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"<b>{color}.png")
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        yield rag


def test_results_are_galleries_with_images(rag, html):
    hits = rag.search("red")
    turn = rag.chat().ask("red")
    answer = rag.ask("Is the wall red?")
    for result, count in ((hits, 2), (hits[0], 1), (turn, 1), (answer, len(answer.citations))):
        shown = html(result)
        assert shown.count("<img ") == count
        assert "&lt;b&gt;" in shown and "<b>red.png" not in shown
    assert "The best matches" in html(turn)


def test_other_lists_are_printed(rag, html):
    assert html([]) is None
    assert html([1, rag.search("red")[0]]) is None


def test_a_closed_index_is_not_kept(html, tmp_path):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder)
    rag.items.upsert_texts(["red"])
    hits = rag.search("red")
    del rag
    gc.collect()
    assert html(hits) is None


def test_outside_ipython_nothing_is_registered(monkeypatch):
    monkeypatch.delitem(__import__("sys").modules, "IPython", raising=False)
    show_in_notebook(object())


def test_progress_is_shown_in_notebooks_and_not_in_terminals(html, tmp_path, monkeypatch, capsys):
    shell = InteractiveShell.instance()
    shown = []
    monkeypatch.setattr(shell.display_pub, "publish", lambda data, *_, **__: shown.append(data["text/plain"]))
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder()) as rag:
        rag.items.upsert_texts(["red"])
        assert rag.add(tmp_path).added == 1 and shown == []
        monkeypatch.setattr(shell, "kernel", object(), raising=False)
        Image.fromarray(color_frame("blue")).save(tmp_path / "blue.png")
        rag.add(tmp_path)
        assert shown[0] == "looking for files" and shown[-1] == "1 of 1 files, 1 chunks"
        own = []
        rag.add(tmp_path, retry=True, progress=own.append)
    assert shown.count("looking for files") == 1
