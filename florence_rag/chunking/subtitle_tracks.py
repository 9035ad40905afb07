"""Reads the subtitle tracks of videos that hold text: SubRip, WebVTT, SubStation Alpha, 3GPP timed text, captions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import av
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import AssSubtitle

from florence_rag.chunking.subtitle_formats import UNKNOWN_LENGTH_S, Cue, Shown, unroll
from florence_rag.chunking.video_file import Video
from florence_rag.sources import parse_language

_MAX_BYTES = 16_000_000
_UNKNOWN_MS = 0xFFFFFFFF


def read_tracks(video: Video, skip: Callable[[str], None]) -> list[tuple[Cue, ...]]:
    """Return the cues of each text track of a video.

    The whole file is read if it has such a track, and if `Video.restarts` tells nothing otherwise.

    Args:
        video: The video, which must be opened again for its frames.
        skip: Receives the reason why a track is not read.
    """
    tracks = {stream.index: stream for stream in video.container.streams.subtitles if _holds_text(stream, skip)}
    shown: dict[int, list[Shown]] = defaultdict(list)
    size = 0
    for packet in video.packets(*tracks.values()) if tracks or video.may_restart else ():
        if packet is not None and packet.stream.index in tracks and size + packet.size <= _MAX_BYTES:
            size += packet.size
            try:
                shown[packet.stream.index] += _shown(tracks[packet.stream.index], packet, video)
            except av.FFmpegError:
                skip("damaged subtitle")
    languages = {index: parse_language(stream.language or "") for index, stream in tracks.items()}
    return [tuple(replace(cue, language=languages[index]) for cue in unroll(each)) for index, each in shown.items()]


def _holds_text(stream: SubtitleStream, skip: Callable[[str], None]) -> bool:
    if stream.codec_context is None:
        skip("subtitles of an unknown codec")
        return False
    if not stream.codec_context.codec.text_sub:
        skip("bitmap subtitles")
    return stream.codec_context.codec.text_sub


def _shown(stream: SubtitleStream, packet: Packet[SubtitleStream], video: Video) -> list[Shown]:
    subtitles = stream.decode2(packet) if packet.size else None
    if subtitles is None or packet.pts is None or packet.time_base is None:
        return []
    start_s = video.to_seconds(packet.pts, packet.time_base)
    end_ms = subtitles.end_display_time if subtitles.end_display_time != _UNKNOWN_MS else 0
    length_s = float((packet.duration or 0) * packet.time_base) or end_ms / 1000 or UNKNOWN_LENGTH_S
    texts = (each.dialogue or each.text for each in subtitles if isinstance(each, AssSubtitle))
    return [(start_s, start_s + length_s, text.decode("utf-8", "replace")) for text in texts]
