import pytest
import torch
from PIL import Image

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Matcher, VisualQA
from florence_rag.perception.transformers_vqa import TransformersVQA
from tests.perception.tiny import IMAGE, noise, save_blip, save_blip2, save_vilt

QUESTION = "What colour is it?"
ANSWERS = {0: "red", 1: "blue", 2: "yes"}


def opened(folder, **options) -> TransformersVQA:
    return TransformersVQA.from_pretrained(folder, name="tiny", device="cpu", **options)


@pytest.fixture(scope="module")
def vilt(tmp_path_factory) -> TransformersVQA:
    return opened(save_vilt(tmp_path_factory.mktemp("vilt"), answers=ANSWERS))


@pytest.fixture(scope="module")
def blip(tmp_path_factory) -> TransformersVQA:
    return opened(save_blip(tmp_path_factory.mktemp("blip")), max_tokens=4)


def test_it_answers_and_does_not_match(vilt):
    assert isinstance(vilt, VisualQA) and not isinstance(vilt, Matcher)


def test_answers_are_chosen_by_what_the_model_says_of_each(vilt):
    inputs = vilt._processor(images=[Image.fromarray(noise(2))], text=[QUESTION], return_tensors="pt")
    with torch.inference_mode():
        expected = vilt._model(**inputs).logits[0].sigmoid()
    result = vilt.answer(noise(2), QUESTION)
    assert (result.answer, result.confidence) == result.candidates[0]
    assert dict(result.candidates) == {ANSWERS[i]: pytest.approx(expected[i].item(), abs=1e-4) for i in ANSWERS}
    shares = [confidence for _, confidence in result.candidates]
    assert shares == sorted(shares, reverse=True)
    assert len({vilt.answer(noise(i), QUESTION).answer for i in range(8)}) > 1


def test_only_so_many_candidates_are_listed(tmp_path):
    assert len(opened(save_vilt(tmp_path, answers=ANSWERS), candidates=2).answer(noise(0), QUESTION).candidates) == 2


def test_answers_are_written_with_the_probability_of_their_words(blip):
    result = blip.answer(noise(1), QUESTION)
    assert (result.answer, result.confidence) == result.candidates[0]
    assert 0 < sum(confidence for _, confidence in result.candidates) <= 1
    assert result == blip.answer(noise(1), QUESTION)
    assert len({blip.answer(noise(i), QUESTION).answer for i in range(4)}) > 1


@torch.inference_mode()
def test_a_written_answer_is_as_likely_as_its_tokens(blip):
    result = blip.answer(noise(1), QUESTION)
    inputs = blip._processor(images=[Image.fromarray(noise(1))], text=[QUESTION], return_tensors="pt")
    tokens = blip._model.generate(**inputs, num_beams=5, max_new_tokens=4, length_penalty=0.0)
    seen = blip._model.vision_model(inputs.pop("pixel_values"))[0]
    asked = blip._model.text_encoder(**inputs, encoder_hidden_states=seen)[0]
    logits = blip._model.text_decoder(input_ids=tokens[:, :-1], encoder_hidden_states=asked).logits[0].log_softmax(-1)
    likelihood = logits[range(tokens.shape[1] - 1), tokens[0, 1:]].sum().exp().item()
    others = sum(confidence for _, confidence in result.candidates) - result.confidence
    assert likelihood - 1e-4 <= result.confidence <= 1 - others and likelihood > 0.01


def test_a_language_model_does_not_repeat_the_question_in_its_answer(tmp_path):
    blip2 = opened(save_blip2(tmp_path), max_tokens=4, candidates=1)
    locations = list(range(blip2._processor.tokenizer.convert_tokens_to_ids("<loc_0>"), 1267))
    blip2._model.language_model.generation_config.suppress_tokens = [*range(IMAGE + 1), *locations]
    result = blip2.answer(noise(0), "What?")
    assert result.answer and "Question" not in result.answer and "Answer" not in result.answer


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(vilt, question):
    with pytest.raises(InputError, match="the question is empty"):
        vilt.answer(noise(0), question)


def test_a_question_longer_than_the_model_reads_is_refused(vilt, blip):
    with pytest.raises(InputError, match="takes 14 tokens, and the model reads at most 12"):
        vilt.answer(noise(0), "is it " * 6)
    with pytest.raises(InputError, match="reads at most 40"):
        blip.answer(noise(0), "is it " * 40)


def test_a_model_that_does_not_name_its_answers_is_refused(tmp_path):
    with pytest.raises(ModelError, match="does not name its 3 answers: set id2label"):
        opened(save_vilt(tmp_path))


def test_a_model_for_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="'tiny' cannot be opened from the folder") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
