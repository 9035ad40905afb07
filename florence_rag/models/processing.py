"""Pixels and words to tensors: one image processor for all our networks, and processors that join it to a tokenizer.

Preprocessing of the published models: microsoft/UniCL (enlarge, crop) and zdou0830/METER (crop without enlarging).
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Literal

import ftfy
import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Picture = Image.Image | np.ndarray


class FlorenceImageProcessor(BaseImageProcessor):
    """Resize, optionally crop, and normalize.

    size: side of the square output in pixels. fit: "squash" scales both sides to size, so that nothing is lost;
    "crop" scales the shorter side to size * enlarge and cuts the center out. enlarge: 256 / 224 for UniCL, 1 for METER.
    image_mean, image_std: per channel, of values in [0, 1]. scale_alpha: scale an image with its transparency and drop
    this afterwards, as METER over CLIP was trained; otherwise it is dropped first.
    region_view: how the network is best shown a part of an image: cut out, or in its place with the rest blank.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int = 224,
        fit: Literal["squash", "crop"] = "crop",
        enlarge: float = 256 / 224,
        resample: int = Image.Resampling.BICUBIC,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        scale_alpha: bool = False,
        region_view: Literal["cut out", "in place"] = "cut out",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if region_view not in ("cut out", "in place"):
            raise ValueError(f"region_view is {region_view!r}; it must be 'cut out' or 'in place'")
        self.region_view = region_view
        if fit not in ("squash", "crop"):
            raise ValueError(f"fit is {fit!r}; it must be 'squash' or 'crop'")
        self.size, self.fit, self.enlarge, self.resample = size, fit, enlarge, int(resample)
        self.image_mean, self.image_std, self.scale_alpha = list(image_mean), list(image_std), scale_alpha

    def __call__(  # type: ignore[override]  # only what all our models share
        self, images: Picture | Sequence[Picture], return_tensors: str | None = "pt", **_: Any
    ) -> BatchFeature:
        """PIL images or (H, W, 3) uint8 RGB arrays -> {"pixel_values": (B, 3, size, size) float32}."""
        batch = [images] if isinstance(images, (Image.Image, np.ndarray)) else list(images)
        pixels = torch.from_numpy(np.stack([self.resize(image) for image in batch]))
        return BatchFeature({"pixel_values": self.normalize_pixels(pixels)}, tensor_type=return_tensors)

    def resize(self, image: Picture) -> np.ndarray:
        """Resize one image -> (size, size, 3) uint8."""
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        if picture.mode != "RGB" and not (self.scale_alpha and picture.mode == "RGBA"):
            picture = picture.convert("RGB")
        width, height = self.scaled_size(*picture.size)
        picture = picture.resize((width, height), self.resample)
        if self.fit == "squash":
            return np.asarray(picture.convert("RGB"))
        left, top = self._corner(width, height)
        return np.asarray(picture.crop((left, top, left + self.size, top + self.size)).convert("RGB"))

    def view(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of an image of this size that is left: left, top, right, bottom, in [0, 1] where it was larger."""
        if self.fit == "squash":
            return 0.0, 0.0, 1.0, 1.0
        width, height = self.scaled_size(width, height)
        left, top = self._corner(width, height)
        return left / width, top / height, (left + self.size) / width, (top + self.size) / height

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, before anything is cut away, of an image of so many pixels."""
        if self.fit == "squash":
            return self.size, self.size
        shorter, smallest = int(self.enlarge * self.size), min(width, height)
        # The longer side is truncated, not rounded, as torchvision's Resize does.
        scale = shorter / smallest
        return (
            shorter if width == smallest else int(width * scale),
            shorter if height == smallest else int(height * scale),
        )

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        """Return left and top of the center crop."""
        return round((width - self.size) / 2), round((height - self.size) / 2)

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, minus mean, divided by std."""
        mean = torch.tensor(self.image_mean) * 255
        std = torch.tensor(self.image_std) * 255
        return pixels.float().sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()


class FlorenceProcessor(ProcessorMixin):
    """Image processor and tokenizer of the dual encoder and of METER.

    Texts are padded to the longest and cut at the tokenizer's model_max_length. mend_text: undo HTML entities, curly
    quotes, ligatures and broken encodings first, as CLIP's own tokenizer does and its twin in transformers does not.
    """

    def __init__(
        self, image_processor: FlorenceImageProcessor, tokenizer: Any, mend_text: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)
        self.mend_text = mend_text

    def __call__(
        self,
        images: Picture | Sequence[Picture] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **_: Any,
    ) -> BatchFeature:
        """-> pixel_values (B_i, 3, H, W) and/or input_ids, attention_mask (B_t, L), as far as given."""
        features: dict[str, Any] = {}
        if images is not None:
            features.update(self.image_processor(images, return_tensors=return_tensors))
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            texts = [mended(text) for text in texts] if self.mend_text else texts
            encoded = self.tokenizer(texts, padding=True, truncation=True, return_tensors=return_tensors)
            features.update(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        return BatchFeature(features)


def mended(text: str) -> str:
    """The text as CLIP's reference tokenizer (openai/CLIP) reads it."""
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


AutoImageProcessor.register(CoSwinConfig, image_processor_classes={"pil": FlorenceImageProcessor})
AutoImageProcessor.register(FlorenceConfig, image_processor_classes={"pil": FlorenceImageProcessor})
AutoProcessor.register(FlorenceConfig, FlorenceProcessor)
