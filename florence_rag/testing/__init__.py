"""Test doubles without weights, models or files, which really embed, answer, read and search.

index = MemoryIndex(ColorEmbedder().info)
rag = FlorenceRAG(index, Models.of(ColorEmbedder(), vqa=ColorVQA()))
"""

from florence_rag.testing.doubles import (
    COLORS,
    ColorEmbedder,
    ColorVQA,
    ScriptedCaptioner,
    ScriptedReader,
    ScriptedVQA,
    SynonymEmbedder,
    color_frame,
    color_shares,
)
from florence_rag.testing.memory_index import MemoryAnswerStore, MemoryIndex

__all__ = [
    "COLORS",
    "ColorEmbedder",
    "ColorVQA",
    "MemoryAnswerStore",
    "MemoryIndex",
    "ScriptedCaptioner",
    "ScriptedReader",
    "ScriptedVQA",
    "SynonymEmbedder",
    "color_frame",
    "color_shares",
]
