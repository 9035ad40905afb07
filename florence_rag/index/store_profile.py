"""What a store supports and which parameters suit it; the stores are Milvus servers and Milvus Lite."""

import re
from collections.abc import Collection

from florence_rag.errors import InputError
from florence_rag.index.index_types import (
    DTYPE_BYTES,
    IndexType,
    Params,
    VectorDtype,
    available_index_types,
    find_index_type,
    index_types,
)

_MAX_LISTS = 65_536
"""The largest number of lists that a search may name. Fewer are searched if the index has no more."""


class StoreProfile:
    """The profile of a Milvus server from 2.5 on. `LiteProfile` is that of Milvus Lite.

    Attributes:
        default_index_type: index over the vectors of a new collection.
        flat_metadata: whether filters need the metadata in flat form; see `index/lite/metadata.py`.
        builds_on_load: whether the store builds an index when it loads the collection, and not before.
        has_bm25: whether the store computes BM25, for which it must split texts into terms.
        has_nulls: whether a field can be null.
        has_text_vectors: whether a row can have a second vector.
        vector_dtypes: the precisions of vectors.
        name: how messages name the store.
        flush_rows: number of unflushed rows after which they must be flushed, or None if the store does so itself.
    """

    default_index_type = "HNSW"
    flat_metadata = False
    builds_on_load = False
    has_bm25 = True
    has_nulls = True
    has_text_vectors = True
    vector_dtypes: Collection[str] = tuple(DTYPE_BYTES)
    name = "a Milvus server"
    flush_rows: int | None = None

    def index_types(self) -> list[str]:
        """Return the names of the index types that the store can load."""
        return available_index_types()

    def choose_index_type(self, requested: str | None, present: str | None) -> str:
        """Return the requested index type, or the present one if the store can load it, or the default."""
        if requested:
            return requested.upper()
        return present if present and present in self.index_types() else self.default_index_type

    def check_index_type(self, name: str, version: str = "") -> IndexType:
        """Return the index type if the store supports it, or raise InputError with the alternatives.

        version: version of the server, if it is known. It does not show whether a server was built for GPUs.
        """
        index_type = find_index_type(name)
        number = parse_version(version)
        if number and number < index_type.since:
            needed = ".".join(map(str, index_type.since))
            types = map(index_types().get, available_index_types())
            older = ", ".join(each.name for each in types if each and each.since < index_type.since and not each.gpu)
            raise InputError(f"index type {name!r} needs Milvus {needed}, and the server runs {version}; use {older}")
        return index_type

    def check_vectors(self, dtype: str | None, *, text_vectors: bool = False) -> None:
        """Raise InputError if the store cannot hold vectors of this precision, or text vectors beside them."""
        if dtype is not None and dtype not in DTYPE_BYTES:
            raise InputError(f"vector dtype {dtype!r} is unknown; use {', '.join(DTYPE_BYTES)}")
        if dtype is not None and dtype not in self.vector_dtypes:
            raise InputError(f"{self.name} stores vectors as fp32 only, not as {dtype}; omit it, or use a newer server")
        if text_vectors and not self.has_text_vectors:
            raise InputError(f"{self.name} stores one vector per row; omit the text embedder, or use a newer server")

    def build_params(self, index_type: str, dimension: int, dtype: VectorDtype) -> Params:
        """Return the parameters of an index over a vector field."""
        return index_types()[index_type].build_params(dimension, DTYPE_BYTES[dtype])

    def search_params(self, index_type: str, limit: int, *, filtered: bool) -> Params:
        """Return the parameters of a search for so many hits."""
        return index_types()[index_type].search_params(limit, filtered=filtered)

    def exhaustive_params(self, params: Params) -> Params:
        """Return the parameters of a search in all lists; none if these search in all, or the index has no lists."""
        return params | {"nprobe": _MAX_LISTS} if "nprobe" in params else {}

    def capacity_advice(self, rows: int) -> str:
        """Return what to do about a store that holds too many rows, or "" if it suits their number."""
        return ""


class Server24Profile(StoreProfile):
    """The profile of a Milvus server before 2.5, which ignores functions and nullable fields without an error."""

    has_bm25 = False
    has_nulls = False
    name = "a Milvus server before 2.5"


class Server23Profile(Server24Profile):
    """The profile of a Milvus server before 2.4, which also ignores a wrong precision of vectors."""

    has_text_vectors = False
    vector_dtypes = ("fp32",)
    name = "a Milvus server before 2.4"


SERVER = StoreProfile()
_SERVERS_BEFORE = {(2, 4): Server23Profile(), (2, 5): Server24Profile()}


def server_profile(version: str) -> StoreProfile:
    """Return the profile of a server of this version."""
    number = parse_version(version)
    return next((profile for end, profile in _SERVERS_BEFORE.items() if number and number < end), SERVER)


def parse_version(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, or None if it has none, as that of a development build."""
    number = re.search(r"(\d+)\.(\d+)", version)
    return (int(number[1]), int(number[2])) if number else None
