from dataclasses import replace

import numpy as np
import pytest

from florence_rag.index.base import CachedAnswer, HasAnswerStore

AXES = np.eye(16, dtype=np.float32)
ANSWER = CachedAnswer(
    id="red",
    model="vqa",
    location="/photos/a.jpg",
    image_digest="1",
    image_sample="",
    question="What color is it?",
    normalized_question="color",
    answer="red",
    confidence=0.9,
    candidates=(("red", 0.9), ("blue", 0.1)),
    created_at="2026-01-01T00:00:00",
)


@pytest.fixture
def store(index):
    assert isinstance(index, HasAnswerStore)
    return index.answer_store()


def test_answers_are_read_as_they_were_stored(store, index):
    store.put(ANSWER, AXES[0])
    assert store.get("red") == ANSWER
    assert store.get("blue") is None
    assert index.answer_store().get("red") == ANSWER
    assert index.info().sources == 0, "answers are no sources"


def test_an_answer_replaces_one_with_the_same_id(store):
    store.put(ANSWER, AXES[0])
    store.put(replace(ANSWER, answer="blue"), AXES[0])
    assert (store.count(), store.get("red").answer) == (1, "blue")


def test_the_nearest_answers_of_the_model_come_first(store):
    store.put(ANSWER, AXES[0])
    store.put(replace(ANSWER, id="near"), (AXES[0] + AXES[1]) / 2**0.5)
    store.put(replace(ANSWER, id="other", model="other"), AXES[0])
    assert [each.id for each in store.nearest(AXES[0], "vqa", 5)] == ["red", "near"]
    assert [each.id for each in store.nearest(AXES[0], "vqa", 1)] == ["red"]


def test_answers_about_an_older_image_at_the_location_are_deleted(store):
    store.put(ANSWER, AXES[0])
    store.put(replace(ANSWER, id="new", image_digest="2"), AXES[0])
    store.put(replace(ANSWER, id="elsewhere", location="/photos/b.jpg"), AXES[0])
    store.delete_outdated("/photos/a.jpg", "2")
    assert store.get("red") is None
    assert store.get("new") and store.get("elsewhere")


def test_all_answers_are_deleted(store):
    assert store.clear() == 0
    for id in "ab":
        store.put(replace(ANSWER, id=id), AXES[0])
    assert (store.clear(), store.count(), store.get("a")) == (2, 0, None)
