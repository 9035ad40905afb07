import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recipes.florence_tiny.synthetic.canvas import WIDTH
from recipes.florence_tiny.synthetic.drawing import GAP, PALETTE, SLOT, MovingObject, draw_scene, object_centers
from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, Backdrop, Scene, SceneObject, sample_scene
from recipes.florence_tiny.synthetic.shapes import SHAPES


def pixels(scene, size=(160, 120), **more):
    return np.asarray(draw_scene(scene, size, **more)).astype(int)


def one(name, color, size="large", slot=2):
    return Scene((SceneObject(name, color, size, slot),), seed=3)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_same_scene_gives_the_same_pixels(seed):
    scene = sample_scene(random.Random(seed), "any")
    image = draw_scene(scene, (112, 112))
    assert image.mode == "RGB" and image.size == (112, 112)
    assert image.tobytes() == draw_scene(scene, (112, 112)).tobytes()


def test_a_square_image_is_the_wide_one_resized():
    scene = sample_scene(random.Random(1))
    squashed = draw_scene(scene, (640, 480)).resize((112, 112), Image.Resampling.BOX, reducing_gap=None)
    assert np.abs(np.asarray(squashed).astype(int) - pixels(scene, (112, 112))).mean() < 3


@pytest.mark.slow
@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("color", COLORS)
def test_the_color_of_an_object_covers_much_of_it(name, color):
    with_thing, empty = pixels(one(name, color), (320, 240)), pixels(Scene((), seed=3), (320, 240))
    drawn = np.abs(with_thing - empty).sum(-1) > 12
    near = np.abs(with_thing - PALETTE[color]).max(-1) < 40
    assert (near & drawn).sum() > 0.25 * drawn.sum()
    others = [
        np.abs(with_thing - PALETTE[other]).max(-1) < 40 for other in COLORS if other not in (color, "black", "white")
    ]
    assert max((other & drawn).sum() for other in others) < 0.5 * (near & drawn).sum()


@pytest.mark.parametrize("name", CATEGORIES)
def test_small_and_large_differ_and_a_large_one_is_about_as_wide_as_its_shape(name):
    empty = pixels(Scene((), seed=3), (640, 480))

    def width(size):
        scene = one(name, "red", size)
        columns = np.flatnonzero((np.abs(pixels(scene, (640, 480)) - empty).sum(-1) > 60).any(0))
        return columns[-1] - columns[0]

    assert width("small") < 0.8 * width("large")
    assert 0.8 * SHAPES[name].width < width("large") <= SLOT


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_adjacent_objects_are_close_and_others_apart_all_inside_the_image(seed):
    scene = sample_scene(random.Random(seed), "any")
    middles = object_centers(scene, random.Random(seed))
    spans = [
        (x - SHAPES[t.category].width * scale / 2, x + SHAPES[t.category].width * scale / 2)
        for t, x in zip(scene.objects, middles, strict=True)
        for scale in [0.66 if t.size == "small" else 0.95]
    ]
    assert spans[0][0] >= 0 and spans[-1][1] <= WIDTH
    for (before, after), (left, right) in zip(pairwise(scene.objects), pairwise(spans), strict=True):
        gap = right[0] - left[1]
        assert gap == pytest.approx(GAP) if after.slot == before.slot + 1 else gap > SLOT / 2


def test_backdrop_and_seed_change_the_image_only_slightly():
    obj = (SceneObject("car", "red", "large", 2),)
    plain = pixels(Scene(obj, Backdrop("noon", "plain"), 1))
    for other in (Scene(obj, Backdrop("evening", "plain"), 1), Scene(obj, Backdrop("noon", "dashed"), 2)):
        assert 0 < np.abs(pixels(other) - plain).mean() < 40


def test_a_moving_object_appears_in_front_and_changes_nothing_else():
    scene = sample_scene(random.Random(5))
    difference = np.abs(pixels(scene, moving_object=MovingObject("bus", "purple", "right", 0.5)) - pixels(scene)).sum(
        -1
    )
    columns = np.flatnonzero(difference.any(0))
    assert difference[:60].sum() == 0
    assert columns[0] >= 60 and columns[-1] <= 100
