import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from tests.retrievers.conftest import draw_video


@pytest.fixture(scope="session")
def rag(tmp_path_factory):
    """A image, a passage and a video."""
    path = tmp_path_factory.mktemp("shown")
    Image.fromarray(color_frame("blue", size_px=200)).save(path / "a blue & <wall>.png")
    (path / "notes.txt").write_text("The <b>red</b> bus leaves at nine.\n")
    draw_video(path / "walk.mp4", ("red", "green"))
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        assert rag.add(path).failed == ()
        yield rag
