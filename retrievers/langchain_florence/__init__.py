"""florence_rag in LangChain: embeddings, vector store, loader, retriever, tools, chain and agent over one index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from florence_rag.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_florence.chain import cited_documents, create_rag_agent, create_rag_chain
from langchain_florence.embeddings import FlorenceEmbeddings, LangChainEmbedder
from langchain_florence.images import ImagePlacer, image_mode_for, place_images
from langchain_florence.loader import FlorenceLoader
from langchain_florence.retriever import FlorenceRetriever, documents_to_content
from langchain_florence.tools import FlorenceSearchTool, FlorenceTool, VQATool, florence_tools
from langchain_florence.vectorstore import FlorenceDocumentIndex, FlorenceVectorStore
from langchain_florence.verify import FlorenceVerifier

if TYPE_CHECKING:
    from langchain_florence.middleware import FlorenceImages

__all__ = [
    "FlorenceDocumentIndex",
    "FlorenceEmbeddings",
    "FlorenceImages",
    "FlorenceLoader",
    "FlorenceRetriever",
    "FlorenceSearchTool",
    "FlorenceTool",
    "FlorenceVectorStore",
    "FlorenceVerifier",
    "ImagePlacer",
    "LangChainEmbedder",
    "VQATool",
    "cited_documents",
    "create_rag_agent",
    "create_rag_chain",
    "documents_to_content",
    "florence_tools",
    "image_mode_for",
    "place_images",
]


def __getattr__(name: str) -> Any:
    """FlorenceImages needs LangChain's agents, all others the core alone; so it is imported when it is used."""
    if name != "FlorenceImages":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from langchain_florence.middleware import FlorenceImages

    return FlorenceImages


def __dir__() -> list[str]:
    return __all__
