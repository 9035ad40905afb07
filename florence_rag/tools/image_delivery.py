"""How a tool's pictures reach the model: in the tool message, in a user message after it, or told in words.

Models differ. Some take pictures in a tool message; others refuse the request or pass over them in silence, and take
pictures from the user only; others see nothing. All of them are held to a budget: where a result has more pictures
than it allows, one sheet of numbered tiles stands for them, and the artifact still names every original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from PIL import Image

from florence_rag.errors import InputError
from florence_rag.jpeg import to_jpeg
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.detect_objects import detector_of, region_to_text
from florence_rag.tools.formatting import clean, place_to_text
from florence_rag.tools.image_ref import ImageRef
from florence_rag.tools.result_format import fenced
from florence_rag.types import Frame, Hit
from florence_rag.viz.contact_sheet import draw_tiles
from florence_rag.viz.jpeg import scaled

ImageMode = Literal["auto", "tool", "user", "text"]
"""tool: image blocks in the tool message. user: in a user message after it. text: words instead. auto: as the model
says that it can."""

PIXELS_PER_TOKEN = 750
"""Of a picture in a chat, by Anthropic's formula (width * height / 750); others charge about that or less."""
MIN_PIXELS = 160 * 160
"""Below this a picture of its own shows less than a tile of a sheet would tell."""
FOUND = frozenset({"hits", "moments"})
"""Artifacts with one of these list what was found; the text of the others says itself what their picture shows."""
TOLD = "\nWhat the pictures show:\n"
WHAT = "What is in the picture?"


@dataclass(frozen=True, slots=True)
class Budget:
    """What the pictures of one tool result may cost, all together.

    max_images: image blocks. max_pixels, max_tokens: the smaller one rules; see PIXELS_PER_TOKEN.
    """

    max_images: int = 4
    max_pixels: int = 2_000_000
    max_tokens: int = 2_400

    def __post_init__(self) -> None:
        if min(self.max_images, self.max_pixels, self.max_tokens) < 0:
            raise InputError("max_images, max_pixels and max_tokens must not be below 0")

    @property
    def pixels(self) -> int:
        """Of all pictures."""
        return min(self.max_pixels, self.max_tokens * PIXELS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """An image block: the file of a JPEG, and its size in pixels."""

    jpeg: bytes
    size: tuple[int, int]


Block = str | RenderedImage


def check_image_mode(image_mode: str) -> ImageMode:
    """InputError for a way that does not exist."""
    if image_mode not in get_args(ImageMode):
        raise InputError(f"image_mode is {image_mode!r}; it must be one of {', '.join(get_args(ImageMode))}")
    return image_mode  # type: ignore[return-value]


class ImageRenderer:
    """Shows what results are about, and remembers the last of it: a conversation is sent anew with each turn."""

    def __init__(self, rag: FlorenceRAG, budget: Budget | None = None, *, remembered: int = 32) -> None:
        budget = budget or Budget()
        self.shown = lru_cache(remembered)(lambda pictures: tuple(images_to_blocks(rag, pictures, budget)))
        self._words = lru_cache(remembered)(
            lambda pictures: "\n".join(images_to_text(rag, pictures[: budget.max_images]))
        )

    def __call__(self, text: str, artifact: Mapping[str, Any], way: ImageMode) -> list[Block]:
        """What a tool message holds: the text, with pictures only for "tool", and with words for them for "text"."""
        if way == "tool":
            return [text, *self.shown(images_in(artifact))]
        if way == "text" and FOUND & set(artifact) and TOLD not in text:
            words = self._words(images_in(artifact))
            return [f"{text}{TOLD}{words}" if words else text]
        return [text]


def images_in(artifact: Any) -> tuple[ImageRef, ...]:
    """What the artifact of a tool result names; () for the artifact of another tool."""
    named = artifact.get("images") if isinstance(artifact, Mapping) else None
    try:
        return tuple(ImageRef.from_dict(values) for values in named or ())
    except TypeError:
        return ()


def images_to_blocks(rag: FlorenceRAG, pictures: Sequence[ImageRef], budget: Budget) -> list[Block]:
    """Within the budget: each picture under its name, or one sheet of numbered tiles; nothing where neither fits."""
    if not budget.max_images or budget.pixels < MIN_PIXELS:
        return []
    found = [(picture, *loaded) for picture in pictures if (loaded := picture.load(rag))]
    if len(found) <= budget.max_images and budget.pixels // max(1, len(found)) >= MIN_PIXELS:
        share = budget.pixels // max(1, len(found))
        return [block for picture, hit, frame in found for block in _named(picture, hit, frame, share)]
    sheet = draw_tiles([(picture.number, frame) for picture, _, frame in found], budget.pixels)
    numbers = ", ".join(str(picture.number) for picture, _, _ in found)
    return [f"The pictures of the results {numbers} on one sheet, each under its number:", _shown(sheet)]


def images_to_text(rag: FlorenceRAG, pictures: Sequence[ImageRef]) -> Iterator[str]:
    """For a model that sees nothing: what other models say of each picture, a line each."""
    for picture in pictures:
        if loaded := picture.load(rag):
            hit, frame = loaded
            if told := "; ".join(_told(rag, hit, frame)):
                yield f"{picture.number}. {fenced(clean(told))}"


def _named(picture: ImageRef, hit: Hit | None, frame: Frame, share: int) -> list[Block]:
    place = place_to_text(hit) if hit else "the given picture"
    return [f"Picture of result {picture.number}, {place}:", _shown(scaled(Image.fromarray(frame), share))]


def _shown(picture: Image.Image) -> RenderedImage:
    return RenderedImage(to_jpeg(picture), picture.size)


def _told(rag: FlorenceRAG, hit: Hit | None, frame: Frame) -> Iterator[str]:
    """Caption, words and objects, as far as there are models for them; without a captioner an answer. What stands in
    the index is in the text of the result already."""
    if not (hit and hit.caption):
        if rag.models.captioner is not None:
            yield from filter(None, rag.models.captioner.get().caption([frame]))
        elif rag.models.vqa is not None:
            seen = rag.ask_image(frame, WHAT)
            sure = "" if seen.confidence is None else f" (confidence {seen.confidence:.2f})"
            yield f'asked "{WHAT}": {seen.answer}{sure}'
    reader = rag.models.ocr_reader
    if reader is not None and not (hit and hit.ocr) and (lines := reader.get().read(frame)):
        yield f"words: {' / '.join(line.text for line in lines)}"
    if (detector := detector_of(rag)) and (regions := detector.detect([frame])[0]):
        yield f"objects: {', '.join(map(region_to_text, regions[:10]))}"
