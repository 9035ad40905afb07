import weakref
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.chunking.shots import SLOT_S, ClipBuilder, DecodedFrame, mark_shots
from tests.chunking.samples import scene, shots

STILL = scene(1)


def decoded(time_s: float, thumbnail: np.ndarray = STILL, tag: int = 0) -> DecodedFrame:
    return DecodedFrame(time_s, thumbnail, lambda: np.full((2, 2, 3), tag, np.uint8))


def starts(frames, min_shot_s: float = 1.0, rate: int = 10) -> list[float]:
    decoded_frames = [decoded(i / rate, frame[:, :, ::-1]) for i, frame in enumerate(frames)]
    marked = list(mark_shots(decoded_frames, min_shot_s))
    assert [each for each, _ in marked] == decoded_frames
    return [each.time_s for each, begins in marked if begins]


def test_a_shot_begins_where_the_scene_changes():
    assert starts(shots(2, 3, 1.5)) == [2.0, 5.0]


def test_a_video_of_one_shot_has_no_cut():
    assert starts(shots(4)) == []
    assert starts(shots(0.1)) == []
    assert starts([]) == []


def test_very_short_shots_join_the_next_one():
    assert starts(shots(2, 0.4, 3)) == [2.0]
    assert starts(shots(2, 0.4, 3), min_shot_s=0.3) == [2.0, 2.4]


def test_the_lengths_of_shots_are_seconds_at_any_frame_rate():
    assert starts(shots(2, 0.4, 3, rate=50), rate=50) == [2.0]
    assert starts(shots(2, 2, rate=3), rate=3) == [2.0]


def clips(times_s, end_s: float, max_clip_s: float = 10.0, keyframes: int = 3):
    builder = ClipBuilder(max_clip_s, keyframes)
    found = [clip for time_s in times_s for clip in builder.add(decoded(time_s))]
    return found + list(builder.finish(end_s))


def spans(found) -> list[tuple[float, float]]:
    return [(clip.start_s, clip.end_s) for clip in found]


def test_a_shot_up_to_the_longest_clip_is_one_clip():
    assert spans(clips(np.arange(0, 10, 0.5), 10.0)) == [(0, 10)]


def test_longer_shots_are_cut_into_equal_parts():
    assert spans(clips(np.arange(0, 12, 0.5), 12.0)) == [(0, 6), (6, 12)]
    assert spans(clips(np.arange(0, 34, 0.5), 34.0)) == [(0, 10), (10, 20), (20, 27), (27, 34)]


def test_one_keyframe_for_about_three_seconds():
    assert [len(clips(np.arange(0, end_s, 0.1), end_s)[0].keyframes) for end_s in (0.4, 2.9, 3.1, 6.5, 9.9)] == [
        1,
        1,
        2,
        3,
        3,
    ]
    assert len(clips(np.arange(0, 9, 0.1), 9.0, keyframes=1)[0].keyframes) == 1


def test_keyframes_are_spread_evenly():
    (clip,) = clips(np.arange(0, 9, 0.5), 9.0)
    assert [time_s for time_s, _ in clip.keyframes] == [1.5, 4.5, 7.5]


def test_the_sharpest_of_neighboring_frames_is_taken():
    blurred = np.full_like(STILL, 128)
    builder = ClipBuilder(10.0, 1)
    thumbnails = [blurred, blurred, STILL, blurred, blurred]
    for number, thumbnail in enumerate(thumbnails):
        assert list(builder.add(decoded(number * 0.1, thumbnail, tag=number))) == []
    (clip,) = builder.finish(0.5)
    ((time_s, frame),) = clip.keyframes
    assert time_s == pytest.approx(0.2) and frame[0, 0, 0] == 2


def test_a_still_longer_than_a_clip_stays_one_clip():
    assert spans(clips([0.0, 60.0, 60.5], 61.0)) == [(0, 60), (60, 61)]
    assert spans(clips([0.0], 60.0)) == [(0, 60)]


def test_an_hour_is_held_in_bounded_memory():
    class CountedFrame(np.ndarray):
        """An array that can be counted."""

        __hash__ = object.__hash__

    alive: weakref.WeakSet[CountedFrame] = weakref.WeakSet()

    def to_frame() -> np.ndarray:
        made = np.zeros((2, 2, 3), np.uint8).view(CountedFrame)
        alive.add(made)
        return made

    builder, most, count = ClipBuilder(10.0, 3), 0, 0
    for number in range(3600 * 4):
        count += sum(1 for _ in builder.add(DecodedFrame(number / 4, STILL[:8, :8], to_frame)))
        most = max(most, len(alive))
    assert count == 358 and most <= 2 * 10 / SLOT_S + 2


@given(st.lists(st.floats(0.01, 30), min_size=1, max_size=60), st.floats(1, 10))
def test_clips_cover_the_shot_without_gap_and_all_have_keyframes(steps, max_clip_s):
    times_s = [0.0, *np.cumsum(steps).tolist()]
    found = clips(times_s, times_s[-1] + 0.04, max_clip_s)
    assert found[0].start_s == 0 and found[-1].end_s == times_s[-1] + 0.04
    for clip, following in pairwise(found):
        assert clip.end_s == following.start_s
    for clip in found:
        times = [time_s for time_s, _ in clip.keyframes]
        assert 1 <= len(times) <= 3 and times == sorted(set(times))
        assert clip.start_s <= times[0] and times[-1] < clip.end_s
