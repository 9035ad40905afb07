import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.errors import ModelError
from florence_rag.loading.model_factory import lazy_captioner, lazy_detector
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY
from florence_rag.perception.base import Detection, Segmenter
from florence_rag.tasks.segment import require_segmenter, segmenter_among
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Source

TRIANGLE = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))


class DrawsTriangles:
    """Round whatever is asked for, but for a cat."""

    def segment(self, frame, expression):
        return None if "cat" in expression else Detection(expression, (0.1, 0.1, 0.9, 0.9), None, (TRIANGLE,))


def rag_with(**parts):
    embedder = ColorEmbedder()
    return FlorenceRAG(MemoryIndex(embedder.info), embedder, **parts)


def test_files_and_indexed_pictures_are_outlined(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    rag = rag_with(detector=DrawsTriangles())
    region = rag.segment(tmp_path / "red.png", "the red car")
    assert (region.label, region.polygons) == ("the red car", (TRIANGLE,))
    (id,) = rag.upsert_chunks([Chunk(Source("/r", "image", 1, 1, "r"), "image", frames=(color_frame("red"),))])
    assert rag.segment(color_frame("red"), "a cat") is None and id


def test_without_a_model_that_can_those_are_named_that_can(tmp_path):
    with pytest.raises(ModelError, match="florence-2-base, florence-2-large") as caught:
        rag_with(detector=lazy_detector(TINY, ModelOptions())).segment(color_frame("red"), "the car")
    assert "\n" not in str(caught.value)


def test_florence_2_can_and_florence_tiny_cannot_before_they_are_loaded():
    access = ModelOptions(offline=True)
    florence2 = lazy_captioner("florence-2-base", access)
    assert isinstance(florence2, Segmenter) and require_segmenter(None, florence2) is florence2
    assert segmenter_among(lazy_captioner(TINY, access), lazy_detector(TINY, access), None) is None
