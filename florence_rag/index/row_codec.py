"""Converts rows to the form in which a collection stores them: the precision of vectors and the layout of metadata."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from florence_rag.errors import MissingExtraError
from florence_rag.index.checksum import CHECKSUM, VECTOR_FIELDS, row_checksum
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.lite.metadata import with_flat_metadata
from florence_rag.index.rows import NULLABLE_FIELDS, Row

NO_VALUE = -1
"""What a store that knows no null holds instead. Pages begin at 1, times at 0."""


@dataclass(frozen=True, slots=True)
class RowCodec:
    """The form of a collection's rows.

    dtype: precision of the vectors; only servers have half precision. flat: whether rows hold flat metadata, too.
    checksums: whether rows hold checksums, too, for which a collection of an old version on a server has no field.
    nulls: whether fields can be null, or hold NO_VALUE instead.
    """

    dtype: VectorDtype = "fp32"
    flat: bool = False
    checksums: bool = True
    nulls: bool = True

    def encode(self, row: Row) -> Row:
        """Return the row as it is sent to the store."""
        vectors = {name: self.to_dtype(row[name]) for name in VECTOR_FIELDS if name in row}
        if self.checksums:
            row = row | {CHECKSUM: row_checksum(row | vectors)}
        if self.flat:
            row = with_flat_metadata(row)
        if not self.nulls:
            row = row | {name: NO_VALUE for name in NULLABLE_FIELDS if row[name] is None}
        return row if self.dtype == "fp32" else row | {name: each.tobytes() for name, each in vectors.items()}

    def decode(self, row: Row) -> Row:
        """Return a stored row with its vectors as (D,) float32, and null for NO_VALUE."""
        vectors = {name: self.decode_vector(row[name]) for name in VECTOR_FIELDS if name in row}
        missing = {} if self.nulls else {name: None for name in NULLABLE_FIELDS if row[name] == NO_VALUE}
        return row | vectors | missing

    def decode_vector(self, value: Any) -> np.ndarray:
        """Return a vector of the store, which is a list of floats or bytes, as (D,) float32."""
        if isinstance(value, bytes):
            value = np.frombuffer(value, self._dtype())
        return np.asarray(value, dtype=np.float32)

    def to_dtype(self, vector: np.ndarray) -> np.ndarray:
        """Return a vector (D,) in the precision of the collection."""
        return np.asarray(vector, dtype=np.float32).astype(self._dtype())

    def _dtype(self) -> np.dtype[Any]:
        if self.dtype != "bf16":
            return np.dtype({"fp32": np.float32, "fp16": np.float16}[self.dtype])
        try:
            from ml_dtypes import bfloat16
        except ImportError as error:
            raise MissingExtraError("ml_dtypes", "bulk") from error
        dtype: np.dtype[Any] = np.dtype(bfloat16)
        return dtype
