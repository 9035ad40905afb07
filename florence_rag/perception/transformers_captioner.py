"""Captions by any model of transformers that writes about pictures: BLIP, GIT, encoder-decoders, chat models."""

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

ASKED = "Describe this picture in one sentence."
"""What a chat model is told."""

_PROMPTS: Mapping[str, str] = MappingProxyType({"paligemma": "<image>caption en", "instructblip": ASKED})
"""What begins the text, by the type of the model; others that do not chat are shown the picture alone."""


class TransformersCaptioner:
    """A Captioner that says what its model writes when it is shown a picture. Safe to call from several threads, which
    write at the same time.

    prompt: in place of the usual one; None for that. max_tokens: of a caption. batch: pictures in one pass, by default
    16 on a GPU and 4 elsewhere. ModelError where the model cannot write about a picture: one is tried.
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
        self._prompt = prompt or (ASKED if self._chats else _PROMPTS.get(model.config.model_type, ""))
        self._max_tokens = max_tokens
        self._batch = batch or (4 if model.device.type == "cpu" else 16)
        self._reading = threading.Lock()  # the tokenizer cannot be shared
        self._make_paddable()
        self._try(name)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        name: str,
        device: str | None = None,
        offline: bool = False,
        precision: Precision | None = None,
        **settings: Any,
    ) -> TransformersCaptioner:
        """Open a folder or a repository of the hub; ModelError where that fails. settings: of the constructor.

        device: by default a GPU where there is one. precision: by default bf16 on a GPU and fp32 elsewhere.
        """
        _check_type(source, name, offline)
        model, processor = open_model(
            AutoModelForImageTextToText,
            source,
            name=name,
            device=device,
            offline=offline,
            precision=precision,
            leftovers=True,
        )
        return cls(model, *_processor_and_tokenizer(processor, source, name, offline), name=name, **settings)

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """One caption per frame, (H, W, 3) uint8 RGB; "" where the model says nothing."""
        parts = (frames[start : start + self._batch] for start in range(0, len(frames), self._batch))
        return [text for part in parts for text in self._written(part, self._max_tokens)]

    @torch.inference_mode()
    def _written(self, frames: Sequence[Frame], max_tokens: int) -> list[str]:
        images = [Image.fromarray(frame) for frame in frames]
        with self._reading:
            inputs = self._inputs(images).to(self._model.device, self._model.dtype)
        tokens = self._model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        with self._reading:
            texts = self._tokenizer.batch_decode(_new(tokens, inputs.get("input_ids")), skip_special_tokens=True)
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
        """What goes on from its input must have it at the end of each row."""
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if not self._model.config.is_encoder_decoder:
            self._tokenizer.padding_side = "left"

    def _try(self, name: str) -> None:
        try:
            self._written([np.full((64, 64, 3), 128, dtype=np.uint8)], 1)
        except Exception as error:  # whatever its processor and network raise
            kind = self._model.config.model_type
            raise ModelError(f"{name!r}, a {kind}, cannot describe pictures: {' '.join(str(error).split())}") from error


def _turn(image: Image.Image, prompt: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": image}, {"type": "text", "text": prompt}]
    return [{"role": "user", "content": content}]


def _new(tokens: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    """Without what the model was given, which some repeat."""
    if given is None or not torch.equal(tokens[:, : given.shape[1]], given):
        return tokens
    return tokens[:, given.shape[1] :]


def _check_type(source: str | Path, name: str, offline: bool) -> None:
    try:
        kind = AutoConfig.from_pretrained(source, local_files_only=offline).model_type
    except Exception as error:
        raise ModelError(cannot_open(name, source, offline, error)) from error
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ModelError(
            f"{name!r} is a {kind or 'model of no known type'}, which writes nothing about pictures; to describe, "
            "name a Florence-2 or any model that transformers knows for image-text-to-text, such as BLIP"
        )


def _processor_and_tokenizer(opened: Any, source: str | Path, name: str, offline: bool) -> tuple[Any, Any]:
    """Of an encoder-decoder, which has no processor of its own, they lie apart."""
    if hasattr(opened, "image_processor"):
        return opened, opened.tokenizer
    try:
        looking = AutoImageProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            source, local_files_only=offline, backend="pil"
        )
        return looking, AutoTokenizer.from_pretrained(source, local_files_only=offline)
    except Exception as error:
        raise ModelError(cannot_open(name, source, offline, error)) from error
