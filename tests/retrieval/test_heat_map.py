import shutil

import numpy as np
import pytest

from benchmarks.heat_maps import lies_in, peak, sample_objects
from florence_rag.errors import InputError, MediaError
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.heat_map import occlusion_map
from florence_rag.testing import COLORS, ColorEmbedder, MemoryIndex, color_frame


def spotted(size=(96, 160), top=0.5, left=0.7) -> np.ndarray:
    """Return a blue image with a red spot at a place in fractions of its size."""
    frame = np.empty((*size, 3), np.uint8)
    frame[:] = COLORS["blue"]
    y, x = int(top * size[0]), int(left * size[1])
    frame[y : y + size[0] // 8, x : x + size[1] // 8] = COLORS["red"]
    return frame


@pytest.mark.parametrize("size", [(96, 160), (700, 90), (50, 1200)])
def test_the_warmest_place_shows_what_the_text_says(size):
    embedder, frame = ColorEmbedder(), spotted(size)
    weights = occlusion_map(embedder, frame, embedder.embed_texts(["red"])[0])
    assert weights.shape == (8, 8) and weights.dtype == np.float32 and weights.min() == 0
    assert lies_in(peak(weights), (0.7, 0.5, 0.825, 0.625), margin=0.01)
    assert (weights > weights.max() / 2).sum() <= 9


def test_a_text_that_the_image_does_not_show_is_cold_everywhere():
    embedder = ColorEmbedder()
    assert not occlusion_map(embedder, spotted(), embedder.embed_texts(["pink"])[0]).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2)])
def test_an_image_of_few_pixels_has_a_heat_map(size):
    embedder = ColorEmbedder()
    frame = np.full((*size, 3), 255, np.uint8)
    assert np.isfinite(occlusion_map(embedder, frame, embedder.embed_texts(["white"])[0])).all()


def test_a_hit_is_explained_by_its_image(tmp_path):
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder(), images=tmp_path) as rag:
        rag.items.upsert_images([spotted()], ids=["spot"])
        rag.items.upsert_texts(["a red text"], ids=["text"])
        spot, text = rag.get(["spot", "text"])
        assert lies_in(peak(rag.retriever.heat_map(spot, "red")), (0.7, 0.5, 0.825, 0.625), margin=0.01)
        with pytest.raises(InputError, match="a passage has no image"):
            rag.retriever.heat_map(text, "red")
        shutil.rmtree(tmp_path)
        with pytest.raises(MediaError):
            rag.retriever.heat_map(spot, "red")


@pytest.mark.slow
def test_the_warmest_place_of_most_scenes_lies_on_the_named_object():
    embedder = load_model(EMBEDDER, "florence-tiny")
    found = [
        lies_in(peak(occlusion_map(embedder, frame, embedder.embed_texts([text])[0])), box, margin=1 / 16)
        for frame, text, box in sample_objects(10)
    ]
    assert sum(found) >= 6, found


def test_frames_are_only_read(tmp_path):
    frame = color_frame("red")
    before = frame.copy()
    frame.flags.writeable = False
    occlusion_map(ColorEmbedder(), frame, ColorEmbedder().embed_texts(["red"])[0])
    assert (frame == before).all()
