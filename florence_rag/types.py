"""The records that flow through the pipeline: frozen, printable, without torch and without I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np

from florence_rag.errors import InputError
from florence_rag.validation import validate_arguments

Media = Literal["image", "video", "text", "pdf", "office"]
Kind = Literal["image", "page", "clip", "text"]
Box = tuple[float, float, float, float]
Frame = np.ndarray
"""An image: (H, W, 3) uint8, RGB, upright."""

KINDS: tuple[Kind, ...] = ("image", "page", "clip", "text")
MEDIA_OF_KIND: Mapping[Kind, Media] = {"image": "image", "page": "pdf", "clip": "video", "text": "text"}


@validate_arguments
@dataclass(frozen=True, slots=True)
class Source:
    """A file, URL or member of a container that can be indexed, or an item that a program adds.

    Attributes:
        uri: An absolute path, a URL, the uri of a member, or `item_uri` of an item.
        media: The medium.
        size_bytes: The size in bytes.
        modified_ns: The modification time, in nanoseconds since the epoch.
        content_hash: The hex digest of the bytes.
    """

    uri: str
    media: Media
    size_bytes: int
    modified_ns: int
    content_hash: str


ITEM_IMAGE = "item_image"
"""The key of an item's metadata that says where its image is: {"file": ..., "hash": ...}, with {"captioned": True} if a
model wrote its caption."""

PERCEPTUAL_HASH = "perceptual_hash"
"""The key of a chunk's metadata that holds the perceptual hash of its image."""

CONTINUES = "continues"
"""The key in the metadata of a clip that continues the shot of the previous clip."""

TIME_RESTARTS = "time_restarts"
"""The key in the metadata of clips of a video that must be read from its beginning, because places share a time."""

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


@validate_arguments
@dataclass(frozen=True, slots=True)
class Locator:
    """The place of a chunk within its source. Coordinates that do not apply are None.

    Attributes:
        page: The page of a document or the slide of a presentation, from 1.
        box: (left, top, right, bottom), each in [0, 1] of the image.
        start_s: The start in seconds from the start of the video.
        end_s: The end in seconds from the start of the video.
        span: (start, end) in characters of the decoded text.
        part: The name of an image in an office document or e-book, such as "word/media/image1.png".
    """

    page: int | None = None
    box: Box | None = None
    start_s: float | None = None
    end_s: float | None = None
    span: tuple[int, int] | None = None
    part: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the coordinates that apply, ready for JSON."""
        row = {name: getattr(self, name) for name in self.__slots__}  # asdict takes ten times as long
        return {name: list(each) if isinstance(each, tuple) else each for name, each in row.items() if each is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Locator:
        """Return the locator that `to_dict` described, or raise InputError if a name is unknown."""
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise InputError(
                f"values has the unknown name {unknown[0]!r}; use {', '.join(f.name for f in fields(cls))}"
            )
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
        if self.part is not None:
            parts.append(self.part)
        if self.box is not None:
            parts.append("box " + " ".join(f"{edge:.2f}" for edge in self.box))
        return ", ".join(parts)


@validate_arguments
@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The unit that is embedded, stored and cited.

    Attributes:
        source: The source that contains it.
        kind: The kind of chunk.
        locator: Its place in the source.
        text: The passage, the text layer of the page, or the transcript of the clip.
        caption: The caption of the frames.
        ocr: The OCR text of the frames.
        frames: One frame of an image or a page, the keyframes of a clip, none of a text.
        metadata: Values to filter by.
        custom_id: The id of an item; "" if the id follows from the content.
        ocr_boxes: The parts of the frame of a page that show words which `text` lacks, such as scans and figures.
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
    ocr_boxes: tuple[Box, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The memory of the frames."""
        return sum(frame.nbytes for frame in self.frames)

    @property
    def id(self) -> str:
        """The custom id, or 32 hex digits that follow from source, content and locator on every machine."""
        if self.custom_id:
            return self.custom_id
        key = "\0".join((self.source.uri, self.source.content_hash, self.kind, repr(self.locator)))
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def is_chunk_id(text: str) -> bool:
    """Return whether a text has the form of a chunk id that follows from a file: 32 hex digits."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


@validate_arguments
@dataclass(frozen=True, slots=True)
class EmbedderInfo:
    """The properties of an embedder that an index records, so that no other embedder searches it.

    Attributes:
        name: The name of the model.
        fingerprint: A digest of the weights.
        dimension: The dimension D of the vectors.
        preprocessing: A digest or description of how pixels and text are prepared.
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


@validate_arguments
@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search returns.

    Attributes:
        id: The id of the chunk.
        kind: The kind of chunk.
        source: The file that contains it; of an item, the "source" of its metadata, or else its uri.
        locator: Its place in the source.
        score: Larger is better; comparable within one search only.
        relevance: The probability in [0, 1] that the chunk is what the query asks for; None if it is not known.
        similarity: The cosine of each search that found the chunk by a vector: "image", "text" or "text_dense".
        term_share: The share of the query's terms, by rarity, in one sentence; None if it was not found by terms.
        text: The passage, the text layer of the page, or the transcript of the clip.
        caption: The caption.
        ocr: The OCR text.
        explanation: One line for a person that says why the chunk was found.
        metadata: The metadata of the chunk.
        grouped_hits: Hits that are shown as one with this one, best first, such as other clips of its video.
        is_item: Whether a program added the chunk as an item under this id.
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
    relevance: float | None = None
    similarity: Mapping[str, float] = field(default_factory=dict)
    term_share: float | None = None

    @property
    def uri(self) -> str:
        """The uri of the source, as the index lists it."""
        return item_uri(self.id) if self.is_item else self.source

    @property
    def content(self) -> str:
        """All text of the chunk: caption, text, OCR text."""
        return "\n".join(part for part in (self.caption, self.text, self.ocr) if part)

    @property
    def public_metadata(self) -> dict[str, Any]:
        """The metadata without the perceptual hash, which is of no use outside."""
        return {key: value for key, value in self.metadata.items() if key != PERCEPTUAL_HASH}

    def to_dict(self) -> dict[str, Any]:
        """Return the hit, ready for JSON, without what is not known; `text` holds `content`."""
        row: dict[str, Any] = {
            "id": self.id,
            "kind": self.kind,
            "source": self.source,
            "score": self.score,
            "locator": self.locator.to_dict(),
            "text": self.content,
            "explanation": self.explanation,
        }
        optional = {
            "relevance": self.relevance,
            "similarity": dict(self.similarity) or None,
            "term_share": self.term_share,
            "metadata": self.public_metadata or None,
            "grouped_hits": [hit.to_dict() for hit in self.grouped_hits] or None,
        }
        return row | {name: value for name, value in optional.items() if value is not None}


@validate_arguments
@dataclass(frozen=True, slots=True)
class Citation:
    """The evidence for an answer.

    Attributes:
        id: The id of the chunk; "" for an image that is not in the index.
        kind: The kind of chunk.
        source: The file that contains it.
        locator: Its place in the source.
        quote: The text that the answer relies on; "" if a model examined the image.
        confidence: The confidence of the answer from this chunk, in [0, 1].
        thumbnail: A small JPEG as a data URI, of an image that is not in the index; "" for others.
        cached_from: One line about the cached answer that is repeated; "" if there is none.
        relevance: The relevance of the hit; None if it is not known.
    """

    id: str
    kind: Kind
    source: str
    locator: Locator
    quote: str = ""
    confidence: float | None = None
    thumbnail: str = ""
    cached_from: str = ""
    relevance: float | None = None

    @classmethod
    def of(cls, hit: Hit, **fields: Any) -> Citation:
        """Return a citation of a hit; the keyword arguments are the further attributes."""
        return cls(hit.id, hit.kind, hit.source, hit.locator, relevance=hit.relevance, **fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the citation, ready for JSON, without an empty thumbnail or cached_from, or an unknown relevance."""
        row = {**asdict(self), "locator": self.locator.to_dict()}
        optional = ("thumbnail", "cached_from", "relevance")
        return {name: value for name, value in row.items() if name not in optional or value not in ("", None)}


@validate_arguments
@dataclass(frozen=True, slots=True)
class CheckedClaim:
    """A statement of an answer, compared with its evidence.

    Attributes:
        text: The statement.
        verdict: What the evidence says about it; "unknown" if nothing in it can judge the statement, and "unchecked" if
            nothing was compared, because the answer states too much.
        confidence: The confidence of the verdict, in [0, 1]; None without a verdict, or if the model states none.
        citation: The image, with the box of what decides, or the passage, with the sentence as quote; None without a
            verdict.
    """

    text: str
    verdict: Literal["supported", "contradicted", "unknown", "unchecked"]
    confidence: float | None = None
    citation: Citation | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the claim, ready for JSON."""
        return {**asdict(self), "citation": self.citation.to_dict() if self.citation else None}


@validate_arguments
@dataclass(frozen=True, slots=True)
class Answer:
    """A grounded answer.

    Attributes:
        answer: The answer.
        confidence: Its confidence in [0, 1]; None if the model gives none.
        citations: The evidence, best first.
        candidates: Other answers with their confidence, best first.
        status: Whether it is an answer; "unknown" means weak evidence. A text that is no question has its hits cited.
        considered: The best of the hits that are not relevant enough, if there is nothing to cite.
        claims: What it states, compared with the evidence; None if it was not verified.
    """

    answer: str
    confidence: float | None
    citations: tuple[Citation, ...] = ()
    candidates: tuple[tuple[str, float], ...] = ()
    status: Literal["answered", "unknown", "not_found", "not_a_question"] = "answered"
    considered: tuple[Citation, ...] = ()
    claims: tuple[CheckedClaim, ...] | None = None

    @property
    def cached_from(self) -> str:
        """One line about the cached answer that is repeated; "" if a model was asked about any of the evidence."""
        origins = [citation.cached_from for citation in self.citations]
        return origins[0] if origins and all(origins) else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer, ready for JSON, without claims if it was not verified, or cached_from if it is new."""
        row = {
            **asdict(self),
            "citations": [citation.to_dict() for citation in self.citations],
            "candidates": [list(candidate) for candidate in self.candidates],
            "considered": [citation.to_dict() for citation in self.considered],
        }
        del row["claims"]
        claims = None if self.claims is None else [claim.to_dict() for claim in self.claims]
        optional = {"claims": claims, "cached_from": self.cached_from}
        return row | {name: value for name, value in optional.items() if value not in ("", None)}


@validate_arguments
@dataclass(frozen=True, slots=True)
class Failure:
    """A source that could not be indexed, and the one-line reason."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a part of one, that is not read, although nothing is wrong with it or the rest of it is indexed.

    Attributes:
        source: The file.
        reason: A noun phrase for the line that counts: ".mp3", ".docx (install florence-rag[office])", "damaged page".
        locator: The place of the part in the file.
        max_chunks: The limit of the run after which the rest of the file is not read; a higher one reads it.
    """

    source: str
    reason: str
    locator: Locator = Locator()
    max_chunks: int | None = None

    def __str__(self) -> str:
        position = str(self.locator)
        return f"{self.source!r}{', ' if position else ''}{position}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return the record, ready for JSON, without an empty locator."""
        place, source = self.locator.to_dict(), self.source.encode("utf-8", "backslashreplace").decode()
        return {"source": source, "reason": self.reason, **({"locator": place} if place else {})}


@dataclass(frozen=True, slots=True)
class RejectedSource:
    """A source that was read and is not indexed; it is not read again until it changes.

    Attributes:
        source: The source.
        reason: The reason of a failure, in one line; "" for a near-duplicate.
        duplicate_of: The uri of the near-duplicate that is indexed in its place; "" for a failure.
    """

    source: Source
    reason: str = ""
    duplicate_of: str = ""
