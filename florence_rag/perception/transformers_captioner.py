"""Captions by the image-to-text models of transformers: BLIP, GIT, encoder-decoders, chat models."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from florence_rag.errors import InputError, ModelError
from florence_rag.perception.hf_loading import Precision, cannot_open, open_model
from florence_rag.types import Frame

INSTRUCTION = "Describe this picture in one sentence."
"""The prompt of a chat model."""

_PROMPTS: Mapping[str, str] = MappingProxyType({"paligemma": "<image>caption en", "instructblip": INSTRUCTION})
"""The beginning of the caption by type of model. Other models without a chat template receive the image alone."""


class TransformersCaptioner:
    """A `Captioner` over a model that generates text about an image. Threads may share it.

    `prompt` replaces the usual one; a caption has at most `max_tokens`; `batch` is the number of images per forward
    pass, by default 16 on a GPU and 4 on a CPU. The constructor captions one image, so that a model that cannot is a
    ModelError now.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        tokenizer: Any,
        *,
        name: str,
        prompt: str | None = None,
        max_tokens: int = 60,
        batch: int | None = None,
    ) -> None:
        if min(max_tokens, batch or 1) < 1:
            raise InputError("max_tokens and batch must be at least 1")
        self._model = model.eval()
        self._processor = processor
        self._tokenizer = tokenizer
        self._chats = bool(getattr(processor, "chat_template", None))
        self._prompt = prompt or (INSTRUCTION if self._chats else _PROMPTS.get(model.config.model_type, ""))
        self._max_tokens = max_tokens
        self._batch = batch or (4 if model.device.type == "cpu" else 16)
        self._tokenizer_lock = threading.Lock()  # two threads cannot use the tokenizer at the same time
        self._make_paddable()
        self._try(name)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        name: str,
        device: str | None = None,
        precision: Precision | None = None,
        **settings: Any,
    ) -> TransformersCaptioner:
        """Open a folder with settings of the constructor; by default on a GPU in bf16 if there is one, else in fp32."""
        _check_type(folder, name)
        model, processor = open_model(
            AutoModelForImageTextToText,
            folder,
            name=name,
            device=device,
            precision=precision,
            unused_weights=True,
        )
        return cls(model, *_processor_and_tokenizer(processor, folder, name), name=name, **settings)

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one caption per RGB image (H, W, 3) uint8; an empty one if the model generates nothing."""
        parts = (frames[start : start + self._batch] for start in range(0, len(frames), self._batch))
        return [text for part in parts for text in self._generate(part, self._max_tokens)]

    @torch.inference_mode()
    def _generate(self, frames: Sequence[Frame], max_tokens: int) -> list[str]:
        images = [Image.fromarray(frame) for frame in frames]
        with self._tokenizer_lock:
            inputs = self._inputs(images).to(self._model.device, self._model.dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        with self._tokenizer_lock:
            written = _without_prompt(tokens, inputs.get("input_ids"))
            texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _inputs(self, images: Sequence[Image.Image]) -> Any:
        if self._chats:
            return self._processor.apply_chat_template(
                [_turn(image, self._prompt) for image in images],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        texts = {"text": [self._prompt] * len(images), "padding": True} if self._prompt else {}
        return self._processor(images=images, return_tensors="pt", **texts)

    def _make_paddable(self) -> None:
        """Pad on the left for a decoder, which continues its input at the end of the row."""
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if not self._model.config.is_encoder_decoder:
            self._tokenizer.padding_side = "left"

    def _try(self, name: str) -> None:
        try:
            self._generate([np.full((64, 64, 3), 128, dtype=np.uint8)], 1)
        except Exception as error:  # its processor and network raise errors of many kinds
            kind = self._model.config.model_type
            raise ModelError(f"{name!r}, a {kind}, cannot describe images: {' '.join(str(error).split())}") from error


def _turn(image: Image.Image, prompt: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    return [{"role": "user", "content": content}]


def _without_prompt(tokens: torch.Tensor, prompt: torch.Tensor | None) -> torch.Tensor:
    """Remove the prompt, which some models repeat."""
    if prompt is None or not torch.equal(tokens[:, : prompt.shape[1]], prompt):
        return tokens
    return tokens[:, prompt.shape[1] :]


def _check_type(folder: str | Path, name: str) -> None:
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    except Exception as error:
        raise cannot_open(name, folder, error) from error
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(
            f"{name!r} is a {kind or 'model of no known type'}, which writes nothing about images; to describe, "
            "name a Florence-2 or any model that transformers knows for image-text-to-text, such as BLIP"
        )


def _processor_and_tokenizer(processor: Any, folder: str | Path, name: str) -> tuple[Any, Any]:
    """Return both parts. An encoder-decoder has no common processor, so that they are separate files."""
    if hasattr(processor, "image_processor"):
        return processor, processor.tokenizer
    try:
        images = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            folder, local_files_only=True, backend="pil"
        )
        return images, AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise cannot_open(name, folder, error) from error
