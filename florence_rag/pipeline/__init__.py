"""The whole way from files to answers in one object."""

from florence_rag.pipeline.ingest import IngestConfig, Progress, ReadWords
from florence_rag.pipeline.rag import FlorenceRAG

__all__ = ["FlorenceRAG", "IngestConfig", "Progress", "ReadWords"]
