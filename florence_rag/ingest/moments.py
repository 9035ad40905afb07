"""Moments: actions in a video become chunks of their own, each with its caption and vector, after the clips of a shot.

A moment is a chunk of kind "clip" whose metadata has an action. Its caption says who does what, and its frames show
the time of the action.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from florence_rag.chunking import read_frames
from florence_rag.perception.base import Action, ActionRecognizer
from florence_rag.sources.limited import stream_file
from florence_rag.types import CONTINUES, TIME_RESTARTS, Chunk, Frame, Hit, Locator
from florence_rag.workers import DEFAULT_LIMITS, Limits

ACTION = "action"
"""The metadata field that names the action."""
_FRAMES_AT = (0.25, 0.5, 0.75)
"""Where the frames of a moment are taken, as fractions of its duration. At both ends the actor may be hidden."""


def is_moment(chunk: Chunk | Hit) -> bool:
    """Return whether a chunk is an action in a video, not a clip of fixed boundaries."""
    return chunk.kind == "clip" and ACTION in chunk.metadata


def with_moments(
    recognizer: ActionRecognizer, chunks: Sequence[Chunk], *, limits: Limits = DEFAULT_LIMITS
) -> list[Chunk]:
    """Return the chunks, and after the clips of each shot its moments, which may span several clips.

    The frames are read in worker processes within the limits.

    A moment with exactly the time of a clip is merged into the clip, because both would have the same id.
    """
    found: list[Chunk] = []
    for shot in _shots(chunks):
        moments = {moment.locator: moment for moment in _moments_of(shot, recognizer, limits)}
        for clip in shot:
            if moment := moments.pop(clip.locator, None):
                caption = "\n".join(part for part in (clip.caption, moment.caption) if part)
                clip = replace(clip, caption=caption, metadata={**moment.metadata, **clip.metadata})
            found.append(clip)
        found += moments.values()
    return found


def _shots(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Yield the clips of each shot together, and every other chunk alone."""
    shot: list[Chunk] = []
    for chunk in chunks:
        if shot and not (chunk.metadata.get(CONTINUES) and chunk.source.uri == shot[-1].source.uri):
            yield shot
            shot = []
        shot.append(chunk)
    if shot:
        yield shot


def _moments_of(shot: Sequence[Chunk], recognizer: ActionRecognizer, limits: Limits) -> list[Chunk]:
    first, start_s, end_s = shot[0], shot[0].locator.start_s, shot[-1].locator.end_s
    if first.kind != "clip" or first.source.media == "image" or is_moment(first) or start_s is None or end_s is None:
        return []
    from florence_rag.chunking.video import sample_frames  # here, because a search needs no video decoder

    frame_times: dict[float, float] = {}  # by the time of the sample, the exact time by which the frame is read again

    def sampled() -> Iterator[tuple[float, Frame]]:
        seek = not first.metadata.get(TIME_RESTARTS)
        sample = partial(sample_frames, seek=seek)
        uri, fps = first.source.uri, recognizer.fps
        for time_s, exact_s, frame in stream_file(uri, sample, uri, start_s, end_s, fps, limits=limits):
            frame_times[time_s] = exact_s
            yield time_s, frame

    actions = recognizer.recognize(sampled(), end_s)
    return [_moment(first, action, recognizer.sentence(action), frame_times, limits) for action in actions]


def _moment(clip: Chunk, action: Action, sentence: str, frame_times: Mapping[float, float], limits: Limits) -> Chunk:
    """Return the chunk of an action, with the sampled frames that are nearest to `_FRAMES_AT`."""
    locator = Locator(start_s=action.start_s, end_s=action.end_s)
    wanted = [action.start_s + share * (action.end_s - action.start_s) for share in _FRAMES_AT]
    nearest = [min(frame_times, key=lambda time_s: abs(time_s - target)) for target in wanted]
    metadata = {
        **{name: value for name, value in clip.metadata.items() if name != CONTINUES},
        **action.attributes,
        ACTION: action.label,
        "confidence": action.confidence,
        "keyframes_s": sorted({frame_times[time_s] for time_s in nearest}),
    }
    frames = read_frames(clip.source.uri, "clip", locator, metadata, limits=limits)
    return replace(clip, locator=locator, text="", ocr="", caption=sentence, frames=frames, metadata=metadata)
