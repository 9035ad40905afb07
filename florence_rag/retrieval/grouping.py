"""Groups hits that belong together, and removes moments that overlap a better one."""

from collections import Counter
from collections.abc import Iterable, Iterator

from florence_rag.retrieval.fusion import replace_fields
from florence_rag.retrieval.perceptual_hash import PerceptualHashes
from florence_rag.types import Hit

MAX_OVERLAP = 0.5
_CHOSEN = 4


def group_hits(hits: Iterable[Hit], max_grouped: int) -> list[Hit]:
    """Group the clips of a video, an image and its regions, near-duplicates, and the shots of a burst.

    The first and best hit of each group keeps at most `max_grouped` of the others.
    """
    groups: dict[object, list[Hit]] = {}
    for key, hit in _keyed(hits):
        groups.setdefault(key, []).append(hit)
    return [
        replace_fields(best, grouped_hits=tuple(rest[:max_grouped])) if rest else best
        for best, *rest in groups.values()
    ]


def count_groups(hits: Iterable[Hit], most: int) -> int:
    """Return the number of groups that `group_hits` makes, or `most` if there are more."""
    found = set[object]()
    for key, _ in _keyed(hits):
        found.add(key)
        if len(found) == most:
            break
    return len(found)


def first_groups(hits: Iterable[Hit], count: int) -> list[Hit]:
    """Return the best hits of the first groups that `group_hits` makes, at most four of each, in their order."""
    sizes = Counter[object]()
    chosen = []
    for key, hit in _keyed(hits):
        if sizes[key] < _CHOSEN and (key in sizes or len(sizes) < count):
            sizes[key] += 1
            chosen.append(hit)
    return chosen


def _keyed(hits: Iterable[Hit]) -> Iterator[tuple[object, Hit]]:
    """Yield each hit with the key of its group."""
    hashes, numbers = PerceptualHashes(), dict[str, int]()
    for hit in hits:
        if hit.kind != "image":
            yield ("video", hit.source) if hit.kind == "clip" else ("chunk", hit.id), hit
            continue
        if hit.uri not in numbers:  # compared by uri, because items stay separate even if they name the same source
            numbers[hit.uri] = hashes.number(hit.metadata)
        yield numbers[hit.uri], hit


def temporal_nms(hits: Iterable[Hit], k: int) -> list[Hit]:
    """Return the first k hits, without those that overlap a better one of the same video by half or more."""
    best: list[Hit] = []
    for hit in hits:
        if len(best) == k:
            break
        if all(hit.source != other.source or overlap(_span(hit), _span(other)) < MAX_OVERLAP for other in best):
            best.append(hit)
    return best


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the intersection over union of two time spans, in [0, 1]."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(common, 0.0) / max(max(one[1], other[1]) - min(one[0], other[0]), 1e-9)


def _span(hit: Hit) -> tuple[float, float]:
    return hit.locator.start_s or 0.0, hit.locator.end_s or 0.0
