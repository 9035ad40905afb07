"""The program of docs/indexing.md runs, on doubles."""

import re
from pathlib import Path

from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame

PAGE = Path(__file__).parents[2] / "docs" / "indexing.md"


def test_the_block_runs(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    Image.fromarray(color_frame("red")).save(tmp_path / "photos" / "red.png")
    rag = FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder())
    monkeypatch.setattr(FlorenceRAG, "open", lambda db: rag)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(block, str(PAGE), "exec"), {})
    assert list(rag.index.sources()) == [str(tmp_path / "photos" / "red.png")]
