import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from florence_rag.retrieval.perceptual_hash import PerceptualHashes, hash_image
from florence_rag.testing import COLORS, color_frame
from florence_rag.types import PERCEPTUAL_HASH


def scene(seed):
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return coarse.resize((320, 240), Image.Resampling.BICUBIC)


def as_jpeg(image, quality):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def hashed(image):
    return {PERCEPTUAL_HASH: hash_image(np.asarray(image.convert("RGB")))}


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: as_jpeg(image, 30),
        lambda image: image.resize((80, 60)),
        lambda image: image.resize((233, 187)),
        lambda image: image.point(lambda value: min(255, value * 1.02 + 1)),
    ],
)
def test_near_duplicates_are_found(alter):
    hashes = PerceptualHashes()
    for seed in range(20):
        hashes.add(hashed(scene(seed)))
    assert [hashes.find(hashed(alter(scene(seed)))) for seed in range(20)] == list(range(20))


def test_different_images_do_not_match():
    hashes = PerceptualHashes()
    for seed in range(40):
        assert hashes.find(hashed(scene(seed))) is None
        hashes.add(hashed(scene(seed)))


def test_plain_colors_differ():
    hashes = PerceptualHashes()
    for color in COLORS:
        metadata = {PERCEPTUAL_HASH: hash_image(color_frame(color))}
        assert hashes.find(metadata) is None
        hashes.add(metadata)


@given(st.one_of(st.none(), st.integers(), st.text(), st.just("AAAA"), st.binary()))
def test_an_invalid_hash_matches_nothing(value):
    hashes = PerceptualHashes()
    hashes.add({PERCEPTUAL_HASH: value})
    hashes.add({})
    assert hashes.find({PERCEPTUAL_HASH: value}) is None
    assert hashes.find(hashed(scene(0))) is None


def test_bursts_need_camera_time_and_similarity():
    hashes = PerceptualHashes()
    shifted = Image.fromarray(np.roll(np.asarray(scene(0)), 12, axis=1))
    first = {**hashed(scene(0)), "taken_at": "2026-05-01T12:00:00", "camera": "A"}
    hashes.add(first)
    second = {**first, **hashed(shifted), "taken_at": "2026-05-01T12:00:03"}
    assert hashes.find(second) == 0
    assert hashes.find(second, bursts=False) is None
    assert hashes.find({**second, "camera": "B"}) is None
    assert hashes.find({**second, "taken_at": "2026-05-01T12:00:09"}) is None
    assert hashes.find({**second, "taken_at": "soon"}) is None
    assert hashes.find({**second, **hashed(scene(1))}) is None
