"""Says of pictures what they show: of files, of pixels, and of what is indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from florence_rag.errors import InputError
from florence_rag.image_store import ImageInput, image_name, readable
from florence_rag.perception.base import Captioner
from florence_rag.types import Failure, Frame, Hit, middle_frame

_BATCH = 32


@dataclass(frozen=True, slots=True)
class Described:
    """caption: "" where the model says nothing. id: of an indexed picture, "" of any other."""

    source: str
    caption: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Descriptions:
    """What was said of each picture, in their order, and the files that could not be read."""

    images: tuple[Described, ...]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def describe_pictures(
    captioner: Captioner,
    images: Iterable[ImageInput],
    look: Callable[[ImageInput], tuple[Hit, tuple[Frame, ...]]],
) -> Descriptions:
    """look: opens a picture; of a clip's keyframes the middle one is told, as when it is indexed."""
    if isinstance(images, str | bytes) or not isinstance(images, Iterable):
        raise InputError(f"images is {images!r:.80}; give a list of pictures")
    failed: list[Failure] = []
    described: list[Described] = []
    looked = readable(images, look, failed, image_name)
    while batch := list(islice(looked, _BATCH)):
        captions = captioner.caption([middle_frame(frames) for _, frames in batch])
        said = zip(batch, captions, strict=True)
        described += [Described(hit.source, caption, hit.id) for (hit, _), caption in said]
    return Descriptions(tuple(described), tuple(failed))
