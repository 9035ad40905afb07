"""How models are opened: from the network or not, on what and in how many bits, and with the keys of services."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from florence_rag.errors import ModelError

if TYPE_CHECKING:
    from florence_rag.embedding.text_limit import TooLong
    from florence_rag.models.inference_backends import Backend, Precision


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """offline: never fetch a model. announce: told what is about to be fetched. device: a torch device, by default
    a GPU where there is one. precision: fp32, bf16 or int8, and backend: torch, compile, openvino or onnx, of the
    embedder. too_long: whether texts that a model cannot read to their end are cut, or refused.

    azure_endpoint, azure_key, azure_token: of an Azure AI Vision resource. openai_url: of an endpoint that speaks
    OpenAI's protocol, None for OpenAI itself; openai_key: its key.
    """

    offline: bool = False
    announce: Callable[[str], None] | None = None
    device: str | None = None
    precision: Precision | None = None
    backend: Backend = "torch"
    too_long: TooLong = "cut"
    azure_endpoint: str | None = None
    azure_key: str | None = field(default=None, repr=False)
    azure_token: str | None = field(default=None, repr=False)
    openai_url: str | None = None
    openai_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, *, offline: bool = False, announce: Callable[[str], None] | None = None) -> ModelOptions:
        """Keys as the services' own tools read them: AZURE_VISION_ENDPOINT, _KEY, _TOKEN; OPENAI_BASE_URL, _API_KEY."""
        read = os.environ.get
        return cls(
            offline=offline,
            announce=announce,
            azure_endpoint=read("AZURE_VISION_ENDPOINT"),
            azure_key=read("AZURE_VISION_KEY"),
            azure_token=read("AZURE_VISION_TOKEN"),
            openai_url=read("OPENAI_BASE_URL"),
            openai_key=read("OPENAI_API_KEY"),
        )

    def require_azure_endpoint(self) -> str:
        """ModelError where none is given."""
        if not self.azure_endpoint:
            raise ModelError(
                "the original Florence is a service: set AZURE_VISION_ENDPOINT and AZURE_VISION_KEY, "
                "or give Access(azure_endpoint=..., azure_key=...)"
            )
        return self.azure_endpoint
