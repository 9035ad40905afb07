"""Searches the moments of videos: the clips and the actions that fit a text."""

from __future__ import annotations

from dataclasses import replace

from florence_rag.context import Context
from florence_rag.index.base import Filter
from florence_rag.retrieval.moments import IMAGE_SHARE, temporal_nms
from florence_rag.retrieval.query import check_count
from florence_rag.retrieval.retriever import RetrievalConfig, Retriever
from florence_rag.types import Hit

_OVERSAMPLE = 4


def find_moments(
    context: Context, config: RetrievalConfig, text: str, k: int, *, filter: Filter | None, overlapping: bool
) -> list[Hit]:
    """Return the k moments that fit a text best, as `FlorenceRAG.find_moments` does."""
    retriever = Retriever(context, replace(config, image_weight=IMAGE_SHARE * config.image_weight))
    wanted = check_count(k) * (1 if overlapping else _OVERSAMPLE)
    hits = retriever.search(text, k=wanted, kinds={"clip"}, filter=filter, group=False)
    return hits if overlapping else temporal_nms(hits, k)
