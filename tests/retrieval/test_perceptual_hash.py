import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.retrieval.perceptual_hash import LOOK, Looks, look_of
from florence_rag.testing import COLORS, color_frame


def scene(seed):
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return coarse.resize((320, 240), Image.Resampling.BICUBIC)


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def look(image):
    return {LOOK: look_of(np.asarray(image.convert("RGB")))}


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: as_jpeg(image, 30),
        lambda image: image.resize((80, 60)),
        lambda image: image.resize((233, 187)),
        lambda image: image.point(lambda value: min(255, value * 1.02 + 1)),
    ],
)
def test_what_looks_the_same_is_found(alter):
    looks = Looks()
    for seed in range(20):
        looks.put(look(scene(seed)))
    assert [looks.find(look(alter(scene(seed)))) for seed in range(20)] == list(range(20))


def test_what_looks_different_is_not():
    looks = Looks()
    for seed in range(40):
        assert looks.find(look(scene(seed))) is None
        looks.put(look(scene(seed)))


def test_plain_colors_differ():
    looks = Looks()
    for color in COLORS:
        metadata = {LOOK: look_of(color_frame(color))}
        assert looks.find(metadata) is None
        looks.put(metadata)


@given(st.one_of(st.none(), st.integers(), st.text(), st.just("AAAA"), st.binary()))
def test_what_is_no_look_is_like_nothing(value):
    looks = Looks()
    looks.put({LOOK: value})
    looks.put({})
    assert looks.find({LOOK: value}) is None
    assert looks.find(look(scene(0))) is None


def test_bursts_need_camera_time_and_likeness():
    looks = Looks()
    shifted = Image.fromarray(np.roll(np.asarray(scene(0)), 12, axis=1))
    first = {**look(scene(0)), "taken_at": "2026-05-01T12:00:00", "camera": "A"}
    looks.put(first)
    second = {**first, **look(shifted), "taken_at": "2026-05-01T12:00:03"}
    assert looks.find(second) == 0
    assert looks.find(second, bursts=False) is None
    assert looks.find({**second, "camera": "B"}) is None
    assert looks.find({**second, "taken_at": "2026-05-01T12:00:09"}) is None
    assert looks.find({**second, "taken_at": "soon"}) is None
    assert looks.find({**second, **look(scene(1))}) is None
