"""The page about conversations: its blocks without a chat model run, in order, on test doubles."""

import re
from pathlib import Path

from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.chat.session import ChatOptions
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame

PAGE = (Path(__file__).parents[2] / "docs/chat.md").read_text("utf-8")


def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    Image.fromarray(color_frame("blue")).save(tmp_path / "blue.png")
    monkeypatch.setattr("florence_rag.retrieval.relevance.DEFAULT_MIN_RELEVANCE", 0.0)  # a car is no color
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        monkeypatch.setattr(FlorenceRAG, "open", lambda db: rag)
        names = {}
        blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        for block in blocks:
            if "openai:" not in block:
                exec(compile(block, "chat.md", "exec"), names)
    assert len(blocks) == 3
    assert capsys.readouterr().out.startswith("blue [1]\nwhat is next to the car?\n")


def test_the_defaults_are_those_of_the_options():
    described = re.sub(r"\s+", " ", ChatOptions.__doc__)
    assert "60 by default" in described and "(60 s by default)" in PAGE
