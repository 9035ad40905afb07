"""Captions by the image-to-text models of transformers: BLIP, GIT, encoder-decoders, chat models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from florence_rag.batching import batched
from florence_rag.errors import InputError, ModelError
from florence_rag.models.model_folder import open_part, opening
from florence_rag.perception.transformers_model import TransformersModel, cannot_open
from florence_rag.types import Frame

INSTRUCTION = "Describe this picture in one sentence."
"""The prompt of a chat model."""

_PROMPTS: Mapping[str, str] = MappingProxyType({"paligemma": "<image>caption en", "instructblip": INSTRUCTION})
"""The beginning of the caption by type of model. Other models without a chat template receive the image alone."""


class TransformersCaptioner(TransformersModel):
    """A `Captioner` over a model that generates text about an image. Threads may share it.

    `prompt` replaces the usual one; a caption has at most `max_tokens`; `batch` is the number of images per forward
    pass, by default 16 on a GPU and 4 on a CPU. The constructor captions one image, so that a model that cannot is a
    ModelError now.
    """

    auto_class = AutoModelForImageTextToText
    half_on_cpu = True

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        prompt: str | None = None,
        max_tokens: int = 60,
        batch: int | None = None,
    ) -> None:
        if min(max_tokens, batch or 1) < 1:
            raise InputError("max_tokens and batch must be at least 1")
        super().__init__(model, processor, name=name)
        self._tokenizer = processor.tokenizer
        self._chats = bool(getattr(processor, "chat_template", None))
        self._prompt = prompt or (INSTRUCTION if self._chats else _PROMPTS.get(model.config.model_type, ""))
        self._max_tokens = max_tokens
        self._batch = batch or (4 if model.device.type == "cpu" else 16)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if not model.config.is_encoder_decoder:
            self._tokenizer.padding_side = "left"  # a decoder continues its input at the end of the row
        try:
            self._generate([np.full((64, 64, 3), 128, dtype=np.uint8)], 1)
        except Exception as error:  # its processor and network raise errors of many kinds
            kind, reason = model.config.model_type, " ".join(str(error).split())
            raise ModelError(f"{name!r}, a {kind}, cannot describe images: {reason}") from error

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, name: str, **options: Any) -> Self:
        """Open a folder as `TransformersModel` does; another kind of model is a ModelError."""
        with opening(folder, cannot_open(name, folder)):
            kind = open_part(AutoConfig, folder).model_type
        if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
            raise ModelError(
                f"{name!r} is a {kind or 'model of no known type'}, which writes nothing about images; to describe, "
                "name a Florence-2 or any model that transformers knows for image-text-to-text, such as BLIP"
            )
        return super().from_pretrained(folder, name=name, **options)

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one caption per RGB image (H, W, 3) uint8; an empty one if the model generates nothing."""
        return [text for part in batched(frames, self._batch) for text in self._generate(part, self._max_tokens)]

    @torch.inference_mode()
    def _generate(self, frames: Sequence[Frame], max_tokens: int) -> list[str]:
        images = [Image.fromarray(frame) for frame in frames]
        with self._tokenizer_lock:
            inputs = self._inputs(images).to(self._model.device, self._model.dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        prompt = inputs.get("input_ids")
        if prompt is not None and torch.equal(tokens[:, : prompt.shape[1]], prompt):  # some models repeat the prompt
            tokens = tokens[:, prompt.shape[1] :]
        with self._tokenizer_lock:
            texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, images: Sequence[Image.Image]) -> Any:
        if not self._chats:
            texts = {"text": [self._prompt] * len(images), "padding": True} if self._prompt else {}
            return self._processor(images=images, return_tensors="pt", **texts)
        prompt = {"type": "text", "text": self._prompt}
        return self._processor.apply_chat_template(
            [[{"role": "user", "content": [{"type": "image", "image": image}, prompt]}] for image in images],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
