"""Visual question answering with any model that transformers knows for it: ViLT, BLIP, BLIP-2 and their kin."""

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
"""What a question becomes, by the type of the model; for all others it is asked as it is."""


class TransformersVQA:
    """A model that chooses among its answers, or one that writes them. Safe to call from several threads, which take
    turns.

    candidates: how many answers a result lists. max_tokens: of an answer that is written.
    """

    def __init__(self, model: Any, processor: Any, *, name: str, candidates: int = 5, max_tokens: int = 20) -> None:
        self._model = model.eval()
        self._processor = processor
        self._prompt = _PROMPTS.get(model.config.model_type, "{}")
        self._candidates = candidates
        self._max_tokens = max_tokens
        self._turn = threading.Lock()  # the tokenizer cannot be shared
        self._answers: list[str] | None = None if model.can_generate() else _answers(model.config, name)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str,
        device: str | None = None,
        offline: bool = False,
        precision: Precision | None = None,
        candidates: int = 5,
        max_tokens: int = 20,
    ) -> TransformersVQA:
        """Open a folder or a repository of the hub; ModelError where that fails.

        device: by default a GPU where there is one. precision: by default bf16 on a GPU and fp32 elsewhere.
        """
        opened = open_model(
            AutoModelForVisualQuestionAnswering,
            source,
            name=name,
            device=device,
            offline=offline,
            precision=precision,
            leftovers=True,
        )
        return cls(*opened, name=name, candidates=candidates, max_tokens=max_tokens)

    @torch.inference_mode()
    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one picture.

        confidence: where answers are chosen, each is judged for itself (a sigmoid), so they need not sum to one; where
        they are written, the probability of the whole answer.
        """
        if not question.strip():
            raise InputError("the question is empty; ask something about the picture")
        prompt = self._prompt.format(question.strip())
        with self._turn:
            inputs = self._processor(images=[Image.fromarray(frame)], text=[prompt], return_tensors="pt")
            check_length(inputs["input_ids"].shape[1], self._model.config)
            inputs = inputs.to(self._model.device, self._model.dtype)
            return self._chosen(inputs, self._answers) if self._answers else self._written(inputs, prompt)

    def _chosen(self, inputs: Mapping[str, Any], answers: list[str]) -> VQAResult:
        scores = self._model(**inputs).logits[0].float().sigmoid()
        best = scores.topk(min(self._candidates, len(answers)))
        ranked = [(answers[i], round(p, 4)) for p, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
        return VQAResult(*ranked[0], tuple(ranked))

    def _written(self, inputs: Mapping[str, Any], prompt: str) -> VQAResult:
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
        answers = (text.strip().removeprefix(prompt) for text in texts)  # language models repeat what they were given
        return beams_to_result(zip(answers, generated.sequences_scores.tolist(), strict=True))


def _answers(config: Any, name: str) -> list[str]:
    """The answers that the model chooses from, in the order of its scores."""
    answers = [config.id2label[i] for i in range(len(config.id2label))]
    if answers == [f"LABEL_{i}" for i in range(len(answers))]:
        raise ModelError(f"{name!r} does not say what its {len(answers)} answers are: set id2label in its config.json")
    return answers
