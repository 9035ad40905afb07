import threading
import time

import pytest

from florence_rag.errors import ModelError
from florence_rag.pipeline.opening import LazyMatcher, LazyReader, LazyVQA, OnFirstUse, open_embedder, open_vqa
from florence_rag.testing import ScriptedReader, ScriptedVQA, colour_frame


def test_a_part_is_opened_once_when_it_is_first_used_whoever_asks():
    opened = []

    def slow():
        time.sleep(0.05)
        opened.append(object())
        return opened[-1]

    part = OnFirstUse(slow)
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

    part = OnFirstUse(fickle)
    with pytest.raises(ModelError, match="not yet"):
        part()
    assert part() == "part"


def test_lazy_parts_do_what_the_real_ones_do():
    frame = colour_frame("red")
    vqa = LazyVQA(lambda: ScriptedVQA({"": ("yes", 0.9)}, fit=0.5))
    assert vqa.answer(frame, "Is it?").answer == "yes"
    assert LazyMatcher(lambda: ScriptedVQA({}, fit=0.5)).match([frame], ["it"]).tolist() == [0.5]
    assert LazyReader(lambda: ScriptedReader({"red": "STOP"})).read(frame)[0].text == "STOP"


@pytest.mark.parametrize("open_part", [open_embedder, open_vqa])
def test_an_unknown_model_is_named(open_part):
    with pytest.raises(ModelError, match="no-such-model"):
        open_part("no-such-model")
