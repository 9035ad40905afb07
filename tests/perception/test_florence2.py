import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Florence2ForConditionalGeneration
from transformers.utils import ModelOutput

from florence_rag.errors import InputError, ModelError
from florence_rag.loading.loaders import CAPTIONER
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.perception.base import Captioner, OCRReader, VisualQA
from florence_rag.perception.florence2 import Florence2
from florence_rag.perception.florence2_output import to_text
from florence_rag.perception.transformers_model import open_model
from tests.perception.tiny import BOS, EOS, noise, save_florence2

FRAMES = [noise(0), noise(1, 32, 32), noise(2, 90, 20), noise(3), noise(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_florence2(tmp_path_factory.mktemp("florence2"))


@pytest.fixture(scope="module")
def wordy(tmp_path_factory) -> Path:
    return save_florence2(tmp_path_factory.mktemp("wordy"), writes="words")


def florence2(folder, **settings) -> Florence2:
    return Florence2.from_pretrained(folder, name="florence-2-tiny", **{"max_tokens": 12, **settings})


class Script:
    """Stands in for the beam search: generates the scripted outputs and records the prompts and options."""

    def __init__(self, folder, *outputs, scores=None, **settings):
        model, processor = open_model(Florence2ForConditionalGeneration, folder, name="florence-2-tiny")
        model.generate = self.generate
        self.tokenizer = processor.tokenizer
        self.florence2 = Florence2(model, processor, name="florence-2-tiny", **{"max_tokens": 12, **settings})
        self.outputs, self.scores = outputs, scores
        self.prompts, self.options = [], {}

    def generate(self, input_ids, attention_mask, encoder_outputs, **options):
        assert len(input_ids) == len(attention_mask) == len(encoder_outputs.last_hidden_state)
        self.prompts += self.tokenizer.batch_decode(input_ids, skip_special_tokens=True)
        self.options = options
        written = self.tokenizer(list(self.outputs), return_tensors="pt", padding=True)["input_ids"]
        start = torch.tensor([[EOS, BOS]]).expand(len(written), 2)
        scores = torch.tensor(self.scores) if self.scores else None
        return ModelOutput(sequences=torch.cat([start, written], dim=1), sequences_scores=scores)


def test_it_implements_the_protocols(folder):
    model = florence2(folder)
    assert isinstance(model, Captioner) and isinstance(model, OCRReader) and isinstance(model, VisualQA)


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch_size(folder, wordy):
    many, one = florence2(wordy, batch=5), florence2(wordy, batch=1)
    captions = many.caption(FRAMES)
    assert captions == one.caption(FRAMES) == many.caption(FRAMES[:3]) + many.caption(FRAMES[3:])
    assert len(set(captions)) > 1 and all(captions)
    found = florence2(folder, batch=5).detect(FRAMES)
    assert found == florence2(folder, batch=2).detect(FRAMES)
    assert len({str(regions) for regions in found}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("side_px", [32, 16])
def test_captions_are_those_of_generate_for_one_image_at_a_time(wordy, side_px):
    model, processor = open_model(Florence2ForConditionalGeneration, wordy, name="wordy")
    processor.image_processor.size = {"height": side_px, "width": side_px}
    processor.num_image_tokens = (side_px // 16) ** 2 + 1
    expected = []
    for frame in FRAMES:
        inputs = processor(images=[frame], text=["<CAPTION>"], return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=30)
        expected += map(to_text, processor.batch_decode(tokens))
    assert florence2(wordy, max_tokens=30, caption_px=side_px).caption(FRAMES) == expected
    assert len(set(expected)) > 1


@pytest.mark.slow
def test_other_tasks_read_images_at_the_usual_size(folder):
    found = florence2(folder).detect(FRAMES)
    assert florence2(folder, caption_px=16).detect(FRAMES) == found and any(found)


def test_no_images_give_no_results(wordy):
    model = florence2(wordy)
    assert model.caption([]) == model.detect([]) == model.describe_regions([]) == model.propose_regions([]) == []


@pytest.mark.parametrize(
    ("detail", "prompt"),
    [
        ("short", "What does the image describe?"),
        ("detailed", "Describe in detail what is shown in the image."),
        ("more detailed", "Describe with a paragraph what is shown in the image."),
    ],
)
def test_detail_chooses_the_prompt_of_captions(folder, detail, prompt):
    script = Script(folder, " A red  car.</s>", detail=detail)
    assert script.florence2.caption([noise(0)]) == ["A red car."]
    assert script.prompts == [prompt]
    assert (script.options["num_beams"], script.options["max_new_tokens"]) == (3, 12)


@pytest.mark.parametrize(
    ("method", "prompt"),
    [
        ("detect", "Locate the objects with category name in the image."),
        ("describe_regions", "Locate the objects in the image, with their descriptions."),
        ("propose_regions", "Locate the region proposals in the image."),
    ],
)
def test_every_image_has_its_own_regions(folder, method, prompt):
    script = Script(folder, "car<loc_1><loc_2><loc_3><loc_4></s>", "cut<loc_1><loc_2></s>")
    first, second = getattr(script.florence2, method)([noise(0), noise(1)])
    assert [(each.label, each.box) for each in first] == [("car", (0.0015, 0.0025, 0.0035, 0.0045))]
    assert second == []
    assert script.prompts == [prompt] * 2


def test_grounding_ignores_words_that_name_no_object(folder):
    script = Script(folder, "A car<loc_1><loc_2><loc_3><loc_4>it<loc_1><loc_2><loc_3><loc_4></s>")
    assert [each.label for each in script.florence2.ground(noise(0), "A car and its <OD> wheel")] == ["A car"]
    assert script.prompts == ["Locate the phrases in the caption: A car and its OD wheel"]


def test_an_object_is_located_by_its_name(folder):
    script = Script(folder, "a cat<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8></s>")
    assert [each.label for each in script.florence2.locate(noise(0), "a cat")] == ["a cat", "a cat"]
    assert script.prompts == ["Locate a cat in the image."]


def test_a_segment_has_the_outlines_of_the_named_object(folder):
    triangle = "<loc_100><loc_100><loc_200><loc_100><loc_200><loc_300>"
    script = Script(folder, f"<poly>{triangle}</poly><poly><loc_0><loc_0><loc_9><loc_0><loc_9><loc_9></poly></s>")
    thing = script.florence2.segment(noise(0), "the left cat")
    assert (thing.label, thing.box, len(thing.polygons)) == ("the left cat", (0.0005, 0.0005, 0.2005, 0.3005), 2)
    assert script.prompts == ["Locate the left cat in the image with mask"]
    assert Script(folder, "none</s>").florence2.segment(noise(0), "the left cat") is None


def test_lines_of_text_have_boxes_and_the_confidence_of_the_output(folder):
    corners = "<loc_100><loc_200><loc_300><loc_200><loc_300><loc_250><loc_100><loc_250>"
    script = Script(folder, f"STOP{corners}GO{corners}</s>", scores=[-0.1])
    stop, go = script.florence2.read(noise(0))
    assert (stop.text, stop.box, go.text) == ("STOP", (0.1005, 0.2005, 0.3005, 0.2505), "GO")
    assert stop.confidence == go.confidence == pytest.approx(0.9048, abs=1e-4)
    assert script.prompts == ["What is the text in the image, with regions?"]


def test_the_confidence_of_an_answer_sums_its_beams(folder):
    script = Script(folder, "red</s>", "blue</s>", " red</s>", scores=[-1.0, -1.5, -2.0])
    result = script.florence2.answer(noise(0), "What <color> is it?")
    assert (result.answer, result.confidence) == ("red", pytest.approx(0.3679 + 0.1353, abs=2e-4))
    assert [answer for answer, _ in result.candidates] == ["red", "blue"]
    assert script.prompts == ["<VQA>What color is it?"]
    assert script.options["length_penalty"] == 0 and script.options["num_return_sequences"] == 3


def test_the_scores_of_a_beam_search_are_log_probabilities(wordy):
    model, processor = open_model(Florence2ForConditionalGeneration, wordy, name="wordy")
    searches, generate = [], model.generate

    def record(**options):
        searches.append((options, generate(**options)))
        return searches[-1][1]

    model.generate = record
    result = Florence2(model, processor, name="wordy", beams=2, max_tokens=6).answer(noise(0), "What?")
    ((options, found),) = searches
    best, second = found.sequences_scores.tolist()
    assert best > second and result.confidence == pytest.approx(math.exp(best), abs=1e-4)
    inputs = processor(images=[noise(0)], text=["<VQA>What?"], return_tensors="pt")
    ids = found.sequences[0].tolist()
    logits = model(**inputs, decoder_input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    free = range(2, len(ids))  # the two tokens at the start are forced, and cost nothing
    assert best == pytest.approx(sum(logits[i - 1, ids[i]].item() for i in free), rel=1e-4)
    plain = {"encoder_outputs": None, "past_key_values": None, "length_penalty": 1.0}
    mean, _ = generate(**options | inputs | plain).sequences_scores.tolist()
    assert best < mean < 0


def test_captions_use_one_beam_and_scored_outputs_at_least_two(folder):
    script = Script(folder, "red</s>", scores=[-1.0], beams=1)
    script.florence2.caption([noise(0)])
    assert script.options["num_beams"] == 1
    script.florence2.answer(noise(0), "What?")
    assert script.options["num_beams"] == 2


@pytest.mark.slow
def test_threads_share_a_model(wordy):
    model = florence2(wordy, max_tokens=4)
    expected = [model.caption([frame]) for frame in FRAMES]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda frame: model.caption([frame]), FRAMES * 3)) == expected * 3


@pytest.mark.parametrize("text", ["", " \n", "<>"])
def test_an_empty_text_is_refused(folder, text):
    model = florence2(folder)
    for ask in (model.answer, model.ground, model.locate, model.segment):
        with pytest.raises(InputError, match="is empty"):
            ask(noise(0), text)


def test_a_text_longer_than_the_model_reads_is_refused(folder):
    with pytest.raises(InputError, match=r"takes \d+ tokens, and the model reads at most 400"):
        florence2(folder).locate(noise(0), "cat " * 100)


@pytest.mark.slow
def test_the_positions_of_the_model_limit_an_output(folder):
    assert florence2(folder, max_tokens=10_000, beams=1).detect([noise(0)])


@pytest.mark.parametrize(
    "wrong",
    [{"detail": "long"}, {"beams": 0}, {"max_tokens": 0}, {"batch": -1}]
    + [{"caption_px": side_px} for side_px in (0, 20, 48, 16.0, True)],
)
def test_wrong_settings_are_refused(folder, wrong):
    with pytest.raises(InputError):
        florence2(folder, **wrong)


def test_another_language_model_is_refused(folder):
    model, processor = open_model(Florence2ForConditionalGeneration, folder, name="x")
    model.config.text_config.model_type = "t5"
    with pytest.raises(ModelError, match="the language model of 'x' is a t5"):
        Florence2(model, processor, name="x")


def test_a_folder_without_a_model_is_one_error(tmp_path):
    with pytest.raises(ModelError, match=r"'florence-2-base' cannot be opened from the folder") as caught:
        Florence2.from_pretrained(tmp_path, name="florence-2-base")
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_cached_is_named_with_advice():
    source = "florence-community/Florence-2-nonesuch"
    with pytest.raises(ModelError, match=r"not on this machine.*into a folder and name the folder") as caught:
        load_model(CAPTIONER, source, ModelOptions(offline=True))
    assert source in str(caught.value) and "\n" not in str(caught.value)


def copied(folder: Path, target: Path, change) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    weights = load_file(target / "model.safetensors")
    save_file(change(weights), target / "model.safetensors", {"format": "pt"})
    return target


def test_missing_weights_are_refused(folder, tmp_path):
    lost = "model.multi_modal_projector.image_projection.weight"
    target = copied(folder, tmp_path, lambda weights: {key: w for key, w in weights.items() if key != lost})
    with pytest.raises(ModelError, match=f"1 missing keys: {lost}"):
        florence2(target)


def test_unexpected_weights_are_refused(folder, tmp_path):
    target = copied(folder, tmp_path, lambda weights: weights | {"head.extra": torch.zeros(2)})
    with pytest.raises(ModelError, match=r"1 unexpected keys: head\.extra"):
        florence2(target)


def test_a_truncated_file_is_refused(folder, tmp_path):
    target = copied(folder, tmp_path, lambda weights: weights)
    data = (target / "model.safetensors").read_bytes()
    (target / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cannot be opened"):
        florence2(target)


@pytest.mark.slow
def test_bf16_generates_captions(wordy):
    model = Florence2.from_pretrained(wordy, name="x", precision="bf16", max_tokens=6)
    assert all(model.caption(FRAMES[:2]))
