"""Delivers the images of a tool result to the model: in the tool message, in a user message after it, or as text.

Models differ. Some accept images in a tool message. Others refuse the request or silently ignore them, and accept
images only from the user. Others accept no images. A budget limits all of them: if a result has more images than it
allows, one contact sheet of numbered tiles replaces them, and the artifact still references every original.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, get_args

from PIL import Image

from florence_rag.answering.budget import MIN_PIXELS, Budget
from florence_rag.errors import InputError
from florence_rag.ingest.items import item_content
from florence_rag.jpeg import to_jpeg
from florence_rag.rag import FlorenceRAG
from florence_rag.tools.base import ImageRef
from florence_rag.tools.detect_objects import detection_to_text, detector_of
from florence_rag.tools.formatting import MAX_CHARACTERS
from florence_rag.types import Frame, Hit
from florence_rag.untrusted_text import one_line, place_to_text, quoted
from florence_rag.viz.contact_sheet import draw_tiles
from florence_rag.viz.drawing import scaled

ImageMode = Literal["auto", "tool", "user", "text"]
"""tool: image blocks in the tool message. user: in a user message after it. text: a description instead. auto: what the
model declares."""

SEARCH_KEYS = frozenset({"hits", "moments"})
"""Artifacts with one of these keys list search results; the text of other results describes their image itself."""
DESCRIPTION_HEADING = "\nThe images show:\n"
QUESTION = "What is in the image?"
_CACHED_RESULTS = 32


@dataclass(frozen=True, slots=True)
class RenderedImage:
    """An image block: a JPEG file, and its (width, height) in pixels."""

    jpeg: bytes
    size: tuple[int, int]


Block = str | RenderedImage
R = TypeVar("R")
_Loaded = tuple[ImageRef, Hit | None, Frame]


def check_image_mode(image_mode: str) -> ImageMode:
    """Return the mode; raise InputError if it is unknown."""
    if image_mode not in get_args(ImageMode):
        raise InputError(f"image_mode is {image_mode!r}; it must be one of {', '.join(get_args(ImageMode))}")
    return image_mode  # type: ignore[return-value]


class ImageRenderer:
    """Renders the images of tool results, with a cache, because a conversation is sent again at each turn.

    Args:
        rag: The index that the tools work on.
        budget: The limits for the images of one result.
    """

    def __init__(self, rag: FlorenceRAG, budget: Budget | None = None) -> None:
        self._budget = budget = budget or Budget()
        self._blocks = _cached(rag, lambda loaded: tuple(_to_blocks(loaded, budget)))
        self._descriptions = _cached(rag, lambda loaded: "\n".join(_to_text(rag, loaded)))

    def __call__(self, text: str, artifact: Mapping[str, Any], mode: ImageMode) -> list[Block]:
        """Return the content of a tool message: the text, with images for "tool" and their description for "text"."""
        if mode == "tool":
            return [text, *self.blocks(images_in(artifact))]
        # Only fences hold lines of files, so a heading after the last fence is ours.
        if mode == "text" and SEARCH_KEYS & set(artifact) and DESCRIPTION_HEADING not in text.rpartition(">>>")[2]:
            description = self._descriptions(images_in(artifact)[: self._budget.max_images])
            return [f"{text}{DESCRIPTION_HEADING}{description}" if description else text]
        return [text]

    def blocks(self, images: tuple[ImageRef, ...]) -> tuple[Block, ...]:
        """Return each image with its name, or one contact sheet of numbered tiles; () if neither fits the budget."""
        fits = self._budget.max_images and self._budget.pixels >= MIN_PIXELS
        return self._blocks(images) if fits else ()

    def user_blocks(self, calls: Iterable[tuple[str, str, Any]]) -> list[Block]:
        """Return the images of the (id, tool name, artifact) of some calls, each after a line that names its call."""
        blocks: list[Block] = []
        for id, tool, artifact in calls:
            if images := self.blocks(images_in(artifact)):
                blocks += [f"Images of the call {one_line(id)} of {one_line(tool)}:", *images]
        return blocks


def images_in(artifact: Any) -> tuple[ImageRef, ...]:
    """Return the images that the artifact of a tool result references; () for artifacts of other tools."""
    values = artifact.get("images") if isinstance(artifact, Mapping) else None
    try:
        return tuple(ImageRef(**{"id": "", **each}) for each in values or ())  # `to_dict` omits an empty id
    except TypeError:
        return ()


class _ImageMissing(Exception):
    """Carries a result past a cache, because an image that cannot be loaded now may be there the next time."""


def _cached(rag: FlorenceRAG, render: Callable[[list[_Loaded]], R]) -> Callable[[tuple[ImageRef, ...]], R]:
    """Return a function that renders the images it is given, with a cache by what they show at present."""

    @lru_cache(_CACHED_RESULTS)
    def cached(images: tuple[ImageRef, ...], contents: tuple[str, ...]) -> R:
        loaded = [(image, *found) for image in images if (found := image.load(rag))]
        result = render(loaded)
        if len(loaded) < len(images):
            raise _ImageMissing(result)
        return result

    def rendered(images: tuple[ImageRef, ...]) -> R:
        try:
            contents = tuple(map(item_content, rag.get([image.id for image in images if image.id])))
        except InputError:  # of an id in the artifact of another program, whose image is left out
            contents = ()
        try:
            return cached(images, contents)
        except _ImageMissing as error:
            result: R = error.args[0]
            return result

    return rendered


def _to_blocks(loaded: Sequence[_Loaded], budget: Budget) -> list[Block]:
    pixels_each = budget.pixels // max(1, len(loaded))
    if len(loaded) > budget.max_images or pixels_each < MIN_PIXELS:
        sheet = draw_tiles([(image.number, frame) for image, _, frame in loaded], budget.pixels)
        numbers = ", ".join(str(image.number) for image, _, _ in loaded)
        return [f"The images of the results {numbers} on one contact sheet, each with its number:", _rendered(sheet)]
    blocks: list[Block] = []
    for image, hit, frame in loaded:
        blocks.append(f"Image of result {image.number}, {place_to_text(hit) if hit else 'the given image'}:")
        blocks.append(_rendered(scaled(Image.fromarray(frame), pixels_each)))
    return blocks


def _to_text(rag: FlorenceRAG, loaded: Iterable[_Loaded]) -> Iterator[str]:
    """Yield one line per image that describes it by other models, for a model that accepts no images."""
    for image, hit, frame in loaded:
        if description := "; ".join(_descriptions(rag, hit, frame)):
            yield f"{image.number}. {quoted(description, MAX_CHARACTERS)}"


def _rendered(image: Image.Image) -> RenderedImage:
    return RenderedImage(to_jpeg(image), image.size)


def _descriptions(rag: FlorenceRAG, hit: Hit | None, frame: Frame) -> Iterator[str]:
    """Yield caption, OCR text and objects, as far as there are models for them; without a captioner, an answer.

    What the index holds is already in the text of the result.
    """
    if not (hit and hit.caption):
        if rag.models.captioner is not None:
            yield from filter(None, rag.models.captioner.get().caption([frame]))
        elif rag.models.vqa is not None:
            result = rag.ask_image(frame, QUESTION)
            confidence = "" if result.confidence is None else f" (confidence {result.confidence:.2f})"
            yield f'asked "{QUESTION}": {result.answer}{confidence}'
    reader = rag.models.ocr_reader
    if reader is not None and not (hit and hit.ocr):
        lines = [line.text for line in reader.get().read(frame) if line.text.strip()]
        yield from [f"OCR text: {' / '.join(lines)}"] if lines else []
    if (detector := detector_of(rag)) and (detections := detector.detect([frame])[0]):
        yield f"objects: {', '.join(map(detection_to_text, detections[:10]))}"
