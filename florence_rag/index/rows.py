"""Converts chunks to rows of the store and rows to hits, and checks what can be stored."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict

import msgspec
import numpy as np

from florence_rag.errors import InputError
from florence_rag.index.text_codec import decode_uri, document_terms, encode_uri, truncate
from florence_rag.json_values import to_json_value
from florence_rag.text_arguments import MAX_TEXT_BYTES, clean
from florence_rag.types import ITEM_IMAGE, Chunk, Hit, item_uri

MAX_ID_BYTES = 512
MAX_URI_BYTES = 8_192  # twice the longest path of Linux
MAX_JSON_BYTES = 65_536

HIT_FIELDS = ["id", "source", "kind", "locator", "text", "caption", "ocr", "metadata"]
"""The fields of a row that a hit needs; the vector is not one of them."""

NULLABLE_FIELDS = ("page", "start_s", "end_s")
"""The fields of a row that may be null: parts of its locator, which filters name."""

STORED_FIELDS = [*HIT_FIELDS, *NULLABLE_FIELDS, "terms", "vector"]
"""All fields of a row except those that the store computes, and TEXT_VECTOR_FIELDS."""

TEXT_VECTOR_FIELDS = ("has_text_vector", "text_vector")
"""The fields of a row in an index with text vectors."""

Row = dict[str, Any]


class _ItemImage(TypedDict):
    file: str
    hash: str
    captioned: NotRequired[bool]


def chunk_to_row(chunk: Chunk, vector: np.ndarray, text_vector: np.ndarray | None = None) -> Row:
    """Return the row of a chunk, with long texts truncated. text_vector: zeros for a chunk without text."""
    locator = chunk.locator
    return {
        "id": chunk.id,
        "source": checked_uri(chunk.source.uri),
        "kind": chunk.kind,
        "page": locator.page,
        "start_s": locator.start_s,
        "end_s": locator.end_s,
        "locator": locator.to_dict(),
        "metadata": checked_metadata(chunk.metadata, chunk.source.uri),
        "vector": vector,
        **text_fields(chunk, text_vector),
    }


def text_fields(chunk: Chunk, text_vector: np.ndarray | None = None) -> Row:
    """Return the fields of a row that follow from the texts of its chunk, as `chunk_to_row` does."""
    fields: Row = {
        "text": truncate(clean(chunk.text), MAX_TEXT_BYTES),
        "caption": truncate(clean(chunk.caption), MAX_TEXT_BYTES),
        "ocr": truncate(clean(chunk.ocr), MAX_TEXT_BYTES),
        "terms": document_terms("\n".join((chunk.caption, chunk.text, chunk.ocr)), MAX_TEXT_BYTES),
    }
    if text_vector is not None:
        has_text = bool(text_vector.any())  # an arbitrary unit vector replaces zeros, which the store does not take
        stored = text_vector if has_text else np.eye(1, len(text_vector), dtype=np.float32)[0]
        fields |= {"has_text_vector": has_text, "text_vector": stored}
    return fields


def row_to_hit(row: Mapping[str, Any], score: float = 0.0) -> Hit:
    """Return the hit for a row with HIT_FIELDS; raise one of `records.FAULTS` if it is damaged.

    An item's metadata may name its source, such as an image file.
    """
    fields = {name: row[name] for name in HIT_FIELDS}
    uri = decode_uri(fields["source"])
    is_item = uri == item_uri(fields["id"])
    fields |= {"source": uri, "score": score, "is_item": is_item}
    hit = msgspec.convert(fields, Hit)
    if not is_item:
        return hit
    if ITEM_IMAGE in hit.metadata:
        msgspec.convert(hit.metadata[ITEM_IMAGE], _ItemImage)
    named = hit.metadata.get("source")
    return replace(hit, source=named) if isinstance(named, str) and named else hit


def checked_uri(uri: str) -> str:
    """Return the uri as it is stored. It identifies the source, so it is never truncated."""
    stored = encode_uri(uri)
    if not 0 < len(stored.encode()) <= MAX_URI_BYTES:
        raise InputError(f"the name {uri[:80]!r} has {len(stored.encode())} bytes; allowed are 1 to {MAX_URI_BYTES}")
    return stored


def checked_id(id: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """Return the id, or raise InputError if it is too long. max_bytes: fewer in a collection of an older version."""
    if (size := id_bytes(id)) > max_bytes:
        advice = "shorten it"
        if max_bytes < MAX_ID_BYTES:
            advice = "an older florence_rag created this index: index into a new database for longer ones"
        raise InputError(f"the id {id[:80]!r} has {size} bytes; allowed are {max_bytes}: {advice}")
    return id


def id_bytes(id: str) -> int:
    """Return how many bytes an id takes, of which a lone surrogate, which no stored id has, counts as one."""
    return len(id.encode("utf-8", "replace"))


def checked_query(vector: np.ndarray, dimension: int) -> np.ndarray:
    """Return the vector (D,) of a query as float32, or raise InputError as `checked_vectors` does."""
    vector = np.asarray(vector, dtype=np.float32)
    # One product shows that almost any vector is within the tolerance of the whole check, which takes as long as a hit.
    if vector.shape != (dimension,) or not abs(vector @ vector - 1) < 1.9e-2:
        checked_vectors(vector[None], 1, dimension)
    return vector


def checked_vectors(vectors: np.ndarray, rows: int, dimension: int) -> np.ndarray:
    """Return the vectors as float32, or raise InputError. Milvus Lite would take NaN and find it for every query."""
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (rows, dimension):
        raise InputError(f"vectors have the shape {vectors.shape}; needed is {(rows, dimension)}")
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(lengths - 1) < 1e-2):  # false for NaN and infinity, too
        raise InputError(f"vectors must be finite and of unit length; their lengths are {np.unique(lengths)[:5]}")
    return vectors


def checked_text_vectors(vectors: np.ndarray | None, rows: int, dimension: int | None) -> Sequence[np.ndarray | None]:
    """Return one text vector per row: of unit length, zeros, or None if the index has none."""
    if (vectors is None) != (dimension is None):
        raise InputError(
            "the index has no text vectors, so none can be added"
            if dimension is None
            else f"the index has text vectors; give add text_vectors of the shape {(rows, dimension)}"
        )
    if vectors is None or dimension is None:
        return [None] * rows
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.shape != (rows, dimension):
        raise InputError(f"text vectors have the shape {vectors.shape}; needed is {(rows, dimension)}")
    has_text_vector = vectors.any(axis=1)
    checked_vectors(vectors[has_text_vector], int(has_text_vector.sum()), dimension)
    return list(vectors)


def checked_metadata(metadata: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Return the metadata as they are stored; raise InputError if they cannot be."""
    if not isinstance(metadata, Mapping):
        raise InputError(f"the metadata of {uri!r} are {metadata!r:.80}; they must be a mapping")
    plain: dict[str, Any] = to_json_value(metadata, f"the metadata of {uri!r}")
    size = _json_bytes(plain)
    if size > MAX_JSON_BYTES:
        largest = max(plain, key=lambda key: _json_bytes(plain[key]))
        raise InputError(
            f"the metadata of {uri!r} take {size} bytes, of which {largest!r:.80} takes {_json_bytes(plain[largest])}; "
            f"allowed are {MAX_JSON_BYTES}"
        )
    return plain


def _json_bytes(value: Any) -> int:
    return len(msgspec.json.encode(value))
