"""Moments: what happens in a clip becomes chunks of their own beside it, each with its words and its own vector.

A moment is a chunk of kind "clip" whose metadata have an action. Its caption says who does what; its pictures are those
of its own time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from florence_rag.chunking import read_frames
from florence_rag.chunking.frame_sampling import sample_frames
from florence_rag.chunking.video import CONTINUES
from florence_rag.perception.base import Action, ActionRecognizer
from florence_rag.types import Chunk, Frame, Hit, Locator

ACTION = "action"
"""The field of the metadata that names it."""
_PICTURES = (0.25, 0.5, 0.75)
"""Where the pictures of a moment are taken, as shares of it: where it begins and ends, who acts may be out of sight."""
LOOKS = 0.25
"""How much the look of a moment counts beside its words: what happens is said in words, the look tells who."""
_SAME = 0.5


def is_moment(chunk: Chunk | Hit) -> bool:
    """Whether it is something that happens in a clip, not a clip that was cut."""
    return chunk.kind == "clip" and ACTION in chunk.metadata


def with_moments(recognizer: ActionRecognizer, chunks: Sequence[Chunk]) -> list[Chunk]:
    """The chunks, and after the clips of each shot what happens in it, also across its clips.

    What takes just as long as a clip is said of the clip: two chunks of one time would be one chunk.
    """
    found = []
    for shot in _shots(chunks):
        moments = {moment.locator: moment for moment in _moments_of(shot, recognizer)}
        told = [_told(clip, moments.pop(clip.locator, None)) for clip in shot]
        found += [*told, *moments.values()]
    return found


def _told(clip: Chunk, moment: Chunk | None) -> Chunk:
    """The clip with what happens from its start to its end."""
    if moment is None:
        return clip
    caption = "\n".join(part for part in (clip.caption, moment.caption) if part)
    return replace(clip, caption=caption, metadata={**moment.metadata, **clip.metadata})


def _shots(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """The clips of one shot together, as far as they come together; all else by itself."""
    shot: list[Chunk] = []
    for chunk in chunks:
        if shot and not (chunk.metadata.get(CONTINUES) and chunk.source.uri == shot[-1].source.uri):
            yield shot
            shot = []
        shot.append(chunk)
    if shot:
        yield shot


def _moments_of(shot: Sequence[Chunk], recognizer: ActionRecognizer) -> list[Chunk]:
    first, start_s, end_s = shot[0], shot[0].locator.start_s, shot[-1].locator.end_s
    if first.kind != "clip" or is_moment(first) or start_s is None or end_s is None:
        return []
    frame_times: dict[float, float] = {}
    seen = _noted(sample_frames(first.source.uri, start_s, end_s, recognizer.rate_hz), frame_times)
    actions = recognizer.recognize(seen, end_s)
    return [_moment(first, action, recognizer.sentence(action), frame_times) for action in actions]


def _noted(
    shown: Iterable[tuple[float, float, Frame]], frame_times: dict[float, float]
) -> Iterator[tuple[float, Frame]]:
    """What the recognizer looks at; notes when exactly each picture is shown, by which it is found again."""
    for time_s, shown_s, frame in shown:
        frame_times[time_s] = shown_s
        yield time_s, frame


def _moment(clip: Chunk, action: Action, sentence: str, frame_times: Mapping[float, float]) -> Chunk:
    """Of pictures those that are nearest to where they are wanted."""
    locator = Locator(start_s=action.start_s, end_s=action.end_s)
    wanted = [action.start_s + share * (action.end_s - action.start_s) for share in _PICTURES]
    nearest = [min(frame_times, key=lambda time_s: abs(time_s - aim)) for aim in wanted]
    metadata = {
        **{name: value for name, value in clip.metadata.items() if name != CONTINUES},
        **action.attributes,
        ACTION: action.label,
        "confidence": action.confidence,
        "keyframes_s": sorted({frame_times[time_s] for time_s in nearest}),
    }
    frames = read_frames(clip.source.uri, "clip", locator, metadata)
    return replace(clip, locator=locator, text="", ocr="", caption=sentence, frames=frames, metadata=metadata)


def temporal_nms(hits: Iterable[Hit], k: int) -> list[Hit]:
    """The first k hits, less those that are mostly the same time of the same video as a better one."""
    kept: list[Hit] = []
    for hit in hits:
        if len(kept) == k:
            break
        if all(hit.source != other.source or overlap(_span(hit), _span(other)) < _SAME for other in kept):
            kept.append(hit)
    return kept


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Of two spans of time the share that is common to both, of all that they cover, in [0, 1]."""
    common = min(one[1], other[1]) - max(one[0], other[0])
    return max(common, 0.0) / max(max(one[1], other[1]) - min(one[0], other[0]), 1e-9)


def _span(hit: Hit) -> tuple[float, float]:
    return hit.locator.start_s or 0.0, hit.locator.end_s or 0.0
