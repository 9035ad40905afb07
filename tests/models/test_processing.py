from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

import florence_rag
from florence_rag.models.processing import CLIP_MEAN, CLIP_STD, FlorenceImageProcessor, FlorenceProcessor
from tests.models import tiny
from tests.models.reference import PUBLIC, arrays, assert_close, needs_parity

ASSETS = Path(florence_rag.__file__).parent / "assets"

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


def torchvision_size(width: int, height: int, shorter: int) -> tuple[int, int]:
    """The size of torchvision's Resize(shorter), in whole numbers."""
    return (shorter, shorter * height // width) if width <= height else (shorter * width // height, shorter)


def torchvision_crop(image: Image.Image, size: int) -> Image.Image:
    """torchvision's CenterCrop(size): small images are padded with zeros, the odd pixel at right and bottom."""
    across, down = max(0, size - image.width), max(0, size - image.height)
    padded = Image.new(image.mode, (image.width + across, image.height + down))
    padded.paste(image, (across // 2, down // 2))
    left, top = round((padded.width - size) / 2.0), round((padded.height - size) / 2.0)
    return padded.crop((left, top, left + size, top + size))


def test_a_photo_of_three_by_two_is_scaled_to_whole_pixels() -> None:
    assert FlorenceImageProcessor(size=288, enlarge=1.0).scaling.scaled_size(3000, 2000) == (432, 288)
    assert FlorenceImageProcessor(size=224).scaling.scaled_size(2000, 3000) == (256, 384)


@pytest.mark.parametrize(("size", "enlarge"), [(224, 256 / 224), (288, 1.0), (384, 1.0), (576, 1.0), (37, 256 / 224)])
def test_every_size_is_scaled_as_by_torchvision(size: int, enlarge: float) -> None:
    processor = FlorenceImageProcessor(size=size, enlarge=enlarge)
    sizes = np.random.default_rng(0).integers(1, 8000, (20_000, 2)).tolist()
    common = [(a * n, b * n) for a, b in ((3, 2), (4, 3), (16, 9), (1, 1), (5, 7)) for n in range(1, 1500)]
    for width, height in [*sizes, *common, *((height, width) for width, height in common)]:
        expected = torchvision_size(width, height, int(enlarge * size))
        assert processor.scaling.scaled_size(width, height) == expected, (width, height)


@pytest.mark.parametrize("enlarge", [256 / 224, 1.0, 0.7])
def test_every_crop_is_torchvisions(enlarge: float) -> None:
    processor = FlorenceImageProcessor(size=21, enlarge=enlarge)
    for width, height in np.random.default_rng(1).integers(5, 90, (300, 2)).tolist():
        image = Image.fromarray(noise(width, height))
        size = torchvision_size(width, height, int(enlarge * 21))
        expected = torchvision_crop(image.resize(size, Image.Resampling.BICUBIC), 21)
        assert np.array_equal(processor.resize(image), np.asarray(expected)), (width, height)


def transparent(mode: str) -> Image.Image:
    """A gray ramp whose left half is transparent, in a mode of Pillow."""
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    alpha = np.where(np.arange(60) < 30, 0, 255).astype(np.uint8) * np.ones((40, 1), dtype=np.uint8)
    if mode == "P":  # the first half of the palette is transparent
        image = Image.fromarray(ramp // 4).convert("P")
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7)])
        image.info["transparency"] = bytes([0] * 30 + [255] * 226)
        return image
    if mode == "RGB":
        image = Image.merge("RGB", [Image.fromarray(ramp)] * 3)
        image.info["transparency"] = (80, 80, 80)
        return image
    channels = [Image.fromarray(ramp)] * (len(mode) - 1)
    return Image.merge(mode, [*channels, Image.fromarray(alpha)])


@pytest.mark.parametrize("mode", ["LA", "P", "RGBA", "RGB"])
def test_transparent_images_are_opened_as_in_meter(mode: str) -> None:
    image, processor = transparent(mode), FlorenceImageProcessor(**METER_TRANSFORMS["clip96"])
    meter = image.convert("RGBA").resize((144, 96), Image.Resampling.BICUBIC).crop((24, 0, 120, 96)).convert("RGB")
    assert np.array_equal(processor.resize(image), np.asarray(meter))
    unicl = image.convert("RGBA").convert("RGB").resize((144, 96), Image.Resampling.BICUBIC).crop((24, 0, 120, 96))
    plain = FlorenceImageProcessor(**METER_TRANSFORMS["imagenet96"]).resize(image)
    assert np.array_equal(plain, np.asarray(unicl)) and not np.array_equal(plain, np.asarray(meter))


@pytest.mark.parametrize(("width", "height"), [(4000, 60), (50, 3000), (1700, 51)])
def test_long_images_need_no_more_memory_and_look_the_same(width: int, height: int) -> None:
    processor, image = FlorenceImageProcessor(size=32), Image.fromarray(noise(width, height))
    scaled = image.resize(processor.scaling.scaled_size(width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(torchvision_crop(scaled, 32)).astype(int)
    assert np.abs(processor.resize(image) - expected).max() <= 1
    assert processor(np.zeros((1, 2_000_000, 3), dtype=np.uint8))["pixel_values"].shape == (1, 3, 32, 32)


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
    cropped, view = processor.resize(image) / 255, processor.scaling.view(width, height)
    seen = (cropped[0, 0, 0], cropped[0, 0, 1], cropped[-1, -1, 0], cropped[-1, -1, 1])
    assert np.allclose(seen, view, atol=0.03)
    assert FlorenceImageProcessor(fit="squash").scaling.view(width, height) == (0.0, 0.0, 1.0, 1.0)


def test_the_region_view_is_saved_with_the_processor(tmp_path: Path) -> None:
    FlorenceImageProcessor(size=32, region_view="masked").save_pretrained(tmp_path)
    assert FlorenceImageProcessor.from_pretrained(tmp_path).region_view == "masked"
    assert FlorenceImageProcessor().region_view == "crop"
    with pytest.raises(ValueError, match="region_view is 'blurred'"):
        FlorenceImageProcessor(region_view="blurred")


def test_a_special_token_that_a_text_spells_is_text() -> None:
    processor = FlorenceProcessor.from_pretrained(ASSETS / "florence_tiny" / "meter")
    special = set(processor.tokenizer.all_special_ids)
    (ids,) = processor(text="a red </s> bus <mask> <s>")["input_ids"].tolist()
    assert special.isdisjoint(ids[1:-1]) and {ids[0], ids[-1]} <= special
