"""Finds out whether a stored row is what was written, and how much of it is still good."""

import numpy as np

from florence_rag.index.checksum import DAMAGED, VECTOR_FIELDS, Verdict, verify
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.lite.metadata import with_flat_metadata
from florence_rag.index.records import FAULTS, describe
from florence_rag.index.rows import Row, checked_vectors, row_to_hit

_PROBLEMS = {
    "content": "its content does not fit its checksum",
    "derived": "its vector, or another field that follows from its content, does not fit its checksum",
}


def check_row(row: Row, chunks: ChunkCollection, *, has_checksum: bool) -> tuple[Verdict, str]:
    """Return the verdict on a row that `ChunkCollection.stored_rows` yields, and what is wrong with it, or "".

    has_checksum: whether a row without one is damaged, and not only old.
    """
    try:
        row_to_hit(row)
    except FAULTS as error:
        return "content", f"it cannot be read ({describe(error)})"
    try:
        whole = chunks.codec.decode(row)
        verdict = verify(whole)
    except FAULTS as error:
        return "derived", f"its vector cannot be read ({describe(error)})"
    if verdict in DAMAGED:
        return verdict, _PROBLEMS[verdict]
    if verdict == "unknown" and has_checksum:
        return "derived", "it has lost its checksum"
    problem = _vector_problem(whole, chunks) or _flat_problem(row, chunks)
    return ("derived", problem) if problem else (verdict, "")


def _vector_problem(row: Row, chunks: ChunkCollection) -> str:
    widths = {"vector": chunks.embedder.dimension, "text_vector": chunks.text_dimension}
    try:
        for name in VECTOR_FIELDS:
            if (width := widths[name]) is not None:
                checked_vectors(np.asarray(row[name])[None], 1, width)
    except FAULTS as error:
        return describe(error)
    return ""


def _flat_problem(row: Row, chunks: ChunkCollection) -> str:
    """Compare the metadata with their flat form, by which filters find the row."""
    if chunks.codec.flat:
        flat = with_flat_metadata({"metadata": row["metadata"]})
        if any(row.get(name) != value for name, value in flat.items()):
            return "its metadata differ from the form of them by which filters find it"
    return ""
