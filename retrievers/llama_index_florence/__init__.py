"""florence_rag in LlamaIndex: embeddings, store, reader, retriever, reranker, tools and engines over one index."""

from florence_rag.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("llama-index-core", "llama-index") from error

from llama_index_florence.embedding import FlorenceEmbedding
from llama_index_florence.engines import FlorenceChatEngine, FlorenceQueryEngine
from llama_index_florence.reader import FlorenceReader
from llama_index_florence.rerank import FlorenceRerank
from llama_index_florence.retriever import FlorenceRetriever
from llama_index_florence.tools import (
    FlorenceSearchTool,
    FlorenceTool,
    FlorenceToolSpec,
    ImageAgent,
    VQATool,
    image_mode_for,
)
from llama_index_florence.vectorstore import FlorenceVectorStore
from llama_index_florence.verify import FlorenceVerifier

__all__ = [
    "FlorenceChatEngine",
    "FlorenceEmbedding",
    "FlorenceQueryEngine",
    "FlorenceReader",
    "FlorenceRerank",
    "FlorenceRetriever",
    "FlorenceSearchTool",
    "FlorenceTool",
    "FlorenceToolSpec",
    "FlorenceVectorStore",
    "FlorenceVerifier",
    "ImageAgent",
    "VQATool",
    "image_mode_for",
]
