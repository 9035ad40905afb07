import importlib.util
import sys
from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColourEmbedder, ColourVQA, MemoryIndex, colour_frame

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(monkeypatch):
    """An example as a module, from its file, as a person would run it."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # pydantic looks up the types of a class there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def rag(tmp_path):
    """Two walls, seen by doubles that know colours."""
    for colour in ("red", "blue"):
        Image.fromarray(colour_frame(colour)).save(tmp_path / f"{colour}.png")
    embedder = ColourEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder, vqa=ColourVQA()) as rag:
        rag.add(tmp_path)
        yield rag
