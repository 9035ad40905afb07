"""What Milvus Lite supports and which parameters suit it, and the size up to which it is the right store."""

from florence_rag.errors import InputError
from florence_rag.index.index_types import IndexType, Params, VectorDtype, find_index_type, index_types
from florence_rag.index.store_profile import StoreProfile

LITE_ROWS = 100_000
"""Up to this size a search by terms and vectors in Milvus Lite takes about a tenth of a second: benchmarks/lite.py."""

_LISTS = 128
_SEGMENT_ROWS = 100_000


class LiteProfile(StoreProfile):
    """The profile of Milvus Lite.

    FLAT is exact, also under filters, and as fast as Lite's HNSW, which must search everywhere under a filter. Opening
    a collection reads all of its rows into memory.
    """

    default_index_type = "FLAT"
    flat_metadata = True
    builds_on_load = True
    flush_rows = 1000
    vector_dtypes = ("fp32",)
    name = "Milvus Lite"

    def index_types(self) -> list[str]:
        """Return the names of the index types that the store can load."""
        return [name for name in super().index_types() if index_types()[name].lite]

    def check_index_type(self, name: str, version: str = "") -> IndexType:
        """Return the index type if Lite supports it, because Lite takes any name and fails at the next start."""
        index_type = find_index_type(name)
        if not index_type.lite:
            known = ", ".join(self.index_types())
            raise InputError(f"index type {name!r} is unknown to Milvus Lite; use {known}, or a Milvus server")
        return index_type

    def build_params(self, index_type: str, dimension: int, dtype: VectorDtype) -> Params:
        """Return the parameters of an index over a vector field. IVF searches all lists, so one list suffices."""
        if index_type.startswith("HNSW"):
            return index_types()["HNSW"].build_params(dimension)
        return {"nlist": 1} if index_type.startswith("IVF") else {}

    def search_params(self, index_type: str, limit: int, *, filtered: bool) -> Params:
        """Return the parameters of a search for so many hits.

        Under a filter HNSW searches everywhere, because it would miss matches otherwise. IVF always does, because it
        returns too few hits of a small index.
        """
        if index_type.startswith("HNSW") or index_type == "AUTOINDEX":
            return {"ef": _SEGMENT_ROWS if filtered else max(512, 2 * limit)}
        return {"nprobe": _LISTS} if index_type.startswith("IVF") else {}

    def exhaustive_params(self, params: Params) -> Params:
        """Return no parameters, because those of `search_params` search everywhere."""
        return {}

    def capacity_advice(self, rows: int) -> str:
        """Return what to do about a database of so many rows, or "" if it is small enough."""
        if rows <= LITE_ROWS:
            return ""
        return (
            f"Milvus Lite is comfortable up to {LITE_ROWS:,} chunks, as its searches take longer with every one; "
            "a Milvus server is recommended: see docs/scale.md"
        )


LITE = LiteProfile()
