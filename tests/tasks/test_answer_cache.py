import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from florence_rag.context import loaded
from florence_rag.index.milvus import MilvusIndex
from florence_rag.perception.base import VQAResult
from florence_rag.tasks.answer_cache import CachedVQA
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryAnswerStore, color_frame

EMBEDDER = ColorEmbedder()
NOON = datetime(2029, 7, 14, 12, tzinfo=UTC)


class RecordingVQA(ColorVQA):
    def __init__(self):
        self.questions = []

    def answer(self, frame, question):
        self.questions.append(question)
        return super().answer(frame, question)


@pytest.fixture(params=["memory", "lite"])
def store(request, tmp_path):
    if request.param == "memory":
        yield MemoryAnswerStore()
        return
    with MilvusIndex.open(str(tmp_path / "a.db"), EMBEDDER.info) as index:
        yield index.answer_store()


@pytest.fixture
def cache(store):
    return CachedVQA(loaded(RecordingVQA()), store, EMBEDDER, "colors", now=lambda: NOON)


def jpeg(frame, size, quality=85):
    file = io.BytesIO()
    Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_the_model_answers_the_same_question_once(cache):
    red = color_frame("red", "red", "blue")
    first = cache.answer(red, "What color is the wall?")
    repeated = cache.answer(red.copy(), "which color is the wall")
    assert cache.vqa.get().questions == ["What color is the wall?"] and cache.counts == {"model": 1, "cache": 1}
    assert (repeated.answer, repeated.confidence, repeated.candidates) == (
        first.answer,
        first.confidence,
        first.candidates,
    )
    assert not first.cached_from
    assert repeated.cached_from == (
        "cached answer of 2029-07-14T12:00:00+00:00 to 'What color is the wall?' about this image"
    )


def test_a_scaled_and_compressed_image_is_the_same(cache):
    image = color_frame("red", "blue", size_px=256)
    cache.answer(image, "What color?")
    assert "about a near-duplicate image" in cache.answer(jpeg(image, 256), "What color?").cached_from
    assert len(cache.vqa.get().questions) == 1


@pytest.mark.parametrize(
    "other", ["Is the wall blue?", "Isn't the wall red?", "Is the wall left?", "Is the floor red?"]
)
def test_another_question_is_not_cached(cache, other):
    red = color_frame("red")
    cache.answer(red, "Is the wall red?")
    assert not cache.answer(red, other).cached_from


def test_an_image_with_a_small_change_is_not_cached(cache):
    image = color_frame("white", size_px=320)
    changed = image.copy()
    changed[100:112, 100:112] = (255, 0, 0)
    cache.answer(image, "What color?")
    assert not cache.answer(changed, "What color?").cached_from


def test_an_image_that_changed_at_its_location_is_not_cached(cache, store):
    image = color_frame("red", "blue", size_px=256)
    cache.locate([image], "/a.jpg")
    cache.answer(image, "What color?")
    assert store.count() == 1
    edited = jpeg(image, 256)
    cache.locate([edited], "/a.jpg")
    assert store.count() == 0
    assert not cache.answer(edited, "What color?").cached_from
    copy = jpeg(edited, 256, 80)
    cache.locate([copy], "/b.jpg")
    assert cache.answer(copy, "What color?").cached_from


def test_answers_of_another_model_are_not_used(cache, store):
    red = color_frame("red")
    cache.answer(red, "What color?")
    other = CachedVQA(loaded(RecordingVQA()), store, EMBEDDER, "another")
    assert not other.answer(red, "What color?").cached_from


def test_answers_without_confidence_and_unusual_questions_are_cached(cache, monkeypatch):
    result = VQAResult("so", None, ())
    monkeypatch.setattr(cache.vqa.get(), "answer", lambda frame, question: result)
    red = color_frame("red")
    for question in ('\udcff "what" \\ it\'s?', "日本語?"):
        assert cache.answer(red, question) == result
        assert cache.answer(red, question).answer == "so" and cache.answer(red, question).cached_from
    for question in ("???", "why " * 1000):
        assert cache.answer(red, question) == cache.answer(red, question) == result


def test_answers_persist_after_the_database_is_closed(tmp_path):
    red = color_frame("red")
    for is_cached in (False, True):
        with MilvusIndex.open(str(tmp_path / "a.db"), EMBEDDER.info) as index:
            cache = CachedVQA(loaded(ColorVQA()), index.answer_store(), EMBEDDER, "colors")
            assert bool(cache.answer(red, "What color?").cached_from) == is_cached
