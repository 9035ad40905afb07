"""florence_rag in LangChain: embeddings, retriever and tools over one index."""

from florence_rag.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_florence.embeddings import FlorenceEmbeddings
from langchain_florence.retriever import FlorenceRetriever
from langchain_florence.tools import FlorenceSearchTool, MeterVQATool, florence_tools

__all__ = ["FlorenceEmbeddings", "FlorenceRetriever", "FlorenceSearchTool", "MeterVQATool", "florence_tools"]
