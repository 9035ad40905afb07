"""How sources are cut into chunks: sizes of pictures, clips and passages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from florence_rag.errors import InputError

MAX_TEXT_BYTES = 60_000
"""The most UTF-8 bytes of text that one chunk carries: vector stores limit a field to 65,535."""

MAX_PASSAGE_WORDS = 250
"""A passage may be half as long again, a word have 40 characters and a character 4 bytes: together MAX_TEXT_BYTES."""


@dataclass(frozen=True, slots=True)
class ChunkingConfig:
    """The defaults suit photographs, films and articles.

    image_side_px, page_side_px, keyframe_side_px: the longer side of the pictures handed on; larger ones are
    scaled down. image_detail_px: JPEGs are decoded at a half, a quarter or an eighth of their size, which is faster, as
    long as both sides keep so many pixels; None for as much as image_side_px can hold.
    clip_min_s, clip_max_s: shorter shots join their neighbour, longer ones are cut.
    video_frames: "all" looks at every frame of a video; "key" only at those that are coded without their neighbours,
    often one in some seconds: several times as fast, with shots that begin and end at them.
    keyframes: the most pictures taken from one clip. passage_words: the aim for a passage of text.
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


def fit_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The longest beginning of the text that fits into so many UTF-8 bytes."""
    data = text.encode("utf-8")
    return text if len(data) <= max_bytes else data[:max_bytes].decode("utf-8", "ignore")
