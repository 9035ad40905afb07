import threading
import time

import pytest

from florence_rag.context import LazyValue, Models
from florence_rag.errors import ModelError
from florence_rag.testing import ColorEmbedder, ColorVQA, ScriptedVQA


def test_a_value_is_loaded_once_by_the_first_thread_that_uses_it():
    loaded = []

    def slow():
        time.sleep(0.05)
        loaded.append(object())
        return loaded[-1]

    value = LazyValue(slow)
    assert loaded == []
    threads = [threading.Thread(target=value.get) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [value.get()]


def test_a_value_is_loaded_again_after_a_failure():
    tries = iter([ModelError("not yet"), "value"])

    def fickle():
        result = next(tries)
        if isinstance(result, Exception):
            raise result
        return result

    value = LazyValue(fickle)
    with pytest.raises(ModelError, match="not yet"):
        value.get()
    assert value.get() == "value"


class FindingCaptioner:
    def caption(self, frames):
        return [""] * len(frames)

    def detect(self, frames):
        return [[]] * len(frames)

    def locate(self, frame, phrase):
        return []

    def segment(self, frame, phrase):
        return None


class OnlyDetector:
    def detect(self, frames):
        return [[]] * len(frames)


def test_a_loaded_model_fills_every_role_that_it_implements():
    vqa, captioner = ScriptedVQA({}, fit=0.5), FindingCaptioner()
    models = Models.of(ColorEmbedder(), vqa=vqa, captioner=captioner)
    assert models.vqa.get() is models.matcher.get() is vqa
    assert models.captioner.get() is models.detector.get() is models.grounder.get() is models.segmenter.get()
    assert models.attention_vqa is None and models.ocr_reader is None and models.reranker is None


def test_a_model_of_its_own_takes_precedence_in_a_role():
    matcher, detector = ColorVQA(), OnlyDetector()
    models = Models.of(
        ColorEmbedder(), vqa=ScriptedVQA({}, fit=0.5), matcher=matcher, captioner=FindingCaptioner(), detector=detector
    )
    assert models.matcher.get() is matcher and models.detector.get() is detector
    assert models.grounder.get() is models.captioner.get()


def test_an_index_needs_an_embedder_only():
    models = Models.of(ColorEmbedder())
    assert [name for name, value in vars(models).items() if value is not None] == ["embedder"]
