import importlib.util
import sys
from pathlib import Path

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from tests.retrievers.untrained import save_untrained

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def load_example(monkeypatch):
    """Return a function that loads an example as a module from its file."""

    def load(name):
        monkeypatch.syspath_prepend(EXAMPLES)  # as for a script, which finds its neighbors
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # pydantic looks up the types of a class there
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def image_folder(tmp_path):
    """Return a folder with two images of walls."""
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    return tmp_path


@pytest.fixture
def rag(image_folder):
    """Index the walls by test doubles that recognize colors."""
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(image_folder)
        yield rag


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """Return the folder of an untrained model."""
    path = tmp_path_factory.mktemp("model")
    save_untrained(path)
    return str(path)


@pytest.fixture
def open_untrained(untrained, monkeypatch):
    """Let FlorenceRAG.open load the untrained model, under every name."""
    opened = FlorenceRAG.open
    monkeypatch.setattr(FlorenceRAG, "open", lambda db, model=None, **options: opened(db, untrained, **options))
