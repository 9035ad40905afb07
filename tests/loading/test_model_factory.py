import threading
import time

import pytest

from florence_rag.errors import ModelError
from florence_rag.loading.lazy import LazyMatcher, LazyOCRReader, LazyValue, LazyVQA
from florence_rag.loading.model_factory import (
    lazy_captioner,
    lazy_vqa,
    open_embedder,
    open_vqa,
)
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.downloads import Fetcher
from florence_rag.perception.base import Detector, OCRReader
from florence_rag.perception.florence2 import Florence2, Florence2Settings
from florence_rag.testing import ScriptedReader, ScriptedVQA, color_frame
from tests.perception.tiny import save_florence2
from tests.retrievers.untrained import save_untrained


def test_a_part_is_opened_once_when_it_is_first_used_whoever_asks():
    opened = []

    def slow():
        time.sleep(0.05)
        opened.append(object())
        return opened[-1]

    part = LazyValue(slow)
    assert opened == []
    threads = [threading.Thread(target=part) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [part()]


def test_a_part_that_could_not_be_opened_is_tried_again():
    tries = iter([ModelError("not yet"), "part"])

    def fickle():
        result = next(tries)
        if isinstance(result, Exception):
            raise result
        return result

    part = LazyValue(fickle)
    with pytest.raises(ModelError, match="not yet"):
        part()
    assert part() == "part"


def test_lazy_parts_do_what_the_real_ones_do():
    frame = color_frame("red")
    vqa = LazyVQA(lambda: ScriptedVQA({"": ("yes", 0.9)}, fit=0.5))
    assert vqa.answer(frame, "Is it?").answer == "yes"
    assert LazyMatcher(lambda: ScriptedVQA({}, fit=0.5)).match([frame], ["it"]).tolist() == [0.5]
    assert LazyOCRReader(lambda: ScriptedReader({"red": "STOP"})).read(frame)[0].text == "STOP"


@pytest.mark.parametrize("open_part", [open_embedder, open_vqa])
def test_an_unknown_model_is_named(open_part):
    with pytest.raises(ModelError, match="no-such-model"):
        open_part("no-such-model")


def test_all_that_florence_2_can_do_is_there_before_it_is_loaded(tmp_path):
    folder = save_florence2(tmp_path)
    captioner = lazy_captioner(str(folder), ModelOptions(offline=True, device="cpu"))
    captioner._part._part = Florence2.from_pretrained(
        folder, name="tiny", offline=True, settings=Florence2Settings(max_tokens=4, beams=1)
    )
    frame = color_frame("red")
    assert isinstance(captioner, Detector) and isinstance(captioner, OCRReader)
    for many in (captioner.caption, captioner.detect, captioner.describe_regions, captioner.propose_regions):
        assert len(many([frame])) == 1
    for about in (captioner.locate, captioner.ground):
        assert isinstance(about(frame, "a red car"), list)
    assert captioner.segment(frame, "the car") is None and isinstance(captioner.read(frame), list)


@pytest.mark.parametrize("name", [None, "never"])
def test_nothing_describes_where_nothing_is_to(name):
    assert lazy_captioner(name, ModelOptions()) is None


def test_a_wrong_describer_is_told_before_anything_is_opened():
    with pytest.raises(
        ModelError,
        match="'siglip2-base' lacks the role 'describe'; models with it: florence-tiny, florence-2-base",
    ):
        lazy_captioner("siglip2-base", ModelOptions())


def test_a_folder_of_ours_that_was_pushed_to_a_hub_opens_by_its_name(tmp_path, monkeypatch):
    fetched = []

    def repository(self, name, **_):
        fetched.append(name)
        return tmp_path

    save_untrained(tmp_path)
    monkeypatch.setattr(Fetcher, "repository", repository)
    access = ModelOptions(device="cpu")
    for prefix in ("florence", "unicl"):
        assert open_embedder(f"{prefix}:owner/name", access).info.name == f"{prefix}:owner/name"
    vqa, matcher = lazy_vqa("florence:owner/name", access)
    assert matcher is None and fetched == ["owner/name"] * 2
    assert vqa.answer(color_frame("red"), "What colour is it?").answer
    assert fetched == ["owner/name"] * 3
