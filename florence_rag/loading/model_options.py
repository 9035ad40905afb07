"""How models are loaded: with or without the network, on which device, in which precision, with which keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from florence_rag.perception.caption_size import check_caption_px
from florence_rag.redaction import keep_secret

if TYPE_CHECKING:
    from florence_rag.embedding.base import TooLong
    from florence_rag.models.inference_backends import Backend, Precision


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options that all models of an index share. Each loader reads those that concern its model.

    Args:
        offline: Whether to use only files that are on this machine.
        fetch_first: Whether the captioner of a database for new files is fetched before the embedder is loaded, and not
            when the first image is captioned.
        announce: Called with one line before the files of a model are downloaded.
        device: A torch device. By default a GPU if there is one.
        precision: "fp32", "bf16" or "int8": the precision of the embedder. By default the model's own.
        backend: "torch", "compile", "openvino" or "onnx": the engine of the embedder's image encoder.
        too_long: Whether an embedder truncates texts longer than its limit ("truncate") or raises an error ("error").
        detection_threshold: The lowest confidence of a detection, in [0, 1], for detectors that report one.
        caption_px: The side in pixels to which Florence-2 scales images that it captions: a multiple of 32, at most
            the usual 768. It is a ModelError for other captioners, and without one.
        azure_endpoint: The address of an Azure AI Vision resource.
        azure_key: The key of that resource.
        azure_token: A Microsoft Entra token, instead of the key.
        openai_url: The base URL of a service with OpenAI's API, such as Ollama's "http://localhost:11434/v1"; None for
            OpenAI itself.
        openai_key: The key of that service, if it needs one.
    """

    offline: bool = False
    fetch_first: bool = False
    announce: Callable[[str], None] | None = None
    device: str | None = None
    precision: Precision | None = None
    backend: Backend = "torch"
    too_long: TooLong = "truncate"
    detection_threshold: float = 0.5
    caption_px: int | None = None
    azure_endpoint: str | None = None
    azure_key: str | None = field(default=None, repr=False)
    azure_token: str | None = field(default=None, repr=False)
    openai_url: str | None = None
    openai_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.caption_px is not None:
            check_caption_px(self.caption_px)
        keep_secret(self.azure_key, self.azure_token, self.openai_key)

    @classmethod
    def from_environment(cls, *, offline: bool = False, announce: Callable[[str], None] | None = None) -> ModelOptions:
        """Read the addresses and keys of services from the environment.

        The variables are those that the services' own tools read: AZURE_VISION_ENDPOINT, AZURE_VISION_KEY,
        AZURE_VISION_TOKEN, OPENAI_BASE_URL and OPENAI_API_KEY. The arguments are those of the class.
        """

        def read(name: str) -> str | None:
            return os.environ.get(name, "").strip() or None

        return cls(
            offline=offline,
            announce=announce,
            azure_endpoint=read("AZURE_VISION_ENDPOINT"),
            azure_key=read("AZURE_VISION_KEY"),
            azure_token=read("AZURE_VISION_TOKEN"),
            openai_url=read("OPENAI_BASE_URL"),
            openai_key=read("OPENAI_API_KEY"),
        )
