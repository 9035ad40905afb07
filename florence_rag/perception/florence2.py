"""Captions, OCR, detection, grounding and segmentation with Florence-2, one model whose prompt names the task.

Florence-2: Advancing a Unified Representation for a Variety of Vision Tasks (arXiv 2311.06242). The network is
transformers' own, the weights are those of florence-community/Florence-2-{base,large}[-ft].
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from PIL import Image
from transformers import Florence2ForConditionalGeneration

from florence_rag.errors import InputError
from florence_rag.perception.base import Detection, TextRegion, VQAResult
from florence_rag.perception.beam_results import beams_to_result
from florence_rag.perception.florence2_output import to_lines, to_outlines, to_regions, to_text
from florence_rag.perception.hf_loading import Precision, check_length, open_model
from florence_rag.types import Frame

Detail = Literal["short", "detailed", "more detailed"]

_CAPTION_PROMPTS: Mapping[str, str] = MappingProxyType(
    {"short": "<CAPTION>", "detailed": "<DETAILED_CAPTION>", "more detailed": "<MORE_DETAILED_CAPTION>"}
)


@dataclass(frozen=True, slots=True)
class Florence2Settings:
    """Settings of Florence-2. The defaults are those of the model's published examples.

    `detail` chooses captions of a sentence, of a few sentences, or of a paragraph; `question_prompt` precedes every
    question; `beams` is the width of the beam search, 1 being fastest; `max_tokens` limits an output; `batch` is the
    number of images per forward pass, by default 32 on a GPU and 4 on a CPU.
    """

    detail: Detail = "short"
    question_prompt: str = "<VQA>"
    beams: int = 3
    max_tokens: int = 1024
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.detail not in _CAPTION_PROMPTS:
            raise InputError(f"detail is {self.detail!r}; allowed are {list(_CAPTION_PROMPTS)!r}")
        if min(self.beams, self.max_tokens, self.batch or 1) < 1:
            raise InputError("beams, max_tokens and batch must be at least 1")


@dataclass(frozen=True, slots=True)
class _Output:
    """One output. Its score is the mean or sum of its tokens' log-probabilities; NaN if it was not requested."""

    text: str
    score: float


class Florence2:
    """A captioner, detector, grounder, segmenter, OCR reader and VQA model in one. Threads may share it."""

    def __init__(self, model: Any, processor: Any, settings: Florence2Settings | None = None) -> None:
        self._model = model.eval()
        self._processor = processor
        self._settings = settings or Florence2Settings()
        self._batch = self._settings.batch or (4 if model.device.type == "cpu" else 32)
        self._tokenizer_lock = threading.Lock()  # two threads cannot use the tokenizer at the same time

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str,
        device: str | None = None,
        precision: Precision | None = None,
        settings: Florence2Settings | None = None,
    ) -> Florence2:
        """Open a folder; by default on a GPU in bf16 if there is one, else on the CPU in fp32."""
        parts = open_model(Florence2ForConditionalGeneration, folder, name=name, device=device, precision=precision)
        return cls(*parts, settings)

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one caption per image, as detailed as the settings say."""
        return [to_text(output) for output in self._outputs(_CAPTION_PROMPTS[self._settings.detail], frames)]

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

    def locate(self, frame: Frame, thing: str) -> list[Detection]:
        """Find any object by its name: detection with an open vocabulary."""
        return to_regions(self._output("<OPEN_VOCABULARY_DETECTION>", frame, thing))

    def segment(self, frame: Frame, expression: str) -> Detection | None:
        """Outline what an expression refers to, labeled with it; None if the model draws no outline."""
        drawn = to_outlines(self._output("<REFERRING_EXPRESSION_SEGMENTATION>", frame, expression))
        if not drawn:
            return None
        left, top, right, bottom = zip(*(each.box for each in drawn), strict=True)
        polygons = tuple(chain.from_iterable(each.polygons for each in drawn))
        return Detection(expression, (min(left), min(top), max(right), max(bottom)), None, polygons)

    def read(self, frame: Frame) -> list[TextRegion]:
        """Read the lines of text in the model's order; all have the mean probability of a token as confidence."""
        (output,) = self._scored("<OCR_WITH_REGION>", frame)
        confidence = round(math.exp(min(0.0, output.score)), 4)
        return [TextRegion(text, box, confidence) for text, box in to_lines(output.text)]

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer by continuing `question_prompt + question`; the confidence is the probability of the answer.

        The model cards report VQAv2 for the -ft weights, but their prompt for questions was not published, so that the
        released weights may describe the image instead. Weights that were tuned for questions need the prompt of that
        tuning, such as "<DocVQA>".
        """
        prompt = self._settings.question_prompt + _plain(question, "the question")
        # A length penalty of 0 scores an answer by its probability, not by the mean over its tokens.
        outputs = self._scored(prompt, frame, length_penalty=0.0, num_return_sequences=max(2, self._settings.beams))
        return beams_to_result((to_text(each.text), each.score) for each in outputs)

    def _output(self, task: str, frame: Frame, text: str) -> str:
        (output,) = self._outputs(task + _plain(text, "the text to look for"), [frame])
        return output

    def _outputs(self, prompt: str, frames: Sequence[Frame]) -> list[str]:
        return [output.text for output in self._generate_all(prompt, frames, num_beams=self._settings.beams)]

    def _scored(self, prompt: str, frame: Frame, **options: Any) -> list[_Output]:
        beams = max(2, self._settings.beams)  # a search without beams gives no scores of whole outputs
        return self._generate_all(prompt, [frame], num_beams=beams, output_scores=True, **options)

    def _generate_all(self, prompt: str, frames: Sequence[Frame], **options: Any) -> list[_Output]:
        parts = (frames[start : start + self._batch] for start in range(0, len(frames), self._batch))
        return [output for part in parts for output in self._generate(prompt, part, options)]

    @torch.inference_mode()
    def _generate(self, prompt: str, frames: Sequence[Frame], options: Mapping[str, Any]) -> list[_Output]:
        images = [Image.fromarray(frame) for frame in frames]
        with self._tokenizer_lock:
            inputs = self._processor(images=images, text=[prompt] * len(images), return_tensors="pt")
        check_length(inputs["input_ids"].shape[1], self._model.config)
        generated = self._model.generate(
            **inputs.to(self._model.device, self._model.dtype),
            max_new_tokens=min(self._settings.max_tokens, self._positions - 1),
            do_sample=False,
            return_dict_in_generate=True,
            **options,
        )
        with self._tokenizer_lock:
            texts = self._processor.batch_decode(generated.sequences, skip_special_tokens=False)
        scores = generated.get("sequences_scores")
        return list(map(_Output, texts, [math.nan] * len(texts) if scores is None else scores.tolist()))

    @property
    def _positions(self) -> int:
        return int(self._model.config.get_text_config().max_position_embeddings)


def _plain(text: str, what: str) -> str:
    """Remove brackets, which the model could take for prompts and locations, and refuse an empty text."""
    plain = " ".join(text.replace("<", " ").replace(">", " ").split())
    if not plain:
        raise InputError(f"{what} must not be empty, got {text!r}")
    return plain
