from copy import deepcopy
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Matcher, VisualQA
from florence_rag.perception.transformers_model import open_model
from florence_rag.perception.transformers_vqa import TransformersVQA
from tests.perception.tiny import IMAGE, noise, save_blip, save_blip2, save_vilt

QUESTION = "What color is it?"
ANSWERS = {0: "red", 1: "blue", 2: "yes"}


def load(folder, **options) -> TransformersVQA:
    return TransformersVQA.from_pretrained(folder, name="tiny", device="cpu", **options)


def load_parts(folder) -> tuple[Any, Any]:
    """Return the model of transformers and its processor."""
    return open_model(AutoModelForVisualQuestionAnswering, folder, name="tiny", device="cpu", unused_weights=True)


@pytest.fixture(scope="module")
def vilt_parts(tmp_path_factory) -> tuple[Any, Any]:
    return load_parts(save_vilt(tmp_path_factory.mktemp("vilt"), answers=ANSWERS))


@pytest.fixture(scope="module")
def vilt(vilt_parts) -> TransformersVQA:
    return TransformersVQA(*vilt_parts, name="tiny")


@pytest.fixture(scope="module")
def blip_parts(tmp_path_factory) -> tuple[Any, Any]:
    return load_parts(save_blip(tmp_path_factory.mktemp("blip")))


@pytest.fixture(scope="module")
def blip(blip_parts) -> TransformersVQA:
    return TransformersVQA(*blip_parts, name="tiny", max_tokens=4)


def test_it_is_a_visual_qa_model_and_no_matcher(vilt):
    assert isinstance(vilt, VisualQA) and not isinstance(vilt, Matcher)


def test_answers_are_chosen_by_their_probability(vilt, vilt_parts):
    model, processor = vilt_parts
    inputs = processor(images=[Image.fromarray(noise(2))], text=[QUESTION], return_tensors="pt")
    with torch.inference_mode():
        expected = model(**inputs).logits[0].sigmoid()
    result = vilt.answer(noise(2), QUESTION)
    assert (result.answer, result.confidence) == result.candidates[0]
    assert dict(result.candidates) == {ANSWERS[i]: pytest.approx(expected[i].item(), abs=1e-4) for i in ANSWERS}
    shares = [confidence for _, confidence in result.candidates]
    assert shares == sorted(shares, reverse=True)
    assert len({vilt.answer(noise(i), QUESTION).answer for i in range(8)}) > 1


def test_candidates_limits_the_list(tmp_path):
    assert len(load(save_vilt(tmp_path, answers=ANSWERS), candidates=2).answer(noise(0), QUESTION).candidates) == 2


def test_a_generated_answer_has_the_probability_of_its_tokens_among_candidates(blip):
    result = blip.answer(noise(1), QUESTION)
    assert (result.answer, result.confidence) == result.candidates[0]
    assert 0 < sum(confidence for _, confidence in result.candidates) <= 1
    assert result == blip.answer(noise(1), QUESTION)
    assert len({blip.answer(noise(i), QUESTION).answer for i in range(4)}) > 1


@torch.inference_mode()
def test_the_confidence_of_a_generated_answer_is_the_product_of_its_token_probabilities(blip, blip_parts):
    result = blip.answer(noise(1), QUESTION)
    model, processor = blip_parts
    inputs = processor(images=[Image.fromarray(noise(1))], text=[QUESTION], return_tensors="pt")
    tokens = model.generate(**inputs, num_beams=5, max_new_tokens=4, length_penalty=0.0)
    image_states = model.vision_model(inputs.pop("pixel_values"))[0]
    states = model.text_encoder(**inputs, encoder_hidden_states=image_states)[0]
    logits = model.text_decoder(input_ids=tokens[:, :-1], encoder_hidden_states=states).logits[0].log_softmax(-1)
    likelihood = logits[range(tokens.shape[1] - 1), tokens[0, 1:]].sum().exp().item()
    others = sum(confidence for _, confidence in result.candidates) - result.confidence
    assert likelihood - 1e-4 <= result.confidence <= 1 - others and likelihood > 0.01


def test_a_language_model_does_not_repeat_the_question_in_its_answer(tmp_path):
    model, processor = load_parts(save_blip2(tmp_path))
    locations = list(range(processor.tokenizer.convert_tokens_to_ids("<loc_0>"), 1267))
    model.language_model.generation_config.suppress_tokens = [*range(IMAGE + 1), *locations]
    result = TransformersVQA(model, processor, name="tiny", max_tokens=4, candidates=1).answer(noise(0), "What?")
    assert result.answer and "Question" not in result.answer and "Answer" not in result.answer


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(vilt, question):
    with pytest.raises(InputError, match="the question is empty"):
        vilt.answer(noise(0), question)


@pytest.mark.parametrize("published", [True, False])
def test_blip_receives_questions_as_it_was_trained(blip_parts, published):
    model, processor = deepcopy(blip_parts[0]), blip_parts[1]
    words = len(processor.tokenizer)
    if published:  # with two tokens that its tokenizer does not know: [DEC] and [ENC]
        model.text_encoder.resize_token_embeddings(words + 2)
        model.config.text_config.vocab_size = words + 2
        model.config.text_config.bos_token_id = words
    read = []
    model.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    TransformersVQA(model, processor, name="tiny", max_tokens=1).answer(noise(0), 'What color, "is" it (#1)?')
    first, *rest = read[0]
    assert first == (words + 1 if published else processor.tokenizer.cls_token_id)
    assert rest == processor.tokenizer("what color, is it 1?")["input_ids"][1:]


def test_a_question_longer_than_the_model_reads_is_refused(vilt, blip):
    with pytest.raises(InputError, match="takes 14 tokens, and the model reads at most 12"):
        vilt.answer(noise(0), "is it " * 6)
    with pytest.raises(InputError, match="reads at most 40"):
        blip.answer(noise(0), "is it " * 40)


def test_a_model_that_does_not_name_its_answers_is_refused(tmp_path):
    with pytest.raises(ModelError, match="does not name its 3 answers: set id2label"):
        load(save_vilt(tmp_path))


def test_a_model_for_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="'tiny' cannot be opened from the folder") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_question_is_given_to_the_model_without_tokens_of_templates(vilt, monkeypatch):
    given, processor = [], vilt._processor
    monkeypatch.setattr(vilt, "_processor", lambda **options: given.extend(options["text"]) or processor(**options))
    vilt.answer(noise(1), "a <s>?")
    assert given == ["a < s>?"]
