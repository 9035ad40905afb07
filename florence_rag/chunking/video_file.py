"""Opens videos, and decodes their frames upright and opaque, with times that rise."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from errno import EINVAL
from fractions import Fraction
from functools import partial
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from florence_rag.chunking.formats import HEAD_BYTES, format_error
from florence_rag.chunking.image_decoder import MAX_PIXELS, MIN_SIDE_PX
from florence_rag.chunking.joined_files import open_parts
from florence_rag.chunking.shots import DecodedFrame, thumbnail_size
from florence_rag.errors import MediaError
from florence_rag.telemetry import get_logger
from florence_rag.types import Frame

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,ogg,mpegts,mpeg,mpegvideo,mxf,dv,rm"
"""The containers that are read. Others, such as playlists, open further files and URLs."""
_BISECTED_FORMATS = ("mpegts", "mpeg")  # without an index, so that FFmpeg searches a time as if it rose everywhere
_BISECTION_MARGIN_S = 10.0
_STILL_CODECS = frozenset(("mjpeg", "png", "bmp", "gif", "tiff", "webp"))  # of covers, thumbnails and previews
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders ignore the transparency of WebM
_LENGTH = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
_MAX_STILL_S = 3600.0
_log = get_logger(__name__)


@contextmanager
def open_video(file: BinaryIO, path: str) -> Iterator[Video]:
    """Open a video from a seekable file; raise MediaError with its path if that fails."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    # FFmpeg could take a path for a URL, so it gets file objects and no protocols.
    options = {"format_whitelist": _FORMATS, "protocol_whitelist": ""}
    with ExitStack() as opened:
        containers: list[InputContainer] = []
        parts = open_parts(file)
        for part in parts:
            try:
                container = av.open(part, "r", options=options, metadata_errors="replace", buffer_size=1 << 18)
                containers.append(opened.enter_context(container))
            except (av.FFmpegError, ValueError, OSError) as error:
                if part is parts[0]:
                    raise format_error(repr(path), head, "a video") from error
        yield Video(containers, path, is_damaged=len(containers) < len(parts))


def _candidates(streams: Sequence[VideoStream], path: str) -> list[VideoStream]:
    """Return the streams that can be decoded and are no covers or thumbnails."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    candidates = [stream for stream in streams if not stream.disposition & stills]
    if not candidates:
        cover = ": it is sound with a cover image" if streams else ""
        raise MediaError(f"{path!r} has no video stream{cover}; give a video with images")
    decodable = [stream for stream in candidates if stream.codec_context is not None]
    if not decodable:
        raise MediaError(f"{path!r} has a codec that cannot be decoded; convert it to H.264")
    allowed = [stream for stream in decodable if _pixels(stream) <= MAX_PIXELS]
    if not allowed:
        size = f"{decodable[0].width:,} x {decodable[0].height:,} pixels"
        raise MediaError(f"{path!r} has frames of {size}; at most {MAX_PIXELS:,} in all are read")
    return allowed


def _stream_rank(stream: VideoStream, longest_s: float) -> tuple[bool, bool, int, bool]:
    """Rank the largest stream that moves first, and of equal ones the default: others are previews."""
    length_s = _length_s(stream)
    moves = stream.frames != 1 and not 0 < length_s < longest_s / 4  # 0 if the container does not tell
    is_default = bool(stream.disposition & Disposition.default)
    return moves, stream.codec_context.name not in _STILL_CODECS, _pixels(stream), is_default


def _length_s(stream: VideoStream) -> float:
    """Return how long a stream is, or 0 if the container does not tell."""
    tag = next((value for name, value in stream.metadata.items() if name.upper().startswith("DURATION")), "")
    if declared := _LENGTH.match(tag):  # Matroska's; FFmpeg takes the length of the file for that of the stream
        hours, minutes, seconds = map(float, declared.groups())
        return hours * 3600 + minutes * 60 + seconds
    return float((stream.duration or 0) * (stream.time_base or 0))


def _pixels(stream: VideoStream) -> int:
    return stream.width * stream.height


def _decoder(stream: VideoStream) -> VideoCodecContext:
    decoder = stream.codec_context
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and decoder.name in _ALPHA_DECODERS:
        transparent = CodecContext.create(_ALPHA_DECODERS[decoder.name], "r")
        transparent.extradata = decoder.extradata
        decoder = cast(VideoCodecContext, transparent)
    decoder.thread_type = "AUTO"
    decoder.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change on the way
    return decoder


class _Timeline:
    """Continues the time of packets where it starts again, as in videos that were joined as bytes.

    Attributes:
        restarts: Whether the time has started again.
    """

    def __init__(self) -> None:
        self.restarts = False

    def place(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Yield packets of a video and of other streams with times that rise."""
        latest_s, end_s, shift_s = -math.inf, 0.0, 0.0
        for packet in packets:
            if packet.pts is not None and packet.time_base:
                if isinstance(packet.stream, VideoStream):
                    time_s, length_s = (float(ticks * packet.time_base) for ticks in (packet.pts, packet.duration or 0))
                    # Other packets than key frames may be stored in another order than they are shown.
                    if packet.is_keyframe and time_s + shift_s < latest_s:
                        shift_s, self.restarts = end_s - time_s, True
                    latest_s = max(latest_s, time_s + shift_s)
                    end_s = max(end_s, time_s + shift_s + length_s)
                shift = round(shift_s / packet.time_base)
                packet.pts += shift
                packet.dts = None if packet.dts is None else packet.dts + shift
            yield packet


class Video:
    """An open video.

    Attributes:
        container: The container, or the first of several that were joined as bytes.
        frame_rate: The average frames per second, 25 if it is unknown.
        end_s: The end of the last frame that was decoded.
        gaps_s: Where the time jumps by more than an hour: the ends of the frames before.
        key_frames_only: Whether only key frames are decoded.
        is_damaged: Whether frames were skipped that cannot be decoded.
        has_twin: Whether another stream is as large as the main one, and is not read.
        may_restart: Whether several frames may have one time in the file, so that FFmpeg may find a wrong one.
    """

    def __init__(self, parts: Sequence[InputContainer], path: str, *, is_damaged: bool = False) -> None:
        container = self.container = parts[0]
        self._parts, self._path = parts, path
        stream, self.has_twin = self._choose_stream(container)
        self._stream, self._decoder = stream, _decoder(stream)
        self._start_s = max(0, container.start_time or 0) / av.time_base  # sound may begin slightly before 0
        self._timeline = _Timeline()
        self.frame_rate = float(stream.guessed_rate or stream.average_rate or 25)  # the average counts gaps
        self._thumbnailer = VideoReformatter()
        self._is_bisected = container.format.name in _BISECTED_FORMATS
        self.may_restart = len(parts) > 1 or self._is_bisected
        self.key_frames_only = self._awaits_key_frame = False
        self.is_damaged = is_damaged
        self.end_s = 0.0
        self.gaps_s: list[float] = []

    def _choose_stream(self, part: InputContainer) -> tuple[VideoStream, bool]:
        """Return the main stream, and whether another one is as large."""
        candidates = _candidates(part.streams.video, self._path)
        longest_s = max(map(_length_s, candidates))
        ranks = {stream.index: _stream_rank(stream, longest_s) for stream in candidates}
        first, *others = sorted(candidates, key=lambda stream: ranks[stream.index], reverse=True)
        return first, bool(others) and ranks[others[0].index][:3] == ranks[first.index][:3]

    def metadata(self) -> dict[str, Any]:
        """Return the duration and the time of the recording, if the file declares them; a streamed WebM does not."""
        found: dict[str, Any] = {}
        if self.container.duration:
            found["duration_s"] = round(self.container.duration / av.time_base, 3)
        tags = self.container.metadata
        with suppress(ValueError):
            taken_at = datetime.fromisoformat(
                tags.get("com.apple.quicktime.creationdate") or tags.get("creation_time", "")
            )
            if taken_at.year > 1970:  # an earlier year means that the clock was never set
                found["taken_at"] = taken_at.isoformat(timespec="seconds")
        return found

    @property
    def restarts(self) -> bool:
        """Whether the time started again in the packets that were read, because videos were joined as bytes."""
        return self._timeline.restarts

    def seek(self, time_s: float) -> None:
        """Go to the last key frame before a time, if the file supports it."""
        # Bisection finds any frame, of which the decoder needs the key frame before.
        early_s = time_s - (_BISECTION_MARGIN_S if self._is_bisected else 0.0)
        if early_s <= 0:
            return
        ticks = int((early_s + self._start_s) / (self._stream.time_base or 1))
        with suppress(av.FFmpegError, OSError):
            self.container.seek(ticks, stream=self._stream)
        self._awaits_key_frame = True

    def decode(self, max_side_px: int) -> Iterator[DecodedFrame]:
        """Yield all frames as thumbnails for the shot detector, convertible to frames of max_side_px."""
        size: tuple[int, int] | None = None
        decoded, unusable = False, 0
        for time_s, frame in self.frames():
            # The size of frames may change, but the detector compares thumbnails pixel by pixel.
            size = size or thumbnail_size(frame.width, frame.height)
            try:
                form = "bgra" if _may_be_transparent(frame) else "bgr24"
                small = self._thumbnailer.reformat(frame, *size, form, interpolation="FAST_BILINEAR")
            except av.error.MemoryError:
                raise
            except av.FFmpegError:  # damage can give a frame a pixel format that FFmpeg does not convert
                unusable += 1
                continue
            decoded = True
            yield DecodedFrame(time_s, _over_white(small.to_ndarray()), partial(self.to_frame, frame, max_side_px))
        if not decoded:
            raise self._no_frame()
        if unusable:
            self.is_damaged = True
            _log.warning("%r is damaged: %d frames were skipped", self._path, unusable)

    def frames(self) -> Iterator[tuple[float, VideoFrame]]:
        """Yield (seconds from the start, frame) in order; skip damaged packets, with one warning.

        The times are those of the frames: phones and screen recorders vary the frame rate, and headers misstate it.
        """
        last_s, damaged = -1.0, 0
        for packet in self.packets():
            # Packets are skipped here, because not every decoder has this option.
            if packet is not None and packet.size:
                if self.key_frames_only:
                    self._note_end(packet, self._time(packet, last_s))
                if not packet.is_keyframe and (self.key_frames_only or self._awaits_key_frame):
                    continue
                self._awaits_key_frame = False
            try:
                frames = self._decoder.decode(packet)
            except av.error.MemoryError:
                raise
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
            self.is_damaged = True
            _log.warning("%r is damaged: %d packets were skipped", self._path, damaged)

    def to_frame(self, frame: VideoFrame, max_side_px: int) -> Frame:
        """Return a frame as upright (H, W, 3) uint8 RGB with square pixels, its longer side at most max_side_px."""
        aspect = float(self._stream.sample_aspect_ratio or 1)
        width, height = max(1.0, frame.width * aspect), frame.height
        scale = min(1.0, max_side_px / max(width, height))
        size = max(MIN_SIDE_PX, round(width * scale)), max(MIN_SIDE_PX, round(height * scale))
        try:
            if _may_be_transparent(frame):  # before scaling, which would mix the colors of transparent pixels in
                opaque = _over_white(frame.reformat(format="rgba").to_ndarray())
                pixels = VideoFrame.from_ndarray(opaque, "rgb24").reformat(*size, interpolation="AREA").to_ndarray()
            else:
                pixels = frame.reformat(*size, "rgb24", interpolation="AREA").to_ndarray()
        except av.FFmpegError as error:
            raise self._no_frame() from error
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def _no_frame(self) -> MediaError:
        return MediaError(f"{self._path!r} has no frame that can be decoded; replace it with a good copy")

    def packets(self, *others: Stream) -> Iterator[Packet[Any] | None]:
        """Yield the packets of the video and of other streams; None, which ends decoding, where the file breaks off."""
        try:
            yield from self._timeline.place(self._demux(others))
        except av.error.MemoryError:
            raise
        except (av.FFmpegError, OSError) as error:
            if not isinstance(error, av.FFmpegError) and error.errno != EINVAL:  # a damaged position is no file error
                raise
            self.is_damaged = True
            yield None

    def _demux(self, others: Sequence[Stream]) -> Iterator[Packet[Any]]:
        for part in self._parts:
            if part is not self.container:
                self._stream, _ = self._choose_stream(part)
                self._decoder = _decoder(self._stream)
            types = {stream.index: stream.type for stream in part.streams}
            same = [part.streams[each.index] for each in others if types.get(each.index) == each.type]
            yield from part.demux(self._stream, *same)

    def to_seconds(self, ticks: int, time_base: Fraction) -> float:
        """Return the seconds from the start of the video."""
        return round(max(0.0, float(ticks * time_base) - self._start_s), 3)

    def _time(self, frame: VideoFrame | Packet[VideoStream], last_s: float) -> float:
        ticks = frame.dts if frame.pts is None else frame.pts  # AVI has no presentation times
        if ticks is None or not frame.time_base:
            return round(max(0.0, last_s + 1 / self.frame_rate), 3)
        return self.to_seconds(ticks, frame.time_base)

    def _note_end(self, decoded: VideoFrame | Packet[VideoStream], time_s: float) -> None:
        duration_s = float((decoded.duration or 0) * (decoded.time_base or 0))
        if not 0 < duration_s <= _MAX_STILL_S:
            duration_s = 1 / self.frame_rate
        if time_s > self.end_s + _MAX_STILL_S:
            self.gaps_s.append(self.end_s)
        self.end_s = max(self.end_s, round(time_s + duration_s, 3))


def _may_be_transparent(frame: VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def _over_white(pixels: np.ndarray) -> np.ndarray:
    """Return colors as they look on white; pixels without a fourth channel are opaque."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[:, :, 3:].astype(np.uint16)
    return ((pixels[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
