"""The limits for the images that a chat model receives at once."""

from dataclasses import dataclass

from florence_rag.errors import InputError
from florence_rag.validation import validate_arguments

PIXELS_PER_TOKEN = 750
"""Anthropic's formula for an image in a chat (width * height / 750); other providers charge about that or less."""
MIN_PIXELS = 160 * 160
"""Below this size, an image is not worth sending."""


@validate_arguments
@dataclass(frozen=True, slots=True)
class Budget:
    """The limits for all images of one tool result, or of one turn of a chat.

    Attributes:
        max_images: The number of image blocks, at least 0.
        max_pixels: The number of pixels of all images, at least 0.
        max_tokens: The number of tokens of all images, at `PIXELS_PER_TOKEN`; the smaller limit applies.

    Raises:
        InputError: If a limit is negative.
    """

    max_images: int = 4
    max_pixels: int = 2_000_000
    max_tokens: int = 2_400

    def __post_init__(self) -> None:
        if min(self.max_images, self.max_pixels, self.max_tokens) < 0:
            raise InputError("max_images, max_pixels and max_tokens must be at least 0")

    @property
    def pixels(self) -> int:
        """The number of pixels that all images may have."""
        return min(self.max_pixels, self.max_tokens * PIXELS_PER_TOKEN)
