"""Scales and crops images as the processors of image encoders do, with Pillow alone."""

from dataclasses import dataclass

from PIL import Image

_LONG = 32
"""From this ratio of its sides on, only the crop of an image is scaled; a value may then differ by 1 of 255."""


@dataclass(frozen=True, slots=True)
class ImageScaling:
    """How an image gets the size that a network reads.

    Attributes:
        size: The width and height in pixels to which an image is scaled, or the length of its shorter side alone.
        resample: A filter of Pillow.
        crop: The width and height of the center that is cut out afterwards; None to keep the whole image.
        rounds_corner: Whether the corner of the crop is rounded as torchvision does, half to even; otherwise down.
    """

    size: tuple[int, int] | int
    resample: int
    crop: tuple[int, int] | None = None
    rounds_corner: bool = False

    def resize(self, image: Image.Image) -> Image.Image:
        """Scale and crop an image."""
        if self.crop and self.is_long(*image.size):
            left, top, right, bottom = self.view(*image.size)
            box = left * image.width, top * image.height, right * image.width, bottom * image.height
            return image.resize(self.crop, self.resample, box)
        scaled = image.resize(self.scaled_size(*image.size), self.resample)
        if self.crop is None:
            return scaled
        left, top = self._corner(*scaled.size, self.crop)
        return scaled.crop((left, top, left + self.crop[0], top + self.crop[1]))

    def is_long(self, width: int, height: int) -> bool:
        """Return whether an image is so long that its scaled pixels outside the crop would fill the memory."""
        fills_crop = isinstance(self.size, int) and self.crop is not None and self.size >= max(self.crop)
        return fills_crop and max(width, height) > _LONG * min(width, height)

    def view(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return the part of an image of this size that is kept: left, top, right, bottom in fractions of the image.

        The values are in [0, 1] unless the image is smaller than the crop.
        """
        if self.crop is None:
            return 0.0, 0.0, 1.0, 1.0
        width, height = self.scaled_size(width, height)
        left, top = self._corner(width, height, self.crop)
        return left / width, top / height, (left + self.crop[0]) / width, (top + self.crop[1]) / height

    def scaled_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height in pixels to which an image is scaled before it is cropped."""
        if not isinstance(self.size, int):
            return self.size
        smallest = min(width, height)
        # As torchvision's Resize: multiplied first, and the longer side is truncated, not rounded.
        return int(self.size * width / smallest), int(self.size * height / smallest)

    def _corner(self, width: int, height: int, crop: tuple[int, int]) -> tuple[int, int]:
        """Return left and top of the center; negative values mean black borders."""
        margins = width - crop[0], height - crop[1]
        if not self.rounds_corner:
            return margins[0] // 2, margins[1] // 2
        left, top = (round(margin / 2) if margin > 0 else int(margin / 2) for margin in margins)
        return left, top
