import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.florence_tiny.synthetic.scene import (
    CATEGORIES,
    COLORS,
    COMBINATIONS,
    HELD_OUT,
    SEEN,
    SIZES,
    SLOTS,
    Scene,
    SceneObject,
    sample_scene,
)

seeds = st.integers(0, 2**32)


def many(combinations="seen", number=2000):
    rng = random.Random(0)
    return [sample_scene(rng, combinations) for _ in range(number)]


@given(seeds, st.sampled_from(["seen", "any", "held-out"]))
def test_scenes_are_well_formed_and_deterministic(seed, combinations):
    scene = sample_scene(random.Random(seed), combinations)
    assert scene == sample_scene(random.Random(seed), combinations)
    slots = [obj.slot for obj in scene.objects]
    assert slots == sorted(set(slots)) and 1 <= len(slots) <= SLOTS
    for obj in scene.objects:
        assert obj.category in CATEGORIES and obj.color in COLORS and obj.size in SIZES


@given(seeds)
def test_held_out_combinations_stay_out_of_training(seed):
    assert not {obj.combination for obj in sample_scene(random.Random(seed)).objects} & HELD_OUT


@given(seeds)
def test_held_out_scenes_show_one(seed):
    scene = sample_scene(random.Random(seed), "held-out")
    assert scene.has_held_out
    assert {obj.combination for obj in scene.objects} & HELD_OUT


def test_every_combination_is_drawn():
    assert {t.combination for scene in many("seen") for t in scene.objects} == set(SEEN)
    assert {t.combination for scene in many("any") for t in scene.objects} == set(COMBINATIONS)
    assert {t.combination for scene in many("held-out") for t in scene.objects} >= HELD_OUT


def test_held_out_spares_no_object_and_no_color_entirely():
    assert len(HELD_OUT) == 8 and len(SEEN) + 8 == len(COMBINATIONS)
    for color in COLORS:
        assert sum(pair[0] == color for pair in SEEN) >= len(CATEGORIES) - 1
    for name in CATEGORIES:
        assert sum(pair[1] == name for pair in SEEN) >= len(COLORS) - 1


def test_usually_three_or_four_objects_and_often_several_of_a_category():
    scenes = many()
    assert sum(len(s.objects) in (3, 4) for s in scenes) > 0.6 * len(scenes)
    repeated = [max([t.category for t in s.objects].count(o) for o in CATEGORIES) for s in scenes]
    assert sum(number >= 2 for number in repeated) > 0.5 * len(scenes)
    assert sum(number >= 4 for number in repeated) > 0.05 * len(scenes)


def test_neighbors_are_those_in_adjacent_slots():
    car, dog, tree = (
        SceneObject("car", "red", "large", 0),
        SceneObject("dog", "red", "large", 1),
        SceneObject("tree", "red", "small", 3),
    )
    scene = Scene((car, dog, tree))
    assert scene.neighbors(car) == (dog,)
    assert scene.neighbors(dog) == (car,)
    assert scene.neighbors(tree) == ()


@pytest.mark.parametrize("slots", [(1, 0), (2, 2), (4, 5), (-1, 0)])
def test_slots_out_of_order_or_range_are_refused(slots):
    with pytest.raises(ValueError, match="slots must rise"):
        Scene(tuple(SceneObject("car", "red", "large", slot) for slot in slots))
