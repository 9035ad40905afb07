"""Reads videos: cuts them into clips with keyframes, one clip per shot, and samples frames at even times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from av.video.frame import VideoFrame

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.shots import Clip, ClipBuilder, mark_shots
from florence_rag.chunking.subtitle_tracks import read_tracks
from florence_rag.chunking.transcripts import Cue, merge_tracks, read_transcript, transcript_between
from florence_rag.chunking.video_file import Video, open_video
from florence_rag.errors import MediaError
from florence_rag.sources.io import open_uri
from florence_rag.sources.io.uris import AMBIGUOUS_SUFFIXES, HEAD_BYTES, is_transport_stream, skip_reason, suffix_of
from florence_rag.types import CONTINUES, TIME_RESTARTS, Chunk, Frame, Locator, Skipped, Source


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield what is skipped, and one chunk per clip, with its keyframes and the subtitles of its time."""
    with open_uri(source.uri) as file:
        if suffix_of(source.uri) in AMBIGUOUS_SUFFIXES and not is_transport_stream(file.read(HEAD_BYTES)):
            yield Skipped(source.uri, skip_reason(source.uri))
            return
        skipped: list[str] = []
        with open_video(file, source.uri) as video:
            cues, metadata = _read_subtitles(video, source.uri, skipped.append)
        yield from (Skipped(source.uri, reason) for reason in skipped)
        with open_video(file, source.uri) as video:
            for clip in _clips(video, config):
                text = transcript_between(cues, clip.start_s, clip.end_s)
                yield _clip_to_chunk(clip, source, text, dict(metadata))
            if video.is_damaged:
                yield Skipped(source.uri, "damaged part of a video")


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read the keyframes of a clip again, or the frame at its start if the metadata has no times of keyframes."""
    times_s = metadata.get("keyframes_s") or [locator.start_s or 0.0]
    seek = not metadata.get(TIME_RESTARTS)
    with open_uri(uri) as file:
        return tuple(_read_at(file, uri, time_s, config.keyframe_side_px, seek) for time_s in times_s)


def sample_frames(
    path: str, start_s: float, end_s: float, fps: float, max_side_px: int = 224, *, seek: bool = True
) -> Iterator[tuple[float, float, Frame]]:
    """Sample fps frames per second from start_s to end_s, at least one, with one frame in memory.

    The interval is cut into equal parts. Each part yields the time of its middle, the time of the frame that the video
    shows then, and this frame, (H, W, 3) uint8 RGB. A video that ends before the interval yields nothing. Errors are
    those of `chunk`. A video with TIME_RESTARTS in its metadata is read from its beginning, without `seek`.
    """
    count = max(1, round((end_s - start_s) * fps))
    part_s = (end_s - start_s) / count
    due_s = deque(round(start_s + (i + 0.5) * part_s, 3) for i in range(count))
    shown: tuple[float, VideoFrame] | None = None
    with open_uri(path) as file, open_video(file, path) as video:
        if seek:
            video.seek(start_s)
        for time_s, frame in video.frames():
            while due_s and shown is not None and time_s > due_s[0]:
                yield due_s.popleft(), shown[0], video.to_frame(shown[1], max_side_px)
            if not due_s:
                return
            shown = time_s, frame
        while due_s and shown is not None:
            yield due_s.popleft(), shown[0], video.to_frame(shown[1], max_side_px)


def video_duration_s(path: str) -> float:
    """Return the duration of a video in seconds; decode a video that does not declare it, such as a streamed WebM."""
    with open_uri(path) as file, open_video(file, path) as video:
        if duration_s := video.metadata().get("duration_s"):
            return float(duration_s)
        for _ in video.frames():
            pass
        return video.end_s


def _read_subtitles(video: Video, uri: str, skip: Callable[[str], None]) -> tuple[tuple[Cue, ...], dict[str, Any]]:
    """Return the cues of the subtitle files and tracks, and the metadata of all clips."""
    tracks = [read_transcript(uri, video.frame_rate, skip), *read_tracks(video, skip)]
    cues = merge_tracks(tracks)
    if video.container.streams.audio and not cues:
        skip("sound not read")
    if video.has_twin:
        skip("other video stream of a video")
    metadata = video.metadata()
    if languages := sorted({cue.language for track in tracks for cue in track} - {""}):
        metadata["subtitle_languages"] = languages
    if video.restarts:
        metadata.pop("duration_s", None)  # the duration of one of the videos that were joined
        metadata[TIME_RESTARTS] = True
    return cues, metadata


def _clip_to_chunk(clip: Clip, source: Source, text: str, metadata: dict[str, Any]) -> Chunk:
    metadata["keyframes_s"] = [time_s for time_s, _ in clip.keyframes]
    if clip.continues:
        metadata[CONTINUES] = True
    frames = tuple(frame for _, frame in clip.keyframes)
    return Chunk(
        source, "clip", Locator(start_s=clip.start_s, end_s=clip.end_s), text, frames=frames, metadata=metadata
    )


def _clips(video: Video, config: ChunkingConfig) -> Iterator[Clip]:
    """Cut at each new shot, and at gaps, before which a clip ends with its last frame."""
    builder = ClipBuilder(config.clip_max_s, config.keyframes)
    sparse = video.key_frames_only = config.video_frames == "key"
    last_s = 0.0
    for frame, starts_shot in mark_shots(video.decode(config.keyframe_side_px), config.clip_min_s, sparse=sparse):
        gap_s = next((gap_s for gap_s in video.gaps_s if last_s < gap_s <= frame.time_s), None)
        if gap_s is not None or starts_shot:
            yield from builder.finish(frame.time_s if gap_s is None else gap_s)
        yield from builder.add(frame)
        last_s = frame.time_s
    yield from builder.finish(video.end_s)


def _read_at(file: BinaryIO, path: str, time_s: float, max_side_px: int, seek_first: bool) -> Frame:
    """Seek the time; read from the beginning if the index of the file is wrong or missing."""
    if seek_first:
        with open_video(file, path) as video, suppress(MediaError):
            video.seek(time_s)
            for found_s, frame in video.frames():
                if abs(found_s - time_s) < 0.002:
                    return video.to_frame(frame, max_side_px)
                if found_s > time_s:
                    break
    with open_video(file, path) as video:
        for found_s, frame in video.frames():
            if found_s > time_s - 0.002:
                return video.to_frame(frame, max_side_px)
    raise MediaError(f"{path!r} has no frame at {time_s:.3f} s; index it again if it has changed")
