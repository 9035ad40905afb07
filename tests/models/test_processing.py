from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from florence_rag.models.processing import CLIP_MEAN, CLIP_STD, FlorenceImageProcessor
from tests.models import tiny
from tests.models.reference import PUBLIC, arrays, assert_close, needs_parity

METER_TRANSFORMS: dict[str, dict[str, Any]] = {
    "imagenet96": {"size": 96, "enlarge": 1.0},
    "clip96": {"size": 96, "enlarge": 1.0, "image_mean": CLIP_MEAN, "image_std": CLIP_STD, "scale_alpha": True},
}
IMAGES = ("image_173x131_RGB", "image_90x160_RGB", "image_120x77_L", "image_100x140_RGBA")


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@needs_parity
@pytest.mark.parametrize("name", ["image_173x131", "image_90x260", "image_128x128"])
def test_images_are_prepared_as_in_unicl(name: str) -> None:
    with Image.open(PUBLIC / "unicl_small" / f"{name}.png") as image:
        ours = FlorenceImageProcessor(size=128)(image)["pixel_values"][0]
    assert_close(ours, arrays(PUBLIC / "unicl_small" / "preprocess_expected.npz")[name], name)


@needs_parity
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("transform", METER_TRANSFORMS)
def test_images_are_prepared_as_in_meter(transform: str, name: str) -> None:
    with Image.open(PUBLIC / "meter_preprocess" / f"{name}.png") as image:
        ours = FlorenceImageProcessor(**METER_TRANSFORMS[transform])(image)["pixel_values"][0]
    assert_close(ours, arrays(PUBLIC / "meter_preprocess" / "expected.npz")[f"{transform}:{name}"], name)


def test_values_are_normalized_per_channel() -> None:
    white = np.full((8, 8, 3), 255, dtype=np.uint8)
    processor = FlorenceImageProcessor(size=8, fit="squash", image_mean=(0.5, 0.25, 1.0), image_std=(0.5, 0.25, 2.0))
    pixels = processor(white)["pixel_values"]
    assert pixels.shape == (1, 3, 8, 8) and pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[0, :, 3, 5], torch.tensor([1.0, 3.0, 0.0]))


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40)])
def test_cropping_keeps_the_center_and_squashing_keeps_all(width: int, height: int) -> None:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    middle = (slice(None), slice(10, 30)) if width > height else (slice(10, 30), slice(None))
    image[middle] = 255
    cropped = FlorenceImageProcessor(size=20, enlarge=1.0).resize(image)
    squashed = FlorenceImageProcessor(size=20, fit="squash").resize(image)
    assert cropped.min() == 255
    assert squashed.shape == (20, 20, 3) and squashed.min() == 0 and squashed.max() == 255


def test_arrays_pil_images_and_batches_are_prepared_alike() -> None:
    processor = FlorenceImageProcessor(size=32)
    frames = [noise(50, 40), noise(33, 70)]
    batch = processor(frames)["pixel_values"]
    assert batch.shape == (2, 3, 32, 32)
    for row, frame in zip(batch, frames, strict=True):
        assert torch.equal(processor(frame)["pixel_values"][0], row)
        assert torch.equal(processor(Image.fromarray(frame))["pixel_values"][0], row)


def test_a_saved_processor_is_loaded_with_its_model(tmp_path: Path) -> None:
    tiny.florence().save_pretrained(tmp_path)
    processor = FlorenceImageProcessor(size=48, fit="squash", image_mean=CLIP_MEAN)
    processor.save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(again) is FlorenceImageProcessor
    assert torch.equal(again(noise(20, 30))["pixel_values"], processor(noise(20, 30))["pixel_values"])


def test_an_unknown_fit() -> None:
    with pytest.raises(ValueError, match="'stretch'; it must be 'squash' or 'crop'"):
        FlorenceImageProcessor(fit="stretch")  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (256, 256), (1000, 37)])
def test_the_view_is_the_cropped_part(width: int, height: int) -> None:
    """An image whose pixels hold their own positions starts and ends, when cropped, where the view does."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = np.stack([across, down, down], axis=-1).round().astype(np.uint8)
    processor = FlorenceImageProcessor(size=64)
    cropped, view = processor.resize(image) / 255, processor.view(width, height)
    seen = (cropped[0, 0, 0], cropped[0, 0, 1], cropped[-1, -1, 0], cropped[-1, -1, 1])
    assert np.allclose(seen, view, atol=0.03)
    assert FlorenceImageProcessor(fit="squash").view(width, height) == (0.0, 0.0, 1.0, 1.0)


def test_the_region_view_is_saved_with_the_processor(tmp_path: Path) -> None:
    FlorenceImageProcessor(size=32, region_view="masked").save_pretrained(tmp_path)
    assert FlorenceImageProcessor.from_pretrained(tmp_path).region_view == "masked"
    assert FlorenceImageProcessor().region_view == "crop"
    with pytest.raises(ValueError, match="region_view is 'blurred'"):
        FlorenceImageProcessor(region_view="blurred")
