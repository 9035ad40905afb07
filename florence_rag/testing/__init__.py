"""Test doubles without weights, models or files, for our tests and yours. They really look, read and search.

index = MemoryIndex(ColourEmbedder().info)
rag = FlorenceRAG(index, ColourEmbedder(), vqa=ColourVQA())
"""

from florence_rag.testing.doubles import (
    COLOURS,
    ColourEmbedder,
    ColourVQA,
    ScriptedCaptioner,
    ScriptedReader,
    ScriptedVQA,
    SynonymEmbedder,
    colour_frame,
    colour_shares,
)
from florence_rag.testing.memory_index import MemoryAnswers, MemoryIndex

__all__ = [
    "COLOURS",
    "ColourEmbedder",
    "ColourVQA",
    "MemoryAnswers",
    "MemoryIndex",
    "ScriptedCaptioner",
    "ScriptedReader",
    "ScriptedVQA",
    "SynonymEmbedder",
    "colour_frame",
    "colour_shares",
]
