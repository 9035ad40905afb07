"""Index images, videos, text and PDFs; search them by words or pictures; ask them questions.

Names are resolved when they are first used, so that importing the package loads neither torch nor pymilvus.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from florence_rag.answering.llm import LLMConfig
    from florence_rag.answering.vqa_answerer import AnsweringConfig
    from florence_rag.chunking import ChunkingConfig
    from florence_rag.embedding.base import Embedder
    from florence_rag.errors import (
        FlorenceError,
        InputError,
        MediaError,
        MissingExtraError,
        ModelError,
        StoreCorruptError,
        StoreError,
        StoreLockedError,
        StoreMismatchError,
        StoreUnavailableError,
    )
    from florence_rag.index.base import ChunkIndex, IndexInfo
    from florence_rag.ingest.engine import IngestConfig
    from florence_rag.ingest.run import Progress
    from florence_rag.perception.base import OCRReader, TextRegion, VisualQA, VQAResult
    from florence_rag.rag import FlorenceRAG
    from florence_rag.retrieval.retriever import RetrievalConfig
    from florence_rag.types import (
        Answer,
        Chunk,
        Citation,
        EmbedderInfo,
        Failure,
        Hit,
        IndexReport,
        Locator,
        Source,
    )

_HOMES = {
    "answering.vqa_answerer": ("AnsweringConfig",),
    "answering.llm": ("LLMConfig",),
    "chunking": ("ChunkingConfig",),
    "embedding.base": ("Embedder",),
    "errors": (
        "FlorenceError",
        "InputError",
        "MediaError",
        "MissingExtraError",
        "ModelError",
        "StoreCorruptError",
        "StoreError",
        "StoreLockedError",
        "StoreMismatchError",
        "StoreUnavailableError",
    ),
    "index.base": ("ChunkIndex", "IndexInfo"),
    "perception.base": ("OCRReader", "TextRegion", "VQAResult", "VisualQA"),
    "ingest.engine": ("IngestConfig",),
    "ingest.run": ("Progress",),
    "rag": ("FlorenceRAG",),
    "retrieval.retriever": ("RetrievalConfig",),
    "types": ("Answer", "Chunk", "Citation", "EmbedderInfo", "Failure", "Hit", "IndexReport", "Locator", "Source"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Answer",
    "AnsweringConfig",
    "Chunk",
    "ChunkIndex",
    "ChunkingConfig",
    "Citation",
    "Embedder",
    "EmbedderInfo",
    "Failure",
    "FlorenceError",
    "FlorenceRAG",
    "Hit",
    "IndexInfo",
    "IndexReport",
    "IngestConfig",
    "InputError",
    "LLMConfig",
    "Locator",
    "MediaError",
    "MissingExtraError",
    "ModelError",
    "OCRReader",
    "Progress",
    "RetrievalConfig",
    "Source",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StoreMismatchError",
    "StoreUnavailableError",
    "TextRegion",
    "VQAResult",
    "VisualQA",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
