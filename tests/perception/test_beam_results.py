import math

import pytest

from florence_rag.perception.base import VQAResult
from florence_rag.perception.beam_results import beams_to_result


def test_beams_that_say_the_same_are_one_answer():
    result = beams_to_result([("red", math.log(0.3)), ("a  bus", math.log(0.35)), (" red ", math.log(0.2))])
    assert result == VQAResult("red", 0.5, (("red", 0.5), ("a bus", 0.35)))


def test_no_answer_is_surer_than_sure():
    assert beams_to_result([("red", 1e-7), ("red", -3.0)]).confidence == 1.0


@pytest.mark.parametrize("beams", [[], [("", 0.0), (" \n", -1.0)]])
def test_nothing_said_is_no_answer(beams):
    assert beams_to_result(beams) == VQAResult("", 0.0, ())
