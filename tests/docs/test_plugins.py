"""Every Python block of docs/plugins.md runs, in its order, on doubles."""

import re
from pathlib import Path

from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColourEmbedder, ColourVQA, MemoryIndex, colour_frame

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plugins.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    (tmp_path / "photos").mkdir()
    for colour in ("red", "blue"):
        Image.fromarray(colour_frame(colour)).save(tmp_path / "photos" / f"{colour}.png")
    embedder = ColourEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), embedder, vqa=ColourVQA())
    monkeypatch.setattr(FlorenceRAG, "open", lambda db: rag)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    names = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert len(blocks) >= 13
    assert "blue (confidence 1.00)" in capsys.readouterr().out


def test_links_lead_somewhere():
    links = re.findall(r"\]\((\.\./[^)]+)\)", PAGE.read_text("utf-8"))
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
