"""One hit per video: its best clip, with the other clips that were found as moments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from florence_rag.types import Hit


def group_by_video(hits: Iterable[Hit], max_moments: int) -> list[Hit]:
    """Best first in, best first out; at most max_moments further clips are kept with each video."""
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in hits:
        key = ("video", hit.source) if hit.kind == "clip" else ("chunk", hit.id)
        groups.setdefault(key, []).append(hit)
    return [replace(best, moments=tuple(rest[:max_moments])) for best, *rest in groups.values()]
