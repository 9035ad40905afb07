"""How sources are cut into chunks: the sizes of images, clips and passages."""

from dataclasses import dataclass
from typing import Literal

from florence_rag.errors import InputError
from florence_rag.validation import validate_arguments

MAX_TEXT_BYTES = 60_000
"""The most UTF-8 bytes of text in one chunk: vector stores limit a field to 65,535."""

MAX_PASSAGE_WORDS = 250
"""A passage may be longer by half, with 40 characters a word and 4 bytes a character: together MAX_TEXT_BYTES."""


@validate_arguments
@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    """How sources are cut into chunks. The defaults suit photographs, videos and articles.

    Args:
        image_side_px: The longer side of images, and of pages of image files; larger ones are scaled down. At least 32.
        page_side_px: The longer side of rendered PDF pages. At least 32.
        keyframe_side_px: The longer side of the keyframes of clips, of videos and animations. At least 32.
        image_detail_px: JPEGs are decoded at a half, a quarter or an eighth of their size, which is faster, while both
            sides keep this many pixels. None: image_side_px.
        clip_min_s: Shorter shots are joined with the next one. Above 0.
        clip_max_s: Longer shots are cut. At least 1, and above clip_min_s.
        video_frames: "all" decodes every frame of a video. "key" decodes only key frames, often one in several seconds:
            that is several times as fast, and shots begin and end at key frames.
        keyframes: The most keyframes of one clip. At least 1.
        passage_words: The approximate length of a passage. From 1 to 250.
        find_ocr_boxes: Whether to find the parts of PDF pages that OCR must read, which takes longer than all else.

    Raises:
        InputError: If a value is out of its range.
    """

    image_side_px: int = 1280
    page_side_px: int = 1280
    keyframe_side_px: int = 640
    image_detail_px: int | None = None
    clip_min_s: float = 1.0
    clip_max_s: float = 10.0
    video_frames: Literal["all", "key"] = "all"
    keyframes: int = 3
    passage_words: int = 120
    find_ocr_boxes: bool = True

    def __post_init__(self) -> None:
        for name in ("image_side_px", "page_side_px", "keyframe_side_px", "image_detail_px"):
            if (pixels := getattr(self, name)) is not None and pixels < 32:
                raise InputError(f"{name} is {pixels!r}; give at least 32")
        if not 0 < self.clip_min_s < self.clip_max_s or self.clip_max_s < 1:
            raise InputError(
                f"clip_min_s is {self.clip_min_s!r} and clip_max_s {self.clip_max_s!r}; "
                "give 0 < clip_min_s < clip_max_s, the latter at least 1"
            )
        if self.video_frames not in ("all", "key"):
            raise InputError(f"video_frames is {self.video_frames!r}; allowed are 'all' and 'key'")
        if self.keyframes < 1:
            raise InputError(f"keyframes is {self.keyframes!r}; give at least 1")
        if not 1 <= self.passage_words <= MAX_PASSAGE_WORDS:
            raise InputError(f"passage_words is {self.passage_words!r}; give 1 to {MAX_PASSAGE_WORDS}")


FULL_SIZE = ChunkingConfig(image_side_px=1_000_000, keyframe_side_px=1_000_000)
"""Reads images and keyframes in the size of the file, for small print."""


def fit_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the longest beginning of a text that fits into max_bytes of UTF-8."""
    data = text.encode("utf-8")
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore")
