"""The whole way from files to answers in one object."""

from florence_rag.pipeline.engine import IngestConfig
from florence_rag.pipeline.ingest import Progress
from florence_rag.pipeline.rag import FlorenceRAG
from florence_rag.pipeline.word_reading import ReadWords

__all__ = ["FlorenceRAG", "IngestConfig", "Progress", "ReadWords"]
