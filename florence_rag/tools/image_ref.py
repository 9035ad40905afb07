"""A picture that a tool result is about: a reference that goes through JSON, and is loaded only to be shown."""

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
class Picture:
    """number: of the result in the text. id: of the chunk. keyframe: which picture of it, by default the middle one.

    data: of a picture outside the index, which could not be found again: a JPEG as a data URI.
    """

    number: int
    id: str
    keyframe: int | None = None
    data: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; only what is known."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Picture:
        """The inverse of to_dict."""
        return cls(**{"id": "", **values})

    def load(self, album: FrameProvider) -> tuple[Hit | None, Frame] | None:
        """The pixels, and the hit they belong to if any; None where the chunk or its file is gone by now."""
        if self.data:
            return None, read_image(from_data_uri(self.data))
        try:
            hit = next(iter(album.get([self.id])), None)
            frames = album.frames(hit) if hit else ()
        except InputError:
            return None
        if not frames:
            return None
        place = middle_index(frames) if self.keyframe is None else min(self.keyframe, len(frames) - 1)
        return hit, frames[place]


def pictures_of(hits: Iterable[Hit]) -> tuple[Picture, ...]:
    """One for each hit that has any, with the number of the hit in its list."""
    return tuple(Picture(number, hit.id) for number, hit in enumerate(hits, start=1) if hit.kind != "text")


def picture_of(hit: Hit, frame: Frame, keyframe: int) -> Picture:
    """The one that was looked at."""
    if not hit.id:
        return Picture(1, "", data=data_uri(frame))
    return Picture(1, hit.id, keyframe if hit.kind == "clip" else None)
