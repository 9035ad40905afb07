import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.errors import ModelError
from florence_rag.loading.index_models import ModelNames, load_models
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY
from florence_rag.perception.base import Detection
from florence_rag.tasks.segment import require_segmenter
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Chunk, Source

TRIANGLE = ((0.1, 0.1), (0.9, 0.1), (0.5, 0.9))


class TriangleSegmenter:
    """Outlines any object except a cat as a triangle."""

    def segment(self, frame, expression):
        return None if "cat" in expression else Detection(expression, (0.1, 0.1, 0.9, 0.9), None, (TRIANGLE,))


def rag_with(**models):
    embedder = ColorEmbedder()
    return FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, **models))


def test_files_and_pixels_are_outlined(tmp_path):
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    rag = rag_with(detector=TriangleSegmenter())
    region = rag.segment(tmp_path / "red.png", "the red car")
    assert (region.label, region.polygons) == ("the red car", (TRIANGLE,))
    (id,) = rag.items.upsert_chunks([Chunk(Source("/r", "image", 1, 1, "r"), "image", frames=(color_frame("red"),))])
    assert rag.segment(color_frame("red"), "a cat") is None and id


def test_without_a_segmenter_the_models_that_can_segment_are_named():
    with pytest.raises(ModelError, match="florence-2-base, florence-2-large") as caught:
        rag_with().segment(color_frame("red"), "the car")
    assert "\n" not in str(caught.value)


def test_florence_2_segments_and_florence_tiny_does_not():
    options = ModelOptions(offline=True)
    florence2 = load_models(ModelNames(TINY, captioner="florence-2-base"), options)
    assert florence2.segmenter is not None
    with pytest.raises(ModelError, match="can segment"):
        require_segmenter(load_models(ModelNames(TINY, captioner=TINY, detector=TINY), options))
