"""Visual question answering with the models of transformers: ViLT, BLIP, BLIP-2 and others."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.base import VQAResult
from florence_rag.perception.beam_results import beams_to_result
from florence_rag.perception.hf_loading import Precision, check_length, open_model
from florence_rag.types import Frame

_PROMPTS: Mapping[str, str] = MappingProxyType({"blip-2": "Question: {} Answer:"})
"""The prompt around a question by type of model. All other models receive the question alone."""


class TransformersVQA:
    """A model that chooses among its answers, or one that generates them. Threads may share it, and take turns.

    A result lists up to `candidates` answers; a generated answer has at most `max_tokens`.
    """

    def __init__(self, model: Any, processor: Any, *, name: str, candidates: int = 5, max_tokens: int = 20) -> None:
        self._model = model.eval()
        self._processor = processor
        self._prompt = _PROMPTS.get(model.config.model_type, "{}")
        self._candidates = candidates
        self._max_tokens = max_tokens
        self._lock = threading.Lock()  # two threads cannot use the tokenizer at the same time
        self._answers: list[str] | None = None if model.can_generate() else _answers(model.config, name)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str,
        device: str | None = None,
        precision: Precision | None = None,
        candidates: int = 5,
        max_tokens: int = 20,
    ) -> TransformersVQA:
        """Open a folder; by default on a GPU in bf16 if there is one, else on the CPU in fp32."""
        parts = open_model(
            AutoModelForVisualQuestionAnswering,
            folder,
            name=name,
            device=device,
            precision=precision,
            unused_weights=True,
        )
        return cls(*parts, name=name, candidates=candidates, max_tokens=max_tokens)

    @torch.inference_mode()
    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one image.

        A model that chooses gives every answer a sigmoid of its own, so that the confidences need not sum to one; for a
        model that generates, the confidence is the probability of the whole answer.
        """
        if not question.strip():
            raise InputError("the question is empty; ask something about the image")
        prompt = self._prompt.format(question.strip())
        with self._lock:
            inputs = self._processor(images=[Image.fromarray(frame)], text=[prompt], return_tensors="pt")
            check_length(inputs["input_ids"].shape[1], self._model.config)
            inputs = inputs.to(self._model.device, self._model.dtype)
            return self._choose(inputs, self._answers) if self._answers else self._generate(inputs, prompt)

    def _choose(self, inputs: Mapping[str, Any], answers: list[str]) -> VQAResult:
        scores = self._model(**inputs).logits[0].float().sigmoid()
        best = scores.topk(min(self._candidates, len(answers)))
        ranked = [(answers[i], round(p, 4)) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        return VQAResult(*ranked[0], tuple(ranked))

    def _generate(self, inputs: Mapping[str, Any], prompt: str) -> VQAResult:
        beams = max(2, self._candidates)
        generated = self._model.generate(
            **inputs,
            num_beams=beams,
            num_return_sequences=beams,
            length_penalty=0.0,  # scores an answer by its probability, not by the mean over its tokens
            do_sample=False,
            max_new_tokens=self._max_tokens,
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self._processor.batch_decode(generated.sequences, skip_special_tokens=True)
        answers = (text.strip().removeprefix(prompt) for text in texts)  # language models repeat the prompt
        return beams_to_result(zip(answers, generated.sequences_scores.tolist(), strict=True))


def _answers(config: Any, name: str) -> list[str]:
    """Return the answers that the model chooses from, in the order of its scores."""
    answers = [config.id2label[i] for i in range(len(config.id2label))]
    if answers == [f"LABEL_{i}" for i in range(len(answers))]:
        raise ModelError(f"{name!r} does not name its {len(answers)} answers: set id2label in its config.json")
    return answers
