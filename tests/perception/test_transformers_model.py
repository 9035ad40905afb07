import math

import pytest
import torch
from transformers import Florence2ForConditionalGeneration

from florence_rag.errors import ModelError
from florence_rag.perception.base import VQAResult
from florence_rag.perception.transformers_model import beams_to_result, open_model
from tests.perception.tiny import save_florence2


def test_beams_with_the_same_text_are_one_answer():
    result = beams_to_result([("red", math.log(0.3)), ("a  bus", math.log(0.35)), (" red ", math.log(0.2))])
    assert result == VQAResult("red", 0.5, (("red", 0.5), ("a bus", 0.35)))


def test_no_confidence_exceeds_one():
    assert beams_to_result([("red", 1e-7), ("red", -3.0)]).confidence == 1.0


@pytest.mark.parametrize("beams", [[], [("", 0.0), (" \n", -1.0)]])
def test_beams_without_text_are_no_answer(beams):
    assert beams_to_result(beams) == VQAResult("", 0.0, ())


def test_the_precision_follows_from_the_device_unless_it_is_named(tmp_path):
    folder = save_florence2(tmp_path)

    def dtype(**options):
        return open_model(Florence2ForConditionalGeneration, folder, name="x", **options)[0].dtype

    assert dtype(device="cpu") == torch.float32
    assert dtype(precision="bf16") == torch.bfloat16
    with pytest.raises(ModelError, match="allowed are"):
        dtype(precision="int3")
