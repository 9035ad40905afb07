"""Visual question answering with the models of transformers: ViLT, BLIP, BLIP-2 and others."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForVisualQuestionAnswering

from florence_rag.errors import ModelError
from florence_rag.perception.base import VQAResult
from florence_rag.perception.transformers_model import TransformersModel, beams_to_result
from florence_rag.text_arguments import check_question
from florence_rag.types import Frame
from florence_rag.untrusted_text import neutralize

_PROMPTS: Mapping[str, str] = MappingProxyType({"blip-2": "Question: {} Answer:"})
"""The prompt around a question by type of model. All other models receive the question alone."""

_DROPPED_BY_BLIP = str.maketrans("", "", '.!"()*#:;~')


class TransformersVQA(TransformersModel):
    """A model that chooses among its answers, or one that generates them. Threads may share it, and take turns.

    A result lists up to `candidates` answers; a generated answer has at most `max_tokens`. BLIP receives questions as
    its authors prepared them, which its files do not say: without some punctuation, and behind a token of its own
    (https://github.com/salesforce/BLIP, blip_vqa.py).
    """

    auto_class = AutoModelForVisualQuestionAnswering

    def __init__(self, model: Any, processor: Any, *, name: str, candidates: int = 5, max_tokens: int = 20) -> None:
        super().__init__(model, processor, name=name)
        self._prompt = _PROMPTS.get(model.config.model_type, "{}")
        self._is_blip = model.config.model_type == "blip"
        self._candidates = candidates
        self._max_tokens = max_tokens
        self._answers: list[str] = []  # what the model chooses from, in the order of its scores
        if not model.can_generate():
            count = len(model.config.id2label)
            self._answers = [model.config.id2label[i] for i in range(count)]
            if self._answers == [f"LABEL_{i}" for i in range(count)]:
                raise ModelError(f"{name!r} does not name its {count} answers: set id2label in its config.json")

    @torch.inference_mode()
    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one image.

        A model that chooses gives every answer a sigmoid of its own, so that the confidences need not sum to one; for a
        model that generates, the confidence is the probability of the whole answer.
        """
        question = neutralize(check_question(question))
        if self._is_blip:
            question = question.translate(_DROPPED_BY_BLIP)
        prompt = self._prompt.format(question)
        with self._tokenizer_lock:
            inputs = self._processor(images=[Image.fromarray(frame)], text=[prompt], return_tensors="pt")
            self._check_length(inputs)
            if self._is_blip and (token := self._question_token()) is not None:
                inputs["input_ids"][:, 0] = token
            inputs = inputs.to(self._model.device, self._model.dtype)
            if not self._answers:
                return self._generate(inputs, prompt)
            scores = self._model(**inputs).logits[0].float().sigmoid()
        best = scores.topk(min(self._candidates, len(self._answers)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return VQAResult.ranked([(self._answers[i], round(confidence, 4)) for i, confidence in pairs])

    def _question_token(self) -> int | None:
        """Return the token before a question; None if the network has none.

        The released networks have embeddings of two tokens more than their tokenizer: one before what is generated,
        and one before what is encoded together with the image.
        """
        text = self._model.config.text_config
        beyond = len(self._processor.tokenizer)
        return beyond + 1 if text.bos_token_id == beyond and text.vocab_size == beyond + 2 else None

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
