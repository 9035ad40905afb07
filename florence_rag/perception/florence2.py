"""Captions, OCR, detection, grounding and segmentation with Florence-2, one model whose prompt names the task.

Florence-2: Advancing a Unified Representation for a Variety of Vision Tasks (arXiv 2311.06242). The network is
transformers' own, the weights are those of florence-community/Florence-2-{base,large}[-ft].
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any, Literal

import torch
from PIL import Image
from transformers import Florence2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from florence_rag.batching import batched
from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import Detection, TextRegion, VQAResult
from florence_rag.perception.beam_cache import BeamCache, share_cross_attention
from florence_rag.perception.caption_size import check_caption_px
from florence_rag.perception.florence2_output import to_lines, to_outlines, to_regions, to_text
from florence_rag.perception.transformers_model import TransformersModel, beams_to_result
from florence_rag.text_arguments import check_query_text, check_question
from florence_rag.types import Frame

Detail = Literal["short", "detailed", "more detailed"]

_CAPTION_PROMPTS: Mapping[str, str] = MappingProxyType(
    {"short": "<CAPTION>", "detailed": "<DETAILED_CAPTION>", "more detailed": "<MORE_DETAILED_CAPTION>"}
)


class Florence2(TransformersModel):
    """A captioner, detector, grounder, segmenter, OCR reader and VQA model in one. Threads may share it.

    `detail` chooses captions of a sentence, of a few sentences, or of a paragraph; `question_prompt` precedes every
    question; `beams` is the width of the beam search, 1 being fastest; `max_tokens` limits an output; `batch` is the
    number of images whose outputs are written together, by default 32 on a GPU and 8 on a CPU; `caption_px` is the side
    of images when they are captioned, by default the 768 pixels of all other tasks. The other defaults are those of the
    model's published examples.
    """

    auto_class = Florence2ForConditionalGeneration
    unused_weights = False
    half_on_cpu = True
    required_file = "generation_config.json"

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        detail: Detail = "short",
        question_prompt: str = "<VQA>",
        beams: int = 3,
        max_tokens: int = 1024,
        batch: int | None = None,
        caption_px: int | None = None,
    ) -> None:
        if detail not in _CAPTION_PROMPTS:
            raise InputError(f"detail is {detail!r}; allowed are {list(_CAPTION_PROMPTS)!r}")
        if min(beams, max_tokens, batch or 1) < 1:
            raise InputError("beams, max_tokens and batch must be at least 1")
        if (kind := model.config.text_config.model_type) != "bart":
            raise ModelError(f"the language model of {name!r} is a {kind}; that of a Florence-2 is a bart")
        super().__init__(model, processor, name=name)
        share_cross_attention(model.model.language_model.decoder)
        self._caption_processor = processor if caption_px is None else self._at_size(caption_px)
        self._caption_prompt = _CAPTION_PROMPTS[detail]
        self._question_prompt = question_prompt
        self._beams = beams
        self._max_tokens = min(max_tokens, model.config.get_text_config().max_position_embeddings - 1)
        self._batch = batch or (8 if model.device.type == "cpu" else 32)
        # On a CPU, an image takes as long alone as among others, and memory for one suffices.
        self._images_at_once = 1 if model.device.type == "cpu" else self._batch

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one caption per image, as detailed as the settings say."""
        outputs = self._generate(self._caption_prompt, frames, self._caption_processor)
        return [to_text(output) for output, _ in outputs]

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Find the objects of each image, labeled with their category."""
        return [to_regions(output) for output in self._outputs("<OD>", frames)]

    def describe_regions(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Find the salient regions of each image, labeled with a short description."""
        return [to_regions(output) for output in self._outputs("<DENSE_REGION_CAPTION>", frames)]

    def propose_regions(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Find regions that may hold an object, without labels."""
        return [to_regions(output) for output in self._outputs("<REGION_PROPOSAL>", frames)]

    def ground(self, frame: Frame, caption: str) -> list[Detection]:
        """Find the objects that a caption names, labeled with its phrases, without pronouns and the like."""
        found = to_regions(self._output("<CAPTION_TO_PHRASE_GROUNDING>", frame, caption))
        empty = self._processor.post_processor.banned_grounding_tokens  # words that name no object
        return [region for region in found if region.label not in empty]

    def locate(self, frame: Frame, phrase: str) -> list[Detection]:
        """Find any object by its name: detection with an open vocabulary."""
        return to_regions(self._output("<OPEN_VOCABULARY_DETECTION>", frame, phrase))

    def segment(self, frame: Frame, phrase: str) -> Detection | None:
        """Outline what a phrase refers to, labeled with it; None if the model draws no outline."""
        drawn = to_outlines(self._output("<REFERRING_EXPRESSION_SEGMENTATION>", frame, phrase))
        if not drawn:
            return None
        left, top, right, bottom = zip(*(each.box for each in drawn), strict=True)
        polygons = tuple(chain.from_iterable(each.polygons for each in drawn))
        return Detection(phrase, (min(left), min(top), max(right), max(bottom)), None, polygons)

    def read(self, frame: Frame) -> list[TextRegion]:
        """Read the lines of text in the model's order; all have the mean probability of a token as confidence."""
        ((output, score),) = self._scored("<OCR_WITH_REGION>", frame)
        confidence = round(math.exp(min(0.0, score)), 4)
        return [TextRegion(text, box, confidence) for text, box in to_lines(output)]

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer by continuing `question_prompt + question`; the confidence is the probability of the answer.

        The model cards report VQAv2 for the -ft weights, but their prompt for questions was not published, so that the
        released weights may describe the image instead. Weights that were tuned for questions need the prompt of that
        tuning, such as "<DocVQA>".
        """
        prompt = self._question_prompt + _plain(question, check_question)
        # A length penalty of 0 scores an answer by its probability, not by the mean over its tokens.
        outputs = self._scored(prompt, frame, length_penalty=0.0, num_return_sequences=max(2, self._beams))
        return beams_to_result((to_text(output), score) for output, score in outputs)

    def _output(self, task: str, frame: Frame, text: str) -> str:
        (output,) = self._outputs(task + _plain(text, check_query_text), [frame])
        return output

    def _outputs(self, prompt: str, frames: Sequence[Frame]) -> list[str]:
        return [output for output, _ in self._generate(prompt, frames, self._processor)]

    def _scored(self, prompt: str, frame: Frame, **options: Any) -> list[tuple[str, float]]:
        beams = max(2, self._beams)  # a search without beams gives no scores of whole outputs
        return self._generate(prompt, [frame], self._processor, beams=beams, output_scores=True, **options)

    @torch.inference_mode()
    def _generate(
        self, prompt: str, frames: Sequence[Frame], processor: Any, *, beams: int | None = None, **options: Any
    ) -> list[tuple[str, float]]:
        """Return the outputs with the mean or sum of their tokens' log-probabilities, or NaN if none is requested."""
        outputs: list[tuple[str, float]] = []
        beams = beams or self._beams
        for batch in batched(frames, self._batch):
            images = [Image.fromarray(frame) for frame in batch]
            with self._tokenizer_lock:
                inputs = processor(images=images, text=[prompt] * len(images), return_tensors="pt")
            self._check_length(inputs)
            inputs = inputs.to(self._model.device, self._model.dtype)
            encoded = self._encode(inputs["input_ids"], inputs.pop("pixel_values"))
            generated = self._model.generate(
                **inputs,
                encoder_outputs=encoded,
                past_key_values=BeamCache(beams),
                num_beams=beams,
                max_new_tokens=self._max_tokens,
                do_sample=False,
                return_dict_in_generate=True,
                **options,
            )
            with self._tokenizer_lock:
                texts = processor.batch_decode(generated.sequences, skip_special_tokens=False)
            scores = generated.get("sequences_scores")
            outputs += zip(texts, repeat(math.nan) if scores is None else scores.tolist(), strict=False)
        return outputs

    def _encode(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> BaseModelOutput:
        """Encode prompts (B, N), of equal length, with the images (B, 3, H, W) that they contain."""
        states = []
        encode = self._model.model.language_model.encoder
        size = self._images_at_once
        for ids, pixels in zip(torch.split(input_ids, size), torch.split(pixel_values, size), strict=True):
            is_image = (ids == self._model.config.image_token_id).unsqueeze(-1)
            image = self._model.get_image_features(pixels).pooler_output
            embeddings = self._model.get_input_embeddings()(ids).masked_scatter(is_image, image)
            states.append(encode(inputs_embeds=embeddings).last_hidden_state)
        return BaseModelOutput(torch.cat(states))

    def _at_size(self, side_px: int) -> Any:
        """Return a processor that scales images to squares of this size."""
        stride = math.prod(self._model.config.vision_config.patch_stride)
        usual_px = self._processor.image_processor.size["height"]
        check_caption_px(side_px, stride, usual_px)
        processor = copy.copy(self._processor)
        processor.image_processor = copy.copy(processor.image_processor)
        processor.image_processor.size = {"height": side_px, "width": side_px}
        processor.num_image_tokens = (side_px // stride) ** 2 + 1  # and one for the mean of the others
        return processor


def _plain(text: str, check: Callable[[str], str]) -> str:
    """Remove brackets, which the model could take for prompts and locations, and check what is left."""
    return check(" ".join(check(text).replace("<", " ").replace(">", " ").split()))
