import itertools
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.video import chunk_source, read_frames, sample_frames
from florence_rag.chunking.video_file import Video
from florence_rag.errors import FlorenceError, MediaError
from florence_rag.types import Chunk, Frame, Locator, Skipped
from tests.chunking.samples import BLUE, RED, SHARED, encode, scene, shots, source, write_sound, write_video

CONTAINERS = [
    (".mp4", "libx264"),
    (".mov", "libx264"),
    (".mkv", "libx264"),
    (".webm", "libvpx-vp9"),
    (".avi", "mpeg4"),
]


def read(path: Path, config: ChunkingConfig | None = None) -> tuple[list[Chunk], list[Skipped]]:
    found = list(chunk_source(source(path, "video"), config or ChunkingConfig()))
    skipped = [each for each in found if isinstance(each, Skipped)]
    return [each for each in found if isinstance(each, Chunk)], skipped


def chunks_of(path: Path, config: ChunkingConfig | None = None) -> list[Chunk]:
    return read(path, config)[0]


def keyframes(path: str, times_s: list[float]) -> tuple[Frame, ...]:
    return read_frames(path, Locator(), {"keyframes_s": times_s}, ChunkingConfig(keyframe_side_px=640))


def spans(chunks: list[Chunk]) -> list[tuple[float, float]]:
    return [(chunk.locator.start_s, chunk.locator.end_s) for chunk in chunks]


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_every_container_gives_a_clip_per_shot_whose_frames_can_be_read_again(tmp_path, suffix, codec):
    chunks = chunks_of(write_video(tmp_path / f"a{suffix}", shots(2, 3.5, 1.5), codec=codec))
    assert spans(chunks) == [(0.0, 2.0), (2.0, 5.5), (5.5, 7.0)]
    for number, chunk in enumerate(chunks):
        assert chunk.kind == "clip" and chunk.text == ""
        times_s = chunk.metadata["keyframes_s"]
        assert len(times_s) == len(chunk.frames) == (2 if number == 1 else 1)
        assert all(chunk.locator.start_s <= time_s < chunk.locator.end_s for time_s in times_s)
        assert np.abs(chunk.frames[0].astype(int) - scene(number)).mean() < 16
        for again, frame in zip(keyframes(chunk.source.uri, times_s), chunk.frames, strict=True):
            assert np.array_equal(again, frame)


def test_sound_that_is_not_read_is_reported(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(2, 2), sound=True)
    chunks, skipped = read(path)
    assert spans(chunks) == [(0.0, 2.0), (2.0, 4.0)]
    assert skipped == [Skipped(str(path), "sound not read")]
    path.with_suffix(".srt").write_text("1\n00:00:00,500 --> 00:00:01,500\nThe first words.\n")
    assert read(path)[1] == []
    assert read(write_video(tmp_path / "silent.mp4", shots(1)))[1] == []


@pytest.mark.parametrize(("suffix", "codec"), CONTAINERS)
def test_key_frames_alone_give_the_shots_that_begin_with_one(tmp_path, suffix, codec):
    path = write_video(tmp_path / f"a{suffix}", shots(2, 3.5, 1.5), codec=codec, every=5)
    chunks = chunks_of(path, ChunkingConfig(video_frames="key"))
    assert spans(chunks) == [(0.0, 2.0), (2.0, 5.5), (5.5, 7.0)]
    for number, chunk in enumerate(chunks):
        assert np.abs(chunk.frames[0].astype(int) - scene(number)).mean() < 16
        times_s = chunk.metadata["keyframes_s"]
        assert all(round(time_s * 10) % 5 == 0 for time_s in times_s)
        for again, frame in zip(keyframes(chunk.source.uri, times_s), chunk.frames, strict=True):
            assert np.array_equal(again, frame)


def test_only_key_frames_are_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", shots(6), every=20)
    decoded = []
    monkeypatch.setattr(
        Video, "frames", lambda self, frames=Video.frames: (decoded.append(f[0]) or f for f in frames(self))
    )
    (chunk,) = chunks_of(path, ChunkingConfig(video_frames="key"))
    assert decoded == [0.0, 2.0, 4.0]
    assert (chunk.locator.start_s, chunk.locator.end_s) == (0.0, 6.0)


def test_clips_are_yielded_one_by_one(tmp_path):
    chunks = chunk_source(source(write_video(tmp_path / "a.mp4", shots(2, 2, 2)), "video"), ChunkingConfig())
    assert next(chunks).locator.end_s == 2.0
    chunks.close()


def test_frames_are_scaled_down_with_square_pixels(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(1, size=(160, 120)))
    (chunk,) = chunks_of(path, ChunkingConfig(keyframe_side_px=80))
    assert chunk.frames[0].shape == (60, 80, 3)
    assert chunk.frames[0].flags.c_contiguous and chunk.frames[0].flags.writeable


@pytest.mark.parametrize(
    ("rotation", "shape", "red_at"),
    [(-90, (160, 120, 3), (80, -5)), (90, (160, 120, 3), (80, 5)), (180, (120, 160, 3), (-5, 80))],
)
def test_rotated_videos_are_upright(tmp_path, rotation, shape, red_at):
    halves = np.empty((120, 160, 3), np.uint8)
    halves[:60], halves[60:] = RED, BLUE
    (chunk,) = chunks_of(write_video(tmp_path / "a.mp4", [halves] * 10, rotation=rotation))
    (frame,) = chunk.frames
    assert frame.shape == shape
    assert np.abs(frame[red_at].astype(int) - RED).max() < 20
    assert np.abs(frame[-red_at[0], -red_at[1]].astype(int) - BLUE).max() < 20


def test_times_are_those_of_the_frames_at_a_varying_rate(tmp_path):
    fast = [number * 0.04 for number in range(50)]
    slow = [2 + number * 0.5 for number in range(8)]
    frames = [scene(0)] * 50 + [scene(1)] * 8
    chunks = chunks_of(write_video(tmp_path / "a.mp4", frames, times_s=fast + slow))
    assert spans(chunks) == [(0.0, 2.0), (2.0, 6.0)]
    assert set(chunks[1].metadata["keyframes_s"]) <= set(slow)


def test_a_still_image_of_a_minute_is_one_clip(tmp_path):
    path = write_video(tmp_path / "a.mp4", [scene(0), scene(0), scene(0)], times_s=[0, 60, 60.5])
    assert spans(chunks_of(path))[0] == (0.0, 60.0)


def test_long_shots_are_cut(tmp_path):
    found = spans(chunks_of(write_video(tmp_path / "a.mp4", shots(5)), ChunkingConfig(clip_max_s=2)))
    assert len(found) == 3 and found[0][0] == 0.0 and found[-1][1] == 5.0
    assert all(end - start <= 2.5 for start, end in found)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(found))


def test_the_frame_size_may_change_within_a_video(tmp_path, monkeypatch):
    images = [scene(0, 160, 120)] * 15 + [scene(1, 90, 240)] * 15

    def frames(self):
        for number, pixels in enumerate(images):
            self.end_s = (number + 1) / 10
            yield number / 10, av.VideoFrame.from_ndarray(pixels, format="rgb24")

    monkeypatch.setattr(Video, "frames", frames)
    first, second = chunks_of(write_video(tmp_path / "a.mp4", shots(0.3)))
    assert spans([first, second]) == [(0.0, 1.5), (1.5, 3.0)]
    assert (first.frames[0].shape, second.frames[0].shape) == ((120, 160, 3), (240, 90, 3))


def test_subtitles_next_to_the_file_become_the_text_of_their_clips(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(2, 2))
    path.with_suffix(".srt").write_text(
        "1\n00:00:00,500 --> 00:00:01,500\nThe first words.\n\n2\n00:00:01,800 --> 00:00:03,000\nAcross the cut."
    )
    assert [chunk.text for chunk in chunks_of(path)] == ["The first words.\nAcross the cut.", "Across the cut."]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.vtt", encode(scene(1), "PNG"), "is not text: it starts like a PNG image"),
        ("a.en.srt", b"Dear all", "has no subtitles"),
        ("a.sub", b"\0\0\x01\xba" + bytes(99), "holds bitmaps instead of text"),
        ("a.idx", b"# VobSub index file, v7", "holds bitmaps instead of text"),
        ("a.sup", b"PG" + bytes(99), "holds bitmaps instead of text"),
        ("a.ttml", b"<tt><body>", "is damaged: "),
        ("a.dfxp", b"<tt><body><p begin='soon'>x</p></body></tt>", "is damaged: has the time 'soon'"),
    ],
)
def test_a_subtitle_file_that_cannot_be_read_does_not_lose_the_video(tmp_path, name, data, reason):
    path = write_video(tmp_path / "a.mp4", shots(1))
    (tmp_path / name).write_bytes(data)
    chunks, (skipped,) = read(path)
    assert spans(chunks) == [(0.0, 1.0)]
    assert skipped.source == str(path) and skipped.reason.startswith(f"{name.removeprefix('a')} that {reason}")


def test_metadata_have_the_time_and_duration(tmp_path):
    (chunk,) = chunks_of(write_video(tmp_path / "a.mp4", shots(1), tags={"creation_time": "2025-12-22T22:08:46Z"}))
    assert chunk.metadata["taken_at"] == "2025-12-22T22:08:46+00:00"
    assert chunk.metadata["duration_s"] == 1.0
    (chunk,) = chunks_of(write_video(tmp_path / "b.mp4", shots(1), tags={"creation_time": "1904-01-01T00:00:00Z"}))
    assert "taken_at" not in chunk.metadata


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"Dear all", "is not a video: it starts like text"),
        (encode(scene(1), "JPEG"), "is not a video: it starts like a JPEG image"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", "is not a video: it starts like text"),
        (b"ffconcat version 1.0\nfile /etc/hostname\n", "is not a video: it starts like text"),
        (b"\0" * 999, "is not a video: it starts like a blank file"),
        (b"\0\0\0\x18ftypisom" + b"x" * 99, "is truncated or damaged"),
    ],
)
def test_a_file_that_is_no_video_is_named_with_the_reason(tmp_path, data, reason):
    path = tmp_path / "odd.mp4"
    path.write_bytes(data)
    with pytest.raises(MediaError, match=rf"odd\.mp4' {reason}"):
        chunks_of(path)
    with pytest.raises(MediaError, match=rf"odd\.mp4' {reason}"):
        keyframes(str(path), [0.0])


def test_typescript_is_skipped(tmp_path):
    (tmp_path / "main.ts").write_text("export const greeting = 'Good morning'")
    assert read(tmp_path / "main.ts") == ([], [Skipped(str(tmp_path / "main.ts"), ".ts")])


def test_playlists_open_no_other_file(tmp_path):
    video = write_video(tmp_path / "a.mp4", shots(1))
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{video}'\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(MediaError, match="is not a video"):
            chunks_of(tmp_path / name)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone_is_no_video(tmp_path, cover):
    with pytest.raises(MediaError, match=r"a\.mp4' has no video stream"):
        chunks_of(write_sound(tmp_path / "a.mp4", cover=cover))


def test_a_video_cut_off_before_its_first_frame_is_damaged(tmp_path):
    path = write_video(tmp_path / "a.mkv", shots(1))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"\x1f\x43\xb6\x75") + 8])  # the first cluster of Matroska
    with pytest.raises(MediaError, match="has no frame that can be decoded"):
        chunks_of(path)


def test_damage_in_the_middle_loses_only_the_damaged_part(tmp_path, caplog):
    path = write_video(tmp_path / "a.mp4", shots(3, 3, 3), codec="mpeg4")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = b"\xff" * 600
    path.write_bytes(data)
    chunks = chunks_of(path)
    assert spans(chunks) == [(0.0, 3.0), (3.0, 6.0), (6.0, 9.0)]
    for number in (0, 2):
        assert np.abs(chunks[number].frames[0].astype(int) - scene(number)).mean() < 16
    assert "is damaged" in caplog.text and "packets were skipped" in caplog.text


def test_a_time_after_the_end_is_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(1))
    with pytest.raises(MediaError, match=r"has no frame at 99\.000 s; index it again"):
        keyframes(str(path), [99.0])


def test_decoders_print_nothing(tmp_path, capfd):
    path = write_video(tmp_path / "a.mp4", shots(1))
    capfd.readouterr()
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :: 7] = bytes(len(data[len(data) // 2 :: 7]))
    path.write_bytes(data)
    with suppress(MediaError):
        chunks_of(path)
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("small")
    frames = shots(0.5, 0.5, size=(96, 64))
    return {
        suffix: write_video(folder / f"a{suffix}", frames, codec=codec).read_bytes() for suffix, codec in CONTAINERS
    }


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [suffix for suffix, _ in CONTAINERS])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(cut=st.floats(0, 1), at=st.floats(0, 1), hole=st.binary(max_size=40))
@example(cut=0.0, at=0.018902682202657232, hole=b"\x01")  # an element of WebM ends beyond what a file can hold
@example(cut=0.0, at=0.909262740947143, hole=b"\x0c \x00\x01")  # the AVI gets frames of an unusable pixel format
def test_damage_anywhere_gives_clips_or_a_media_error(tmp_path, small, suffix, cut, at, hole):
    data, path = small[suffix], tmp_path / f"a{suffix}"
    start = int(at * len(data))
    for damaged in (data[: int(cut * len(data))], data[:start] + hole + data[start + len(hole) :]):
        path.write_bytes(damaged)
        with suppress(MediaError):
            for chunk in chunks_of(path):
                keyframes(str(path), chunk.metadata["keyframes_s"])


@pytest.mark.skipif(not SHARED.exists(), reason="the shared videos are missing; synthetic ones cover the same")
def test_the_shared_videos_are_cut_into_their_shots():
    found = {
        path.name: [
            (round(start, 1), round(end, 1)) for start, end in spans(chunks_of(path, ChunkingConfig(keyframes=1)))
        ]
        for path in sorted((SHARED / "videos").iterdir())
    }
    assert found == {
        "bangkok_half_res.mp4": [(0.0, 9.4), (9.4, 18.5)],
        "demo.mp4": [(0.0, 7.4), (7.4, 9.6), (9.6, 10.0)],
        "extract.mp4": [(0.0, 5.2), (5.2, 7.0), (7.0, 9.0), (9.0, 9.2)],
    }


# Sampling


@pytest.fixture(scope="module")
def brightening(tmp_path_factory):
    """Four seconds at 10 Hz that grow lighter, so that the brightness of a frame gives its number."""
    frames = [np.full((48, 64, 3), 5 * number + 20, np.uint8) for number in range(40)]
    return write_video(tmp_path_factory.mktemp("sampling") / "light.mp4", frames)


def numbers(sampled):
    return [round((frame.mean() - 20) / 5) for _, _, frame in sampled]


def test_sampled_frames_are_those_shown_at_even_times(brightening):
    sampled = list(sample_frames(str(brightening), 1.0, 3.0, 4))
    assert [time_s for time_s, _, _ in sampled] == [1.125, 1.375, 1.625, 1.875, 2.125, 2.375, 2.625, 2.875]
    assert [at_s for _, at_s, _ in sampled] == pytest.approx([1.1, 1.3, 1.6, 1.8, 2.1, 2.3, 2.6, 2.8])
    assert np.abs(np.array(numbers(sampled)) - [11, 13, 16, 18, 21, 23, 26, 28]).max() <= 1


def test_an_interval_shorter_than_a_step_gives_its_middle(brightening):
    ((time_s, at_s, _),) = sample_frames(str(brightening), 2.0, 2.1, 4)
    assert (time_s, at_s) == (2.05, 2.0)


def test_sampled_frames_are_repeated_for_a_higher_rate(brightening):
    sampled = list(sample_frames(str(brightening), 0.0, 1.0, 20))
    assert len(sampled) == 20 and len({at_s for _, at_s, _ in sampled}) == 10


def test_the_last_frame_is_sampled_again_after_the_end(brightening):
    sampled = list(sample_frames(str(brightening), 3.0, 5.0, 2))
    assert len(sampled) == 4 and sampled[-1][1] == sampled[-2][1] == pytest.approx(3.9)


def test_sampled_frames_are_scaled_down(brightening):
    assert next(sample_frames(str(brightening), 0.0, 1.0, 4, max_side_px=32))[2].shape == (24, 32, 3)


def test_sampling_a_file_that_is_no_video_is_an_error_with_its_name(tmp_path):
    (tmp_path / "no.mp4").write_text("no video")
    for path in (tmp_path / "no.mp4", tmp_path / "gone.mp4"):
        with pytest.raises(FlorenceError, match=path.name):
            list(sample_frames(str(path), 0.0, 1.0, 4))
