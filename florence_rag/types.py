"""The records that flow through the pipeline: frozen, printable, without torch and without I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

Media = Literal["image", "video", "text", "pdf"]
Kind = Literal["image", "page", "clip", "text"]
Box = tuple[float, float, float, float]
Frame = np.ndarray
"""One picture: (H, W, 3) uint8, RGB, upright."""

_CHUNK_ID = re.compile(r"[0-9a-f]{32}")

KINDS: tuple[Kind, ...] = ("image", "page", "clip", "text")
MEDIA_OF_KIND: Mapping[Kind, Media] = {"image": "image", "page": "pdf", "clip": "video", "text": "text"}


@dataclass(frozen=True, slots=True)
class Source:
    """One file that can be indexed, or one item that a program gave.

    uri: absolute path, or item_uri of the item. modified_ns: the file's mtime in nanoseconds. content_hash: hex digest
    of its bytes.
    """

    uri: str
    media: Media
    size_bytes: int
    modified_ns: int
    content_hash: str


ITEM_IMAGE = "item_image"
"""The key of an item's metadata that says where its image is: {"file": ..., "hash": ...}."""

PERCEPTUAL_HASH = "perceptual_hash"
"""The key of a chunk's metadata that holds the perceptual hash of its image."""

RESERVED_METADATA = frozenset({ITEM_IMAGE, PERCEPTUAL_HASH})
"""Keys that only florence_rag may set in the metadata of a chunk."""


def item_uri(id: str) -> str:
    """Return the uri of the source that an item forms; no path and no URL has this form."""
    return f"item:{id}"


def middle_index(frames: Sequence[Frame]) -> int:
    """Return the position of the only frame, or of the middle keyframe of a clip."""
    return len(frames) // 2


def middle_frame(frames: Sequence[Frame]) -> Frame:
    """Return the only frame, or the middle keyframe of a clip, which stands for the whole clip."""
    return frames[middle_index(frames)]


@dataclass(frozen=True, slots=True)
class Locator:
    """Where inside its source a chunk lies; None where a coordinate does not apply.

    page counts from 1; box is (left, top, right, bottom) in [0, 1] of the picture; start_s and end_s are seconds
    from the start of the video; span is (start, end) in characters of the decoded text.
    """

    page: int | None = None
    box: Box | None = None
    start_s: float | None = None
    end_s: float | None = None
    span: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Only the coordinates that apply, as JSON-ready values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value is not None
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Locator:
        """The inverse of to_dict. Unknown names raise TypeError."""
        coordinates: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**coordinates)

    def __str__(self) -> str:
        parts = []
        if self.page is not None:
            parts.append(f"page {self.page}")
        if self.start_s is not None and self.end_s is not None:
            parts.append(f"{self.start_s:.1f}-{self.end_s:.1f} s")
        if self.span is not None:
            parts.append(f"characters {self.span[0]}-{self.span[1]}")
        if self.box is not None:
            parts.append("box " + " ".join(f"{edge:.2f}" for edge in self.box))
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The unit that is embedded, stored and cited.

    frames: the pictures of the chunk: one for an image or a page, the keyframes for a clip, none for text.
    text: a passage, the text layer of a page or a transcript; caption and ocr: what perception models said of frames.
    custom_id: the id, where it does not follow from the rest.
    """

    source: Source
    kind: Kind
    locator: Locator = Locator()
    text: str = ""
    caption: str = ""
    ocr: str = ""
    frames: tuple[Frame, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    custom_id: str = ""

    @property
    def id(self) -> str:
        """32 hex digits from where the chunk lies and what its source contains: equal on every machine and run; or the
        given id."""
        if self.custom_id:
            return self.custom_id
        key = "\0".join((self.source.uri, self.source.content_hash, self.kind, repr(self.locator)))
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def is_chunk_id(text: str) -> bool:
    """Return whether a text has the form of a chunk id that follows from a file: 32 hex digits."""
    return _CHUNK_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """What an index must remember of the embedder that filled it.

    fingerprint: digest of the weights; preprocessing: digest or words for how pixels and text are prepared.
    """

    name: str
    fingerprint: str
    dimension: int
    preprocessing: str

    @property
    def digest(self) -> str:
        """Eight hex digits that differ between embedders whose vectors cannot be compared."""
        parts = (self.name, self.fingerprint, str(self.dimension), self.preprocessing)
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found by a search.

    source: the file it lies in; of an item that a program gave, what its metadata call "source", or else its uri.
    score: larger is better, comparable within one search only.
    explanation: one line for a person, such as "looks like the query (0.31)".
    grouped_hits: other hits shown as one with it, best first: other clips of its video, near-duplicate images, other
    shots of its burst.
    is_item: whether a program gave it under this id.
    """

    id: str
    kind: Kind
    source: str
    locator: Locator
    score: float
    text: str = ""
    caption: str = ""
    ocr: str = ""
    explanation: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    grouped_hits: tuple[Hit, ...] = ()
    is_item: bool = False

    @property
    def uri(self) -> str:
        """Of its source, as the index lists it."""
        return item_uri(self.id) if self.is_item else self.source

    @property
    def content(self) -> str:
        """All words known of the chunk, for a reader that cannot see: caption, text, then what was read in it."""
        return "\n".join(part for part in (self.caption, self.text, self.ocr) if part)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        row: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "source": self.source,
            "score": self.score,
            "locator": self.locator.to_dict(),
            "text": self.content,
            "explanation": self.explanation,
        }
        if self.metadata:
            row["metadata"] = dict(self.metadata)
        if self.grouped_hits:
            row["grouped_hits"] = [moment.to_dict() for moment in self.grouped_hits]
        return row


@dataclass(frozen=True, slots=True)
class Citation:
    """Where an answer comes from.

    quote: the words relied on; "" where a picture was looked at. thumbnail: a small JPEG as data URI, of a picture that
    lies in no index, for no id leads back to it; "" for all others, which `florence_rag.viz.thumbnail_of` draws.
    remembered: when and how this was asked before, in one line, if nobody looked this time.
    """

    id: str
    kind: Kind
    source: str
    locator: Locator
    quote: str = ""
    confidence: float | None = None
    thumbnail: str = ""
    remembered: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; thumbnail and remembered only where there are such."""
        row = {**asdict(self), "locator": self.locator.to_dict()}
        return {name: value for name, value in row.items() if value or name not in ("thumbnail", "remembered")}


@dataclass(frozen=True, slots=True)
class Answer:
    """A grounded answer. confidence in [0, 1], or None where the answering model gives none.

    candidates: other answers considered, with their confidence, best first.
    """

    answer: str
    confidence: float | None
    citations: tuple[Citation, ...] = ()
    candidates: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "answer": self.answer,
            "confidence": self.confidence,
            "citations": [citation.to_dict() for citation in self.citations],
            "candidates": [list(candidate) for candidate in self.candidates],
        }


@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be indexed, and the one-line reason."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class SkippedSource:
    """A file that was looked at and is not indexed, as it was then: until it changes it need not be looked at again.

    reason: one line. like: the uri of the file that is indexed in its place, of a near-duplicate; "" of a failure.
    """

    source: Source
    reason: str
    duplicate_of: str = ""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A file that is not indexed because another, which is, looks the same."""

    source: str
    duplicate_of: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one file in the index."""

    event: Literal["added", "updated", "removed"]
    source: str


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What one index run did, counted in files.

    failed: also those that failed before and have not changed since. near_duplicates: those that are left out for it.
    changes: what was added, updated and removed, file by file.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failed: tuple[Failure, ...] = ()
    near_duplicates: tuple[NearDuplicate, ...] = ()
    changes: tuple[Change, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the changes, of which there may be millions."""
        return {name: value for name, value in asdict(replace(self, changes=())).items() if name != "changes"}
