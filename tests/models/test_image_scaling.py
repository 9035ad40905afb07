"""Scaling with Pillow alone equals the image processors; tests/models/test_processing.py compares with torchvision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil

from florence_rag.models.fast_resize import scaling_of
from florence_rag.models.image_scaling import ImageScaling


@given(*[st.integers(1, 90)] * 2, *[st.integers(20, 40)] * 3)
def test_it_scales_and_crops_as_transformers_does(width, height, shorter, across, down):
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": shorter},
        crop_size={"width": across, "height": down},
        do_rescale=False,
        do_normalize=False,
    )
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
    expected = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    found = np.asarray(scaling_of(processor).resize(image))
    # Of a long image, only the crop is scaled, which may be rounded differently.
    assert abs(found.astype(int) - expected).max() <= (1 if scaling_of(processor).is_long(width, height) else 0)


@pytest.mark.parametrize("size", [(2_000_000, 1), (1, 2_000_000)])
def test_a_long_image_needs_little_memory(size):
    scaled = ImageScaling(224, Image.Resampling.BICUBIC, (224, 224)).resize(Image.new("RGB", size, "red"))
    assert scaled.size == (224, 224) and scaled.getextrema() == ((255, 255), (0, 0), (0, 0))
