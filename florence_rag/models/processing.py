"""Images and texts to tensors: one image processor for all our networks, and a processor that joins it to a tokenizer.

Preprocessing of the published models: microsoft/UniCL (enlarge, crop) and zdou0830/METER (crop without enlarging).
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoProcessor, BatchFeature, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.dyhead import DetectorOutput, DyHeadDetectorConfig, detect_objects
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.image_scaling import ImageScaling
from florence_rag.models.text_normalization import normalize_text

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

ImageInput = Image.Image | np.ndarray


class FlorenceImageProcessor(BaseImageProcessor):
    """Resize, optionally crop, and normalize.

    Args:
        size: The side of the square output in pixels.
        fit: "squash" scales both sides to `size` and keeps the whole image. "crop" scales the shorter side to
            `size * enlarge` and cuts out the center.
        enlarge: 256 / 224 for UniCL, 1 for METER.
        resample: A filter of Pillow.
        image_mean: The mean of each channel, of values in [0, 1].
        image_std: The standard deviation of each channel.
        scale_alpha: Whether an image is scaled with its transparency, which is then dropped, as METER over CLIP was
            trained. By default the transparency is dropped first.
        region_view: How the network sees a part of an image: "crop", or "masked" with the rest blank.
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
        region_view: Literal["crop", "masked"] = "crop",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if region_view not in ("crop", "masked"):
            raise ValueError(f"region_view is {region_view!r}; it must be 'crop' or 'masked'")
        if fit not in ("squash", "crop"):
            raise ValueError(f"fit is {fit!r}; it must be 'squash' or 'crop'")
        self.size, self.fit, self.enlarge, self.resample = size, fit, enlarge, int(resample)
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.scale_alpha, self.region_view = scale_alpha, region_view

    def __call__(  # type: ignore[override]  # only what all our models share
        self, images: ImageInput | Sequence[ImageInput], return_tensors: str | None = "pt", **_: Any
    ) -> BatchFeature:
        """PIL images or (H, W, 3) uint8 RGB arrays -> {"pixel_values": (B, 3, size, size) float32}."""
        batch = [images] if isinstance(images, (Image.Image, np.ndarray)) else list(images)
        pixels = torch.from_numpy(np.stack([self.resize(image) for image in batch]))
        return BatchFeature({"pixel_values": self.normalize_pixels(pixels)}, tensor_type=return_tensors)

    @property
    def scaling(self) -> ImageScaling:
        """How images are scaled and cropped."""
        square = self.size, self.size
        if self.fit == "squash":
            return ImageScaling(square, self.resample)
        return ImageScaling(int(self.enlarge * self.size), self.resample, square, rounds_corner=True)

    def resize(self, image: ImageInput) -> np.ndarray:
        """Resize one image -> (size, size, 3) uint8."""
        scaled = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        scaled = scaled.convert("RGBA" if scaled.has_transparency_data else "RGB")
        if not self.scale_alpha:
            scaled = scaled.convert("RGB")
        return np.asarray(self.scaling.resize(scaled).convert("RGB"))

    def normalize_pixels(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, minus mean, divided by std."""
        mean = torch.tensor(self.image_mean) * 255
        std = torch.tensor(self.image_std) * 255
        return pixels.float().sub_(mean).div_(std).permute(0, 3, 1, 2).contiguous()


class DetectionImageProcessor(FlorenceImageProcessor):
    """FlorenceImageProcessor that also converts the detector's output into detections."""

    def post_process_object_detection(
        self,
        outputs: DetectorOutput,
        threshold: float = 0.5,
        target_sizes: Sequence[tuple[int, int]] | Tensor | None = None,
    ) -> list[dict[str, Tensor]]:
        """Return for each image "scores" (N,) of at least `threshold`, "labels" (N,) and "boxes" (N, 4), best first.

        Boxes are left, top, right, bottom, in pixels if `target_sizes` has the height and width of each image, and
        else in fractions of the network's input.
        """
        detections = detect_objects(outputs, threshold=threshold)
        if target_sizes is None:
            return detections
        for each, (height, width) in zip(detections, torch.as_tensor(target_sizes).tolist(), strict=True):
            boxes = each["boxes"]
            left, top, right, bottom = self.scaling.view(width, height)
            size, corner = (boxes.new_tensor(pair).repeat(2) for pair in ([right - left, bottom - top], [left, top]))
            each["boxes"] = (boxes * size + corner) * boxes.new_tensor([width, height]).repeat(2)
        return detections


class FlorenceProcessor(ProcessorMixin):
    """Image processor and tokenizer of the dual encoder and of METER.

    Texts are padded to the longest and cut at the tokenizer's model_max_length.

    Args:
        image_processor: Prepares the images.
        tokenizer: Prepares the texts.
        normalizes_text: Whether HTML entities, curly quotes, ligatures and broken encodings are normalized first, as
            CLIP's own tokenizer does and the one in transformers does not.
    """

    def __init__(
        self, image_processor: FlorenceImageProcessor, tokenizer: Any, normalizes_text: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, **kwargs)
        self.normalizes_text = normalizes_text

    def __call__(
        self,
        images: ImageInput | Sequence[ImageInput] | None = None,
        text: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        **_: Any,
    ) -> BatchFeature:
        """Return pixel_values (B_i, 3, H, W) of images, and input_ids and attention_mask (B_t, L) of texts."""
        features: dict[str, Any] = {}
        if images is not None:
            features.update(self.image_processor(images, return_tensors=return_tensors))
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            texts = [normalize_text(text) for text in texts] if self.normalizes_text else texts
            # A text that spells a special token, such as </s>, is text: it must not end the input.
            options = {"padding": True, "truncation": True, "split_special_tokens": True}
            encoded = self.tokenizer(texts, return_tensors=return_tensors, **options)
            features.update(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        return BatchFeature(features)


AutoImageProcessor.register(CoSwinConfig, image_processor_classes={"pil": FlorenceImageProcessor})
AutoImageProcessor.register(FlorenceConfig, image_processor_classes={"pil": FlorenceImageProcessor})
AutoImageProcessor.register(DyHeadDetectorConfig, image_processor_classes={"pil": DetectionImageProcessor})
AutoProcessor.register(FlorenceConfig, FlorenceProcessor)
