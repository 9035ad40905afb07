"""florence_rag in LlamaIndex: embeddings, retriever and tools over one index."""

from llama_index_florence.embedding import FlorenceEmbedding
from llama_index_florence.retriever import FlorenceRetriever
from llama_index_florence.tools import FlorenceSearchTool, FlorenceToolSpec, MeterVQATool

__all__ = ["FlorenceEmbedding", "FlorenceRetriever", "FlorenceSearchTool", "FlorenceToolSpec", "MeterVQATool"]
