"""The size of the images that Florence-2 captions, checked without PyTorch."""

from florence_rag.errors import InputError
from florence_rag.validation import check_type


def check_caption_px(side_px: int, stride: int = 32, usual_px: int = 768) -> None:
    """Raise InputError unless a side in pixels is a multiple of the stride of the model, and at most its usual side."""
    check_type(side_px, int, "caption_px")
    if side_px % stride or not 0 < side_px <= usual_px:
        raise InputError(f"caption_px is {side_px}; give a multiple of {stride} of at most {usual_px}")
