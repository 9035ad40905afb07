import itertools
import random

import numpy as np
import pytest

from florence_rag.training.world.scene import HELD_OUT, SEEN, Scene
from florence_rag.training.world.takes import ACTIONS, IDLE, MIRRORED, MOVERS, sample_leg, sample_take

EMPTY = Scene(())


def takes(count=150, legs=8):
    rng = random.Random(0)
    return [sample_take(rng, legs, scene=EMPTY) for _ in range(count)]


def test_every_action_happens_and_none_twice_in_a_row():
    legs = [take.legs for take in takes()]
    assert {leg.action for each in legs for leg in each} == set(ACTIONS)
    for each in legs:
        assert all(one.action != other.action for one, other in itertools.pairwise(each))


def test_a_leg_begins_where_the_one_before_ended():
    for take in takes():
        for one, other in zip(take.legs, take.legs[1:], strict=False):
            before, after = one.at(1.0), other.at(0.0)
            if before is not None and after is not None and one.mover == other.mover:
                assert (before.x, before.across) == pytest.approx((after.x, after.across))


def test_what_appears_was_out_of_sight_and_what_leaves_will_be():
    for take in takes():
        for leg in take.legs:
            start, end = leg.at(0.0), leg.at(1.0)
            if leg.action.startswith("appears"):
                assert not 0 < start.x < 1 and 0 < end.x < 1
            elif leg.action.startswith("leaves"):
                assert 0 < start.x < 1 and not 0 < end.x < 1
            elif leg.mover:
                assert all(0 < leg.at(i / 10).x < 1 for i in range(11))


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_drives_goes_and_looks_there(side):
    found = [leg for take in takes() for leg in take.legs if leg.action == f"drives to the {side}"]
    assert found
    for leg in found:
        places = [leg.at(i / 10).x for i in range(11)]
        assert places == sorted(places, reverse=side == "left") and abs(places[0] - places[-1]) >= 0.19
        assert leg.at(0.5).heading == side


def test_what_stops_what_starts_and_what_turns():
    for leg in (leg for take in takes() for leg in take.legs):
        xs = [None if (at := leg.at(i / 10)) is None else at.x for i in range(11)]
        if leg.action == "stops":
            assert xs[0] != xs[3] and xs[7] == pytest.approx(xs[10])
        elif leg.action == "starts":
            assert xs[0] == pytest.approx(xs[3]) and xs[7] != xs[10]
        elif leg.action == "turns around":
            assert (xs[3] - xs[0]) * (xs[10] - xs[7]) < 0 and leg.at(0).heading != leg.at(1).heading
        elif leg.action == "crosses the road":
            assert {leg.at(0).across, leg.at(1).across} == {0.0, 1.0}
        elif leg.action == IDLE:
            assert len(set(xs)) == 1


def test_only_what_can_move_and_was_allowed_acts():
    rng = random.Random(1)
    movers = {leg.mover for _ in range(100) for leg in sample_take(rng, 8, scene=EMPTY).legs if leg.mover}
    assert {name for _, name in movers} == set(MOVERS) and not movers & HELD_OUT and movers <= set(SEEN)
    movers = {sample_leg(rng, "stops", scene=EMPTY, held_out=True)[0].legs[2].mover for _ in range(300)}
    assert movers & HELD_OUT


def test_the_leg_that_is_asked_for_has_neighbors():
    rng = random.Random(2)
    for action in ACTIONS:
        take, index = sample_leg(rng, action, scene=EMPTY)
        assert take.legs[index].action == action and 0 < index < len(take.legs) - 1


def test_a_mirror_swaps_left_and_right_alone():
    assert MIRRORED["drives to the left"] == "drives to the right"
    assert MIRRORED["appears from the right"] == "appears from the left"
    assert MIRRORED["stops"] == "stops" and set(MIRRORED) == set(ACTIONS)
    assert all(MIRRORED[MIRRORED[action]] == action for action in ACTIONS)


def test_spans_follow_each_other_and_pictures_show_what_is_there():
    take = next(take for take in takes() if take.legs[0].action == IDLE and take.legs[0].mover is None)
    spans = take.spans()
    assert spans[0][0] == 0 and spans[-1][1] == pytest.approx(take.seconds)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(spans))
    assert take.legs[1].action.startswith("appears")
    first, later = (np.asarray(frame).astype(int) for frame in take.draw([0.1, spans[1][1]], (160, 120)))
    assert np.abs(first - later).sum() > 1000
    assert take.at(-5.0) == take.at(0.0) and take.at(take.seconds + 5) == take.at(take.seconds)
