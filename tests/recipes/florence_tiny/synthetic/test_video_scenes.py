import itertools
import random

import numpy as np
import pytest

from recipes.florence_tiny.synthetic.scene import HELD_OUT, SEEN, Scene
from recipes.florence_tiny.synthetic.video_scenes import (
    ACTIONS,
    IDLE,
    MIRRORED,
    MOVERS,
    sample_action_segment,
    sample_video_scene,
)

EMPTY = Scene(())


def video_scenes(count=150, segments=8):
    rng = random.Random(0)
    return [sample_video_scene(rng, segments, scene=EMPTY) for _ in range(count)]


def test_every_action_happens_and_none_twice_in_a_row():
    segments = [video_scene.segments for video_scene in video_scenes()]
    assert {segment.action for each in segments for segment in each} == set(ACTIONS)
    for each in segments:
        assert all(one.action != other.action for one, other in itertools.pairwise(each))


def test_a_segment_starts_where_the_previous_one_ended():
    for video_scene in video_scenes():
        for one, other in zip(video_scene.segments, video_scene.segments[1:], strict=False):
            before, after = one.at(1.0), other.at(0.0)
            if before is not None and after is not None and one.actor == other.actor:
                assert (before.x, before.lane) == pytest.approx((after.x, after.lane))


def test_an_actor_that_appears_or_leaves_crosses_the_edge():
    for video_scene in video_scenes():
        for segment in video_scene.segments:
            start, end = segment.at(0.0), segment.at(1.0)
            if segment.action.startswith("appears"):
                assert not 0 < start.x < 1 and 0 < end.x < 1
            elif segment.action.startswith("leaves"):
                assert 0 < start.x < 1 and not 0 < end.x < 1
            elif segment.actor:
                assert all(0 < segment.at(i / 10).x < 1 for i in range(11))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_driving_actor_moves_and_heads_in_its_direction(side):
    found = [
        segment
        for video_scene in video_scenes()
        for segment in video_scene.segments
        if segment.action == f"drives to the {side}"
    ]
    assert found
    for segment in found:
        places = [segment.at(i / 10).x for i in range(11)]
        assert places == sorted(places, reverse=side == "left") and abs(places[0] - places[-1]) >= 0.19
        assert segment.at(0.5).heading == side


def test_stopping_starting_turning_and_crossing():
    for segment in (segment for video_scene in video_scenes() for segment in video_scene.segments):
        xs = [None if (at := segment.at(i / 10)) is None else at.x for i in range(11)]
        if segment.action == "stops":
            assert xs[0] != xs[3] and xs[7] == pytest.approx(xs[10])
        elif segment.action == "starts":
            assert xs[0] == pytest.approx(xs[3]) and xs[7] != xs[10]
        elif segment.action == "turns around":
            assert (xs[3] - xs[0]) * (xs[10] - xs[7]) < 0 and segment.at(0).heading != segment.at(1).heading
        elif segment.action == "crosses the road":
            assert {segment.at(0).lane, segment.at(1).lane} == {0.0, 1.0}
        elif segment.action == IDLE:
            assert len(set(xs)) == 1


def test_only_allowed_movers_act():
    rng = random.Random(1)
    movers = {
        segment.actor
        for _ in range(100)
        for segment in sample_video_scene(rng, 8, scene=EMPTY).segments
        if segment.actor
    }
    assert {name for _, name in movers} == set(MOVERS) and not movers & HELD_OUT and movers <= set(SEEN)
    movers = {sample_action_segment(rng, "stops", scene=EMPTY, held_out=True)[0].segments[2].actor for _ in range(300)}
    assert movers & HELD_OUT


def test_the_requested_leg_has_neighbors():
    rng = random.Random(2)
    for action in ACTIONS:
        video_scene, index = sample_action_segment(rng, action, scene=EMPTY)
        assert video_scene.segments[index].action == action and 0 < index < len(video_scene.segments) - 1


def test_a_mirror_swaps_left_and_right_alone():
    assert MIRRORED["drives to the left"] == "drives to the right"
    assert MIRRORED["appears from the right"] == "appears from the left"
    assert MIRRORED["stops"] == "stops" and set(MIRRORED) == set(ACTIONS)
    assert all(MIRRORED[MIRRORED[action]] == action for action in ACTIONS)


def test_spans_are_contiguous_and_images_show_the_actor():
    video_scene = next(
        video_scene
        for video_scene in video_scenes()
        if video_scene.segments[0].action == IDLE and video_scene.segments[0].actor is None
    )
    spans = video_scene.spans()
    assert spans[0][0] == 0 and spans[-1][1] == pytest.approx(video_scene.seconds)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    assert video_scene.segments[1].action.startswith("appears")
    first, later = (np.asarray(frame).astype(int) for frame in video_scene.draw([0.1, spans[1][1]], (160, 120)))
    assert np.abs(first - later).sum() > 1000
    assert video_scene.at(-5.0) == video_scene.at(0.0) and video_scene.at(video_scene.seconds + 5) == video_scene.at(
        video_scene.seconds
    )
