import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.video import chunk_source, read_frames, sample_frames
from florence_rag.types import TIME_RESTARTS, Chunk, Locator, Skipped
from tests.chunking.samples import BLUE, GREEN, RED, WHITE, scene, shots, source, write_video

COLORS = (RED, BLUE, GREEN)


def chunks_of(path: Path, config: ChunkingConfig | None = None) -> list[Chunk]:
    found = chunk_source(source(path, "video"), config or ChunkingConfig())
    return [each for each in found if isinstance(each, Chunk)]


def spans(chunks: list[Chunk]) -> list[tuple[float, float]]:
    return [(chunk.locator.start_s, chunk.locator.end_s) for chunk in chunks]


def plain(color: Sequence[int], size: tuple[int, int] = (160, 120)) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


def shows(chunk: Chunk, color: Sequence[int]) -> bool:
    return bool(np.abs(chunk.frames[0][5, 5].astype(int) - color).max() < 20)


def reads_the_same_again(chunk: Chunk, config: ChunkingConfig | None = None) -> bool:
    again = read_frames(chunk.source.uri, chunk.locator, chunk.metadata, config or ChunkingConfig())
    return all(np.array_equal(new, old) for new, old in zip(again, chunk.frames, strict=True))


# Streams


def write_streams(path: Path, streams: Sequence[dict]) -> Path:
    """Write streams of ten frames per second, each of a codec, size, color, number of frames and disposition."""
    with av.open(str(path), "w") as out:
        opened = []
        for each in streams:
            stream = out.add_stream(each.get("codec", "libx264"), rate=10)
            stream.width, stream.height = each.get("size", (320, 240))
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(each.get("codec"), "yuv420p")
            stream.disposition = each.get("disposition", 0)
            opened.append(stream)
        for number in range(30):
            for stream, each in zip(opened, streams, strict=True):
                if number < each.get("frames", 30):
                    pixels = plain(each["color"], (stream.width, stream.height))
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    frame.pts = number
                    out.mux(stream.encode(frame))
        for stream in opened:
            out.mux(stream.encode(None))
    return path


FILM = {"color": GREEN}
OTHERS = {
    "thumbnail": {"codec": "mjpeg", "size": (160, 120), "color": RED, "frames": 1},
    "preview": {"codec": "mjpeg", "size": (160, 120), "color": RED},
    "small proxy": {"size": (160, 120), "color": RED},
    "cover": {"codec": "png", "size": (800, 800), "color": RED, "frames": 1},
    "large image": {"size": (640, 480), "color": RED, "frames": 1},
    "marked cover": {"codec": "mjpeg", "size": (800, 800), "color": RED, "disposition": Disposition.attached_pic},
    "large preview": {"codec": "mjpeg", "size": (640, 480), "color": RED},
    "other angle": {"color": RED, "disposition": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("is_first", [True, False])
def test_the_film_is_the_largest_or_default_stream_that_moves(tmp_path, suffix, name, is_first):
    if name == "other angle" and suffix != ".mkv":
        pytest.skip("the other containers mark the first stream as the default")
    film = FILM | {"disposition": Disposition.default} if name == "other angle" else FILM
    streams = [OTHERS[name], film] if is_first else [film, OTHERS[name]]
    try:
        path = write_streams(tmp_path / f"a{suffix}", streams)
    except (av.FFmpegError, ValueError):
        pytest.skip("the container does not hold such a stream")
    (chunk,) = chunks_of(path)
    assert shows(chunk, GREEN)
    assert chunk.locator.end_s == pytest.approx(3.0, abs=0.15)
    assert reads_the_same_again(chunk)


# Time


def joined(path: Path, codec: str, rate: int, parts: int = 3) -> Path:
    part = path.with_name(f"part{path.suffix}")
    frames = [[plain(COLORS[number % 3])] * 3 * rate for number in range(parts)]
    path.write_bytes(b"".join(write_video(part, each, codec=codec, rate=rate).read_bytes() for each in frames))
    part.unlink()
    return path


JOINED = [
    (".webm", "libvpx", 10),
    (".mkv", "libx264", 10),
    (".mp4", "libx264", 10),
    (".mov", "mpeg4", 10),
    (".flv", "libx264", 10),
    (".wmv", "wmv2", 10),
    (".avi", "mpeg4", 10),
    (".ts", "libx264", 10),
    (".m2ts", "libx264", 10),
    (".mpg", "mpeg2video", 25),
    (".vob", "mpeg2video", 25),
]


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "codec", "rate"), JOINED)
@pytest.mark.parametrize("frames", ["all", "key"])
def test_videos_that_were_joined_as_bytes_are_seen_whole(tmp_path, suffix, codec, rate, frames):
    chunks = chunks_of(joined(tmp_path / f"a{suffix}", codec, rate), ChunkingConfig(video_frames=frames))
    tolerance_s = 0.3 if suffix == ".wmv" else 0.001  # the length of its last frame is unknown
    assert list(chain(*spans(chunks))) == pytest.approx([0, 3, 3, 6, 6, 9], abs=tolerance_s)
    assert all(shows(chunk, color) and reads_the_same_again(chunk) for chunk, color in zip(chunks, COLORS, strict=True))
    if suffix != ".avi":  # its header counts frames and knows no times
        assert all(chunk.metadata[TIME_RESTARTS] and "duration_s" not in chunk.metadata for chunk in chunks)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_joined_videos_may_have_other_sizes_and_codecs_and_a_damaged_end(tmp_path, suffix):
    path, part = tmp_path / f"a{suffix}", tmp_path / f"part{suffix}"
    data = b""
    for color, size, codec in (
        (RED, (160, 120), "libx264"),
        (BLUE, (320, 240), "libx264"),
        (GREEN, (160, 120), "mpeg4"),
    ):
        data += write_video(part, [plain(color, size)] * 30, codec=codec).read_bytes()
    path.write_bytes(data + part.read_bytes()[:60])
    chunks = chunks_of(path)
    assert spans(chunks) == [(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)]
    assert [chunk.frames[0].shape for chunk in chunks] == [(120, 160, 3), (240, 320, 3), (120, 160, 3)]
    assert all(shows(chunk, color) and reads_the_same_again(chunk) for chunk, color in zip(chunks, COLORS, strict=True))


class Pipe(io.RawIOBase):
    """A file that cannot seek, so that a part has no size, as browsers record."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> int:
        self.data += bytes(data)
        return len(data)

    def writable(self) -> bool:
        return True


@pytest.mark.slow
def test_streamed_recordings_that_were_joined_are_seen_whole(tmp_path):
    path = tmp_path / "a.webm"
    for color in COLORS:
        pipe = Pipe()
        with av.open(pipe, "w", format="webm", container_options={"live": "1"}) as out:
            stream = out.add_stream("libvpx", rate=10)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for number in range(30):
                frame = av.VideoFrame.from_ndarray(plain(color), format="rgb24")
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        with path.open("ab") as file:
            file.write(pipe.data)
    chunks = chunks_of(path)
    assert spans(chunks) == [(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)]
    assert all(shows(chunk, color) and reads_the_same_again(chunk) for chunk, color in zip(chunks, COLORS, strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_gap_of_hours_makes_no_clip_of_hours_and_moves_none(tmp_path, suffix):
    times_s = [i / 10 for i in range(20)] + [40_000 + i / 10 for i in range(20)]
    chunks = chunks_of(write_video(tmp_path / f"a{suffix}", shots(2, 2), times_s=times_s))
    assert spans(chunks) == [(0.0, 2.0), (40_000.0, 40_002.0)]
    assert all(map(reads_the_same_again, chunks))


def test_a_gap_within_a_shot_ends_its_clip(tmp_path):
    times_s = [i / 10 for i in range(20)] + [40_000 + i / 10 for i in range(20)]
    chunks = chunks_of(write_video(tmp_path / "a.mkv", [scene(0)] * 40, times_s=times_s))
    assert spans(chunks) == [(0.0, 2.0), (40_000.0, 40_002.0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_recording_that_begins_late_is_read_from_zero(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", shots(2, 2), times_s=[5000 + i / 10 for i in range(40)])
    chunks = chunks_of(path)
    assert spans(chunks) == [(0.0, 2.0), (2.0, 4.0)]
    assert all(map(reads_the_same_again, chunks))


def test_what_is_not_read_of_a_video_is_reported(tmp_path):
    def reasons(path: Path) -> list[str]:
        found = chunk_source(source(path, "video"), ChunkingConfig())
        return [each.reason for each in found if isinstance(each, Skipped)]

    streams = [FILM, OTHERS["other angle"], OTHERS["preview"], OTHERS["thumbnail"]]
    assert reasons(write_streams(tmp_path / "a.mkv", streams)) == ["other video stream of a video"]
    path = write_video(tmp_path / "b.mp4", shots(3, 3, 3), codec="mpeg4")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 600] = b"\xff" * 600
    path.write_bytes(data)
    assert reasons(path) == ["damaged part of a video"]


# Transparency


def write_transparent(path: Path, codec: str, pix_fmt: str) -> Path:
    """Write a red square on transparent black."""
    pixels = np.zeros((120, 160, 4), np.uint8)
    pixels[30:60, 30:60] = (*RED, 255)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=10, options={"auto-alt-ref": "0"} if codec == "libvpx" else {})
        stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
        if path.suffix == ".webm":
            stream.metadata["alpha_mode"] = "1"
        for number in range(15):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format=pix_fmt)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [
        (".mov", "qtrle", "argb"),
        (".mov", "png", "rgba"),
        (".mov", "prores_ks", "yuva444p10le"),
        (".mkv", "ffv1", "yuva420p"),
        (".webm", "libvpx-vp9", "yuva420p"),
        (".webm", "libvpx", "yuva420p"),
    ],
)
def test_transparency_is_white_as_in_images(tmp_path, suffix, codec, pix_fmt):
    config = ChunkingConfig(keyframe_side_px=80)
    (chunk,) = chunks_of(write_transparent(tmp_path / f"a{suffix}", codec, pix_fmt), config)
    assert chunk.frames[0].shape == (60, 80, 3)
    assert chunk.locator.end_s == 1.5
    assert shows(chunk, WHITE)
    assert np.abs(chunk.frames[0][22, 22].astype(int) - RED).max() < 20
    assert reads_the_same_again(chunk, config)


def test_a_cut_that_only_transparency_shows_is_found(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "argb"
        for number in range(40):
            pixels = np.zeros((120, 160, 4), np.uint8)
            pixels[..., 3] = 255 * (number >= 20)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="argb")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert spans(chunks_of(path)) == [(0.0, 2.0), (2.0, 4.0)]


# Containers

CONTAINERS = [
    (".ts", "libx264", None, 10),
    (".mts", "libx264", "mpegts", 10),
    (".m2ts", "libx264", None, 10),
    (".mpg", "mpeg2video", "vob", 25),
    (".mpeg", "mpeg1video", "mpeg", 25),
    (".vob", "mpeg2video", "vob", 25),
    (".m2v", "mpeg2video", "mpeg2video", 25),
    (".flv", "flv", None, 10),
    (".f4v", "libx264", None, 10),
    (".wmv", "wmv2", "asf", 10),
    (".asf", "mpeg4", "asf", 10),
    (".3gp", "mpeg4", None, 10),
    (".3g2", "mpeg4", None, 10),
    (".divx", "mpeg4", "avi", 10),
    (".ogv", "libvpx", "ogg", 10),
    (".mxf", "mpeg2video", "mxf", 25),
    (".rm", "rv20", "rm", 10),
]


@pytest.mark.parametrize(("suffix", "codec", "form", "rate"), CONTAINERS)
def test_containers_are_read(tmp_path, suffix, codec, form, rate):
    path = tmp_path / f"film{suffix}"
    size = (176, 144) if codec == "rv20" else (160, 120)
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(2 * rate):
            frame = av.VideoFrame.from_ndarray(plain(COLORS[number // rate], size), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    first, second = chunks_of(path)
    assert np.allclose(spans([first, second]), [(0, 1), (1, 2)], atol=0.05)
    assert shows(first, RED) and shows(second, BLUE)
    assert reads_the_same_again(first) and reads_the_same_again(second)


@pytest.mark.parametrize(("suffix", "codec", "rate"), [(".ts", "libx264", 10), (".mpg", "mpeg2video", 25)])
@pytest.mark.parametrize("start_s", [1.0, 17.0, 29.0])
def test_frames_are_sampled_where_ffmpeg_searches_by_bisection(tmp_path, suffix, codec, rate, start_s):
    frames = [plain([8 * (number // rate)] * 3) for number in range(31 * rate)]
    path = write_video(tmp_path / f"a{suffix}", frames, codec=codec, rate=rate, every=2 * rate)
    sampled = list(sample_frames(str(path), start_s, start_s + 2, 1))
    assert [round(frame.mean() / 8) for *_, frame in sampled] == [start_s, start_s + 1]


def test_a_frame_is_read_at_its_start_without_keyframes(tmp_path):
    path = write_video(tmp_path / "a.ts", shots(1, 1))
    (frame,) = read_frames(str(path), Locator(start_s=1.0), {}, ChunkingConfig())
    assert np.abs(frame.astype(int) - scene(1)).mean() < 16
