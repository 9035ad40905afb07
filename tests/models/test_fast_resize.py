import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import (
    CLIPImageProcessorPil,
    Qwen2VLImageProcessorPil,
    Siglip2ImageProcessorPil,
    SiglipImageProcessorPil,
)

from florence_rag.models.fast_resize import resize_for, resize_frame
from florence_rag.models.processing import FlorenceImageProcessor

SIDES = st.integers(16, 200)
FILTERS = st.sampled_from([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])


def noise(height, width):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photograph(height, width):
    """An image as smooth as a photograph."""
    coarse = Image.fromarray(noise(-(-height // 8), -(-width // 8)))
    return np.array(coarse.resize((width, height), Image.Resampling.BILINEAR))


@given(SIDES, SIDES, SIDES, SIDES, FILTERS)
def test_it_equals_pillow_but_for_rounding(height, width, new_height, new_width, resample):
    for frame, most, mean in ((photograph(height, width), 3, 0.2), (noise(height, width), 255, 0.5)):
        wanted = np.asarray(Image.fromarray(frame).resize((new_width, new_height), resample)).astype(int)
        found = resize_frame(frame, new_width, new_height, resample)
        assert found.dtype == np.uint8 and found.shape == wanted.shape
        assert abs(found - wanted).max() <= most and abs(found - wanted).mean() < mean


def test_a_read_only_frame_is_not_changed():
    frame = noise(40, 30)
    frame.setflags(write=False)
    before = frame.copy()
    assert resize_frame(frame, 8, 8, Image.Resampling.BICUBIC).shape == (8, 8, 3)
    assert (frame == before).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (40, 30)])
@pytest.mark.parametrize("turned", [np.asarray, np.flipud, np.fliplr, np.asfortranarray])
def test_frames_may_have_any_memory_layout(shape, turned):
    frame = turned(photograph(*shape))
    wanted = np.asarray(Image.fromarray(np.array(frame)).resize((8, 8), Image.Resampling.BILINEAR)).astype(int)
    assert abs(resize_frame(frame, 8, 8, Image.Resampling.BILINEAR) - wanted).max() <= 1


def test_other_filters_are_left_to_pillow():
    frame = noise(40, 30)
    assert resize_frame(frame, 8, 8, Image.Resampling.LANCZOS) is frame


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32),
        SiglipImageProcessorPil(size={"height": 32, "width": 32}),
    ],
)
@pytest.mark.parametrize("shape", [(70, 97), (97, 70), (32, 32), (20, 24)])
def test_a_processor_of_transformers_gives_equal_pixels(processor, shape):
    frame = photograph(*shape)
    scale = resize_for(processor)
    assert min(scale(frame).shape[:2]) == 32
    wanted, found = (
        processor(Image.fromarray(each), return_tensors="np")["pixel_values"] for each in (frame, scale(frame))
    )
    assert abs(wanted - found).max() <= 1.01 / 255 / min(processor.image_std)


@pytest.mark.parametrize(
    "processor",
    [None, Siglip2ImageProcessorPil(), Qwen2VLImageProcessorPil(), CLIPImageProcessorPil(do_resize=False)],
)
def test_other_processors_get_the_whole_frame(processor):
    frame = noise(70, 97)
    assert resize_for(processor)(frame) is frame


@pytest.mark.parametrize("fit", ["squash", "crop"])
def test_our_processor_scales_to_its_scaled_size(fit):
    processor = FlorenceImageProcessor(size=32, fit=fit)
    frame = photograph(70, 97)
    before = resize_frame(frame, *processor.scaling.scaled_size(97, 70), processor.resample)
    assert abs(processor.resize(frame).astype(int) - processor.resize(before)).max() <= 1
