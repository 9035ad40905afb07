"""Reads videos: cuts them into clips with keyframes, one clip per shot, and samples frames at even times."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.formats import HEAD_BYTES, format_error
from florence_rag.chunking.images import MAX_PIXELS, MIN_SIDE_PX
from florence_rag.chunking.shots import Clip, ClipBuilder, DecodedFrame, mark_shots
from florence_rag.chunking.transcripts import read_transcript, transcript_between
from florence_rag.errors import MediaError
from florence_rag.sources.io import open_uri
from florence_rag.types import Chunk, Frame, Locator, Source

CONTINUES = "continues"
"""The metadata key of a clip that continues the shot of the previous clip."""
_THUMBNAIL_PX = 256
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # others, such as playlists, open further files and URLs
_log = logging.getLogger(__name__)


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """Yield one chunk per clip, with its keyframes and the subtitles of its time."""
    cues = read_transcript(source.uri)
    with open_uri(source.uri) as file, open_video(file, source.uri) as video:
        metadata = video.metadata()
        for clip in _clips(video, config):
            yield Chunk(
                source,
                "clip",
                Locator(start_s=clip.start_s, end_s=clip.end_s),
                text=transcript_between(cues, clip.start_s, clip.end_s),
                frames=tuple(frame for _, frame in clip.keyframes),
                metadata={
                    **metadata,
                    "keyframes_s": [time_s for time_s, _ in clip.keyframes],
                    **({CONTINUES: True} if clip.continues else {}),
                },
            )


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read the keyframes of a clip again, or the frame at its start if the metadata has no times of keyframes."""
    times_s = metadata.get("keyframes_s") or [locator.start_s or 0.0]
    with open_uri(uri) as file:
        return tuple(_read_at(file, uri, time_s, config.keyframe_side_px) for time_s in times_s)


def sample_frames(
    path: str, start_s: float, end_s: float, fps: float, max_side_px: int = 224
) -> Iterator[tuple[float, float, Frame]]:
    """Sample fps frames per second from start_s to end_s, at least one, with one frame in memory.

    The interval is cut into equal parts. Each part yields the time of its middle, the time of the frame that the video
    shows then, and this frame, (H, W, 3) uint8 RGB. A video that ends before the interval yields nothing. Errors are
    those of `chunk`.
    """
    count = max(1, round((end_s - start_s) * fps))
    part_s = (end_s - start_s) / count
    due_s = deque(round(start_s + (i + 0.5) * part_s, 3) for i in range(count))
    shown: tuple[float, VideoFrame] | None = None
    with open_uri(path) as file, open_video(file, path) as video:
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


def _clips(video: Video, config: ChunkingConfig) -> Iterator[Clip]:
    builder = ClipBuilder(config.clip_max_s, config.keyframes)
    sparse = video.key_frames_only = config.video_frames == "key"
    for frame, starts_shot in mark_shots(video.decode(config.keyframe_side_px), config.clip_min_s, sparse=sparse):
        if starts_shot:
            yield from builder.finish(frame.time_s)
        yield from builder.add(frame)
    yield from builder.finish(video.end_s)


def _read_at(file: BinaryIO, path: str, time_s: float, max_side_px: int) -> Frame:
    """Seek the time; read from the beginning if the index of the file is wrong or missing."""
    for seek in (True, False):
        with open_video(file, path) as video:
            if seek:
                video.seek(time_s)
            for found_s, frame in video.frames():
                if abs(found_s - time_s) < 0.002 or (found_s > time_s and not seek):
                    return video.to_frame(frame, max_side_px)
                if found_s > time_s:
                    break
    raise MediaError(f"{path!r} has no frame at {time_s:.3f} s; index it again if it has changed")


@contextmanager
def open_video(file: BinaryIO, path: str) -> Iterator[Video]:
    """Open a video from a seekable file; raise MediaError with its path if that fails."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    try:
        # FFmpeg could take a path for a URL, so it gets a file object and no protocols.
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": ""}
        container = av.open(file, "r", options=options, metadata_errors="replace", buffer_size=1 << 18)
    except (av.FFmpegError, ValueError, OSError) as error:
        raise format_error(repr(path), head, "a video") from error
    with container:
        yield Video(container, path)


class Video:
    """An open video.

    Attributes:
        end_s: The end of the last frame that was decoded.
        key_frames_only: Whether only key frames are decoded.
    """

    def __init__(self, container: InputContainer, path: str) -> None:
        # A cover image counts as a video stream of one frame.
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise MediaError(f"{path!r} has no video stream; give a video with images")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError(f"{path!r} has a codec that cannot be decoded; convert it to H.264")
        if stream.width * stream.height > MAX_PIXELS:
            size = f"{stream.width:,} x {stream.height:,} pixels"
            raise MediaError(f"{path!r} has frames of {size}; at most {MAX_PIXELS:,} in all are read")
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change on the way
        self._container, self._stream, self._path = container, stream, path
        self._start_s = max(0, container.start_time or 0) / av.time_base  # sound may begin slightly before 0
        self._frame_s = float(1 / (stream.average_rate or 25))
        self._thumbnailer = VideoReformatter()
        self.key_frames_only = False
        self.end_s = 0.0

    def metadata(self) -> dict[str, Any]:
        """Return the duration and the time of the recording, if the file declares them; a streamed WebM does not."""
        found: dict[str, Any] = {}
        if self._container.duration:
            found["duration_s"] = round(self._container.duration / av.time_base, 3)
        tags = self._container.metadata
        with suppress(ValueError):
            taken_at = datetime.fromisoformat(
                tags.get("com.apple.quicktime.creationdate") or tags.get("creation_time", "")
            )
            if taken_at.year > 1970:  # an earlier year means that the clock was never set
                found["taken_at"] = taken_at.isoformat(timespec="seconds")
        return found

    def seek(self, time_s: float) -> None:
        """Go to the last key frame before a time, if the file supports it."""
        with suppress(av.FFmpegError):
            self._container.seek(max(0, int((time_s + self._start_s) * av.time_base)))

    def decode(self, max_side_px: int) -> Iterator[DecodedFrame]:
        """Yield all frames as thumbnails for the shot detector, convertible to frames of max_side_px."""
        height, decoded, unusable = 0, False, 0
        for time_s, frame in self.frames():
            # The size of frames may change, but the detector compares thumbnails pixel by pixel.
            height = height or min(max(2, round(frame.height * _THUMBNAIL_PX / frame.width)), 2 * _THUMBNAIL_PX)
            try:
                small = self._thumbnailer.reformat(frame, _THUMBNAIL_PX, height, "bgr24", interpolation="FAST_BILINEAR")
            except av.FFmpegError:  # damage can give a frame a pixel format that FFmpeg does not convert
                unusable += 1
                continue
            decoded = True
            yield DecodedFrame(time_s, small.to_ndarray(), partial(self.to_frame, frame, max_side_px))
        if not decoded:
            raise self._no_frame()
        if unusable:
            _log.warning("%r is damaged: %d frames were skipped", self._path, unusable)

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (seconds from the start, frame) in order; skip damaged packets, with one warning.

        The times are those of the frames: phones and screen recorders vary the frame rate, and headers misstate it.
        """
        last_s, damaged = -1.0, 0
        for packet in self._packets():
            # Packets are skipped here, because not every decoder has this option.
            if packet is not None and packet.size and self.key_frames_only:
                self._note_end(packet, self._time(packet, last_s))
                if not packet.is_keyframe:
                    continue
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                time_s = self._time(frame, last_s)
                if time_s > last_s:
                    last_s = time_s
                    self._note_end(frame, time_s)
                    yield time_s, frame
        if last_s < 0:
            raise self._no_frame()
        if damaged:
            _log.warning("%r is damaged: %d packets were skipped", self._path, damaged)

    def to_frame(self, frame: VideoFrame, max_side_px: int) -> Frame:
        """Return a frame as upright (H, W, 3) uint8 RGB with square pixels, its longer side at most max_side_px."""
        aspect = float(self._stream.sample_aspect_ratio or 1)
        width, height = max(1.0, frame.width * aspect), frame.height
        scale = min(1.0, max_side_px / max(width, height))
        size = max(MIN_SIDE_PX, round(width * scale)), max(MIN_SIDE_PX, round(height * scale))
        try:
            pixels = frame.reformat(*size, "rgb24", interpolation="AREA").to_ndarray()
        except av.FFmpegError as error:
            raise self._no_frame() from error
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def _no_frame(self) -> MediaError:
        return MediaError(f"{self._path!r} has no frame that can be decoded; replace it with a good copy")

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        """Yield the packets of the video; None makes the decoder return its last frames if the container breaks off."""
        try:
            yield from self._container.demux(self._stream)
        except av.FFmpegError:
            yield None

    def _time(self, frame: VideoFrame | Packet[VideoStream], last_s: float) -> float:
        ticks = frame.dts if frame.pts is None else frame.pts  # AVI has no presentation times
        if ticks is None or not frame.time_base:
            return round(max(0.0, last_s + self._frame_s), 3)
        return round(max(0.0, float(ticks * frame.time_base) - self._start_s), 3)

    def _note_end(self, decoded: VideoFrame | Packet[VideoStream], time_s: float) -> None:
        duration_s = float((decoded.duration or 0) * (decoded.time_base or 0)) or self._frame_s
        self.end_s = max(self.end_s, round(time_s + duration_s, 3))
