"""Captions images: files, pixels, and images of the index."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from florence_rag.answering.base import frames_or_skip
from florence_rag.batching import batched
from florence_rag.chunking import ImageInput
from florence_rag.context import Context
from florence_rag.errors import InputError, ModelError
from florence_rag.image_store import Resolve, image_name, readable
from florence_rag.perception.base import Captioner
from florence_rag.types import Failure, Frame, Hit, middle_frame

QUESTION = "What is in the image?"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Described:
    """The caption of one image.

    Args:
        source: The file of the image.
        caption: The caption; "" if the model writes none.
        id: The id of an indexed image; "" for any other.
    """

    source: str
    caption: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Descriptions:
    """The captions of images, in their order.

    Args:
        images: One result per image that could be read.
        failed: The files that could not be read.
    """

    images: tuple[Described, ...]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return asdict(self)


def describe_hit(context: Context, hit: Hit) -> str:
    """Return what other models say that the image of a hit shows, beyond its stored text; "" without such a model."""
    models, frames = context.models, frames_or_skip(context.images.frames, hit)
    if hit.caption or not frames:
        return ""
    frame = middle_frame(frames)
    if models.captioner is not None:
        caption = _caption(models.captioner.get(), [frame])[0]
        return caption if isinstance(caption, str) else ""
    return models.vqa.get().answer(frame, QUESTION).answer if models.vqa is not None else ""


def describe_images(captioner: Captioner, images: Iterable[ImageInput], resolve: Resolve) -> Descriptions:
    """Caption images; raise InputError if they are not a list.

    An image that the captioner cannot describe is among the failed ones, unless it describes none: then its ModelError
    is raised.
    """
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        raise InputError(f"images is {images!r:.80}; give a list of images")
    failed: list[Failure] = []
    described: list[Described] = []
    error: ModelError | None = None
    for batch in batched(readable(images, resolve, failed, image_name), _BATCH):
        captions = _caption(captioner, [middle_frame(frames) for _, frames in batch])
        for (hit, _), caption in zip(batch, captions, strict=True):
            if isinstance(caption, str):
                described.append(Described(hit.source, caption, hit.id))
            else:
                failed.append(Failure(hit.source, str(caption)))
                error = caption
    if error is not None and not described:
        raise error
    return Descriptions(tuple(described), tuple(failed))


def _caption(captioner: Captioner, frames: Sequence[Frame]) -> Sequence[str | ModelError]:
    """Caption images together, or, if the captioner fails, one by one."""
    try:
        return captioner.caption(frames)
    except ModelError as error:
        if len(frames) == 1:
            return [error]
        return [result for frame in frames for result in _caption(captioner, [frame])]
