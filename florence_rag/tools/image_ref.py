"""A reference to an image of a tool result: it survives JSON, and the image is loaded only to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.types import Frame, Hit, middle_index
from florence_rag.viz.jpeg import data_uri, from_data_uri
from florence_rag.viz.thumbnails import FrameProvider


@dataclass(frozen=True, slots=True)
class ImageRef:
    """A reference to one image.

    Attributes:
        number: The number of the result in the text, from 1.
        id: The id of its chunk; "" if the image is not in the index.
        keyframe: The position of the frame within the chunk; None for the middle one.
        data: A JPEG as a data URI, if the image is not in the index and could not be found again.
    """

    number: int
    id: str
    keyframe: int | None = None
    data: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that have a value, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageRef:
        """Return the reference that `to_dict` described."""
        return cls(**{"id": "", **values})

    def load(self, provider: FrameProvider) -> tuple[Hit | None, Frame] | None:
        """Return the hit, if the image is in the index, and its pixels; None if the chunk or its file is gone."""
        if self.data:
            return None, read_image(from_data_uri(self.data))
        try:
            hit = next(iter(provider.get([self.id])), None)
            frames = provider.frames(hit) if hit else ()
        except InputError:
            return None
        if not frames:
            return None
        position = middle_index(frames) if self.keyframe is None else min(self.keyframe, len(frames) - 1)
        return hit, frames[position]


def images_of(hits: Iterable[Hit]) -> tuple[ImageRef, ...]:
    """Return one reference per hit that has an image, numbered by its position among the hits."""
    return tuple(ImageRef(number, hit.id) for number, hit in enumerate(hits, start=1) if hit.kind != "text")


def image_of(hit: Hit, frame: Frame, keyframe: int) -> ImageRef:
    """Return a reference to the frame of a hit, or to an image outside the index."""
    if not hit.id:
        return ImageRef(1, "", data=data_uri(frame))
    return ImageRef(1, hit.id, keyframe if hit.kind == "clip" else None)
