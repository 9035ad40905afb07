import io
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.video import chunk_source
from florence_rag.types import Chunk, Skipped
from tests.chunking.samples import shots, source, write_video

SRT = """1
00:00:00,500 --> 00:00:02,000
<i>The ferry</i> leaves &amp; stops.

2
00:00:02,500 --> 00:00:05,000
Bring the yellow kayak.
Now, please.
"""
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name
Style: Default

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def with_tracks(path: Path, tracks: Sequence[tuple[str, str, str]]) -> Path:
    """Write a video of six seconds with tracks of (codec, language, SubRip)."""
    codec = "libvpx" if path.suffix == ".webm" else "libx264"
    plain = write_video(path.with_name("plain.webm" if codec == "libvpx" else "plain.mp4"), shots(3, 3), codec=codec)
    with av.open(str(plain)) as video, av.open(str(path), "w") as out:
        film = out.add_stream_from_template(video.streams.video[0])
        packets = []
        for codec, language, srt in tracks:
            with av.open(io.BytesIO(srt.encode()), format="srt") as subtitles:
                read = subtitles.streams.subtitles[0]
                if codec == "subrip":
                    stream = out.add_stream_from_template(read)
                else:
                    stream = out.add_stream(codec)
                    stream.codec_context.subtitle_header = ASS_HEADER
                    stream.codec_context.time_base = read.time_base
                stream.metadata["language"] = language
                for packet in subtitles.demux(read):
                    if packet.size:
                        packets.append((stream, packet if codec == "subrip" else encoded(stream, read, packet)))
        for packet in video.demux(video.streams.video[0]):
            if packet.size:
                packets.append((film, packet))
        for stream, packet in sorted(packets, key=lambda each: each[1].dts * each[1].time_base):
            packet.stream = stream
            out.mux(packet)
    plain.unlink()
    return path


def encoded(stream, read, packet):
    new = stream.codec_context.encode_subtitle(read.decode2(packet))
    new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.pts, packet.duration, packet.time_base
    return new


def read(path: Path) -> tuple[list[Chunk], list[Skipped]]:
    found = list(chunk_source(source(path, "video"), ChunkingConfig()))
    return [each for each in found if isinstance(each, Chunk)], [each for each in found if isinstance(each, Skipped)]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".mkv", "subrip"), (".mkv", "ass"), (".mp4", "mov_text"), (".mov", "mov_text"), (".webm", "webvtt")],
)
def test_a_text_track_becomes_the_text_of_the_clips(tmp_path, suffix, codec):
    chunks, skipped = read(with_tracks(tmp_path / f"a{suffix}", [(codec, "eng", SRT)]))
    assert [chunk.text for chunk in chunks] == [
        "The ferry leaves & stops.\nBring the yellow kayak. Now, please.",
        "Bring the yellow kayak. Now, please.",
    ]
    assert [chunk.metadata["subtitle_languages"] for chunk in chunks] == [["en"], ["en"]]
    assert skipped == []


def test_tracks_and_files_of_several_languages_repeat_no_line(tmp_path):
    french = SRT.replace("<i>The ferry</i> leaves &amp; stops.", "Le ferry part.")
    path = with_tracks(tmp_path / "a.mkv", [("subrip", "eng", SRT), ("ass", "fre", french), ("subrip", "und", SRT)])
    path.with_suffix(".srt").write_text(SRT)
    chunk, _ = read(path)[0]
    assert chunk.metadata["subtitle_languages"] == ["en", "fr"]
    assert sorted(chunk.text.splitlines()) == [
        "Bring the yellow kayak. Now, please.",
        "Le ferry part.",
        "The ferry leaves & stops.",
    ]


def test_a_bitmap_track_is_skipped(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        film = out.add_stream("libx264", rate=10)
        out.add_stream("dvdsub").codec_context.subtitle_header = ASS_HEADER
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        for number, pixels in enumerate(shots(1)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
    chunks, skipped = read(path)
    assert len(chunks) == 1 and "subtitle_languages" not in chunks[0].metadata
    assert skipped == [Skipped(str(path), "bitmap subtitles")]


def test_tracks_of_joined_videos_follow_each_other(tmp_path):
    path = with_tracks(tmp_path / "a.mkv", [("subrip", "eng", SRT)])
    path.write_bytes(path.read_bytes() * 2)
    chunks, _ = read(path)
    assert [(chunk.locator.start_s, chunk.text.splitlines()[0]) for chunk in chunks] == [
        (0.0, "The ferry leaves & stops."),
        (3.0, "Bring the yellow kayak. Now, please."),
        (6.0, "The ferry leaves & stops."),
        (9.0, "Bring the yellow kayak. Now, please."),
    ]
