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


class Asked(ColorVQA):
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
def memory(store):
    return CachedVQA(loaded(Asked()), store, EMBEDDER, "colours", now=lambda: NOON)


def jpeg(frame, size, quality=85):
    file = io.BytesIO()
    Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_the_same_question_is_asked_once(memory):
    red = color_frame("red", "red", "blue")
    first = memory.answer(red, "What colour is the wall?")
    again = memory.answer(red.copy(), "which color is the wall")
    assert memory.vqa.get().questions == ["What colour is the wall?"] and memory.counts == {"model": 1, "cache": 1}
    assert (again.answer, again.confidence, again.candidates) == (first.answer, first.confidence, first.candidates)
    assert not first.remembered
    assert again.remembered == (
        "remembered from 2029-07-14T12:00:00+00:00, when 'What colour is the wall?' was asked about this image"
    )


def test_a_picture_that_was_scaled_and_compressed_is_the_same(memory):
    picture = color_frame("red", "blue", size_px=256)
    memory.answer(picture, "What colour?")
    assert "looks the same" in memory.answer(jpeg(picture, 256), "What colour?").remembered
    assert len(memory.vqa.get().questions) == 1


@pytest.mark.parametrize(
    "other", ["Is the wall blue?", "Isn't the wall red?", "Is the wall left?", "Is the floor red?"]
)
def test_another_question_is_another(memory, other):
    red = color_frame("red")
    memory.answer(red, "Is the wall red?")
    assert not memory.answer(red, other).remembered


def test_a_picture_in_which_something_small_changed_is_another(memory):
    picture = color_frame("white", size_px=320)
    changed = picture.copy()
    changed[100:112, 100:112] = (255, 0, 0)
    memory.answer(picture, "What colour?")
    assert not memory.answer(changed, "What colour?").remembered


def test_a_picture_that_changed_at_its_place_is_asked_about_again(memory, store):
    picture = color_frame("red", "blue", size_px=256)
    memory.locate([picture], "/a.jpg")
    memory.answer(picture, "What colour?")
    assert store.count() == 1
    edited = jpeg(picture, 256)
    memory.locate([edited], "/a.jpg")
    assert store.count() == 0
    assert not memory.answer(edited, "What colour?").remembered
    elsewhere = jpeg(edited, 256, 80)
    memory.locate([elsewhere], "/b.jpg")
    assert memory.answer(elsewhere, "What colour?").remembered


def test_answers_of_another_model_are_not_used(memory, store):
    red = color_frame("red")
    memory.answer(red, "What colour?")
    other = CachedVQA(loaded(Asked()), store, EMBEDDER, "another")
    assert not other.answer(red, "What colour?").remembered


def test_answers_without_confidence_and_odd_questions_are_kept_as_they_are(memory, monkeypatch):
    said = VQAResult("so", None, ())
    monkeypatch.setattr(memory.vqa.get(), "answer", lambda frame, question: said)
    red = color_frame("red")
    for question in ('\udcff "what" \\ it\'s?', "日本語?"):
        assert memory.answer(red, question) == said
        assert memory.answer(red, question).answer == "so" and memory.answer(red, question).remembered
    for question in ("???", "why " * 1000):
        assert memory.answer(red, question) == memory.answer(red, question) == said


def test_it_is_still_known_after_the_database_was_closed(tmp_path):
    red = color_frame("red")
    for known in (False, True):
        with MilvusIndex.open(str(tmp_path / "a.db"), EMBEDDER.info) as index:
            memory = CachedVQA(loaded(ColorVQA()), index.answer_store(), EMBEDDER, "colours")
            assert bool(memory.answer(red, "What colour?").remembered) == known
