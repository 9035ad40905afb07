import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.testing import ColourEmbedder, ColourVQA, MemoryIndex, colour_frame


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three pictures and a text."""
    path = tmp_path_factory.mktemp("corpus")
    for colours in (("red",), ("blue",), ("green", "green", "yellow")):
        Image.fromarray(colour_frame(*colours)).save(path / f"{'-'.join(colours)}.png")
    (path / "notes.txt").write_text("The red bus leaves at nine.\n")
    return path


@pytest.fixture(scope="session")
def rag(folder):
    embedder = ColourEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder, vqa=ColourVQA()) as rag:
        rag.add(folder)
        yield rag
