"""florence_rag in LangChain: embeddings, vector store, loader, retriever and tools over one index."""

from florence_rag.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise MissingExtraError("langchain-core", "langchain") from error

from langchain_florence.document_index import FlorenceDocumentIndex
from langchain_florence.embeddings import FlorenceEmbeddings
from langchain_florence.loader import FlorenceLoader
from langchain_florence.retriever import FlorenceRetriever, documents_to_content
from langchain_florence.tools import FlorenceSearchTool, MeterVQATool, florence_tools
from langchain_florence.vectorstore import FlorenceVectorStore

__all__ = [
    "FlorenceDocumentIndex",
    "FlorenceEmbeddings",
    "FlorenceLoader",
    "FlorenceRetriever",
    "FlorenceSearchTool",
    "FlorenceVectorStore",
    "MeterVQATool",
    "documents_to_content",
    "florence_tools",
]
