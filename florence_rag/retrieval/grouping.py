"""Groups hits that belong together: of a video, of an image and its regions, near-duplicates, shots of a burst."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from florence_rag.retrieval.perceptual_hash import PerceptualHashes
from florence_rag.types import Hit


def group_hits(hits: Iterable[Hit], max_grouped: int) -> list[Hit]:
    """Group hits, best first; each keeps at most max_grouped further hits."""
    groups: dict[object, list[Hit]] = {}
    pictures = _Pictures()
    for hit in hits:
        groups.setdefault(pictures.number(hit) if hit.kind == "image" else _key(hit), []).append(hit)
    return [replace(best, grouped_hits=tuple(rest[:max_grouped])) for best, *rest in groups.values()]


def _key(hit: Hit) -> object:
    return ("video", hit.source) if hit.kind == "clip" else ("chunk", hit.id)


class _Pictures:
    """Assigns one number to all hits of a group."""

    def __init__(self) -> None:
        self._hashes = PerceptualHashes()
        self._numbers: dict[str, int] = {}

    def number(self, hit: Hit) -> int:
        """Compare by uri, because items stay separate even if they name the same source."""
        if hit.uri not in self._numbers:
            found = self._hashes.find(hit.metadata)
            self._numbers[hit.uri] = self._hashes.add(hit.metadata) if found is None else found
        return self._numbers[hit.uri]
