"""The index types of Milvus: parameters, sizes, requirements and recall, as `index_types.toml` lists them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from florence_rag.errors import InputError

VectorDtype = Literal["fp32", "fp16", "bf16"]
"""The precision of the vectors of a collection."""

OLDEST_SERVER = (2, 3)
"""The oldest version of a Milvus server that is supported."""

DTYPE_BYTES: Mapping[VectorDtype, int] = MappingProxyType({"fp32": 4, "fp16": 2, "bf16": 2})

SEGMENT_BYTES = 2**30
"""The size at which a server seals a segment by default. It builds one index per segment."""

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BytesPerVector:
    """A size: `raw` times the size of the vector, `bits` per dimension, `fixed`, and `pq` times its PQ code."""

    raw: float = 0.0
    bits: float = 0.0
    fixed: float = 0.0
    pq: float = 0.0

    def __call__(self, dimension: int, width: int) -> float:
        """Return the bytes of a vector. width: bytes per dimension of the vector itself."""
        return dimension * (self.raw * width + self.bits / 8) + self.fixed + self.pq * pq_bytes(dimension)


@dataclass(frozen=True, slots=True)
class IndexType:
    """One index type; `index_types.toml` describes the fields."""

    name: str
    summary: str
    memory: BytesPerVector
    disk: BytesPerVector = BytesPerVector(raw=1)
    gpu_memory: BytesPerVector = BytesPerVector()
    build: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    filtered: Mapping[str, Any] = field(default_factory=dict)
    rescored: int = 1
    recall: str = ""
    core_us_to_build: float | None = None
    core_ms_to_search: float | None = None
    measured_on: str = ""
    since: tuple[int, ...] = OLDEST_SERVER
    lite: bool = False
    gpu: bool = False
    probe_rows: int = 0
    max_hits: int = 16_384
    refused: str = ""

    def build_params(self, dimension: int, width: int = 4, rows: int | None = None) -> Params:
        """Return the parameters of an index over segments of so many rows, or full ones. width: bytes per dimension.

        The number of lists is 4 times the square root of the rows, as faiss advises, rounded down to a power of two:
        fewer lists take less time to build, and a filter hides fewer hits in lists that are not searched.
        """
        rows = max(1, SEGMENT_BYTES // (dimension * width) if rows is None else rows)
        lists = min(65_536, max(128, 2 ** int(math.log2(4 * math.sqrt(rows)))))
        computed = {"lists": lists, "pq_bytes": pq_bytes(dimension)}
        return {name: computed.get(value, value) for name, value in self.build.items()}

    def search_params(self, limit: int, *, filtered: bool = False) -> Params:
        """Return the parameters of a search for so many hits. filtered: whether a filter applies."""
        params = {**self.search, **(self.filtered if filtered else {})}
        return {name: _at(limit, **value) if isinstance(value, dict) else value for name, value in params.items()}


def _at(limit: int, *, least: int, per_hit: int, multiple_of: int = 1, most: int = 2**31) -> int:
    return min(most, max(least, multiple_of * math.ceil(per_hit * limit / multiple_of)))


def pq_bytes(dimension: int) -> int:
    """Return the bytes of a product-quantized vector: one per four dimensions, or the nearest divisor."""
    return next(m for m in range(max(1, dimension // 4), 0, -1) if dimension % m == 0)


@cache
def index_types() -> Mapping[str, IndexType]:
    """Return all index types by name: from exact to large, those of GPUs, and those that an index cannot use."""
    import tomllib

    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return MappingProxyType({name: _index_type(name, **fields) for name, fields in tomllib.loads(text).items()})


def _index_type(name: str, **fields: Any) -> IndexType:
    for key in fields.keys() & {"memory", "disk", "gpu_memory"}:
        fields[key] = BytesPerVector(**fields[key])
    return IndexType(name, since=tuple(fields.pop("since", OLDEST_SERVER)), **fields)


def available_index_types() -> list[str]:
    """Return the names that an index on a server can use."""
    return [name for name, index_type in index_types().items() if not index_type.refused]


def find_index_type(name: str) -> IndexType:
    """Return the index type with this name, in any case, or raise InputError if an index cannot use it."""
    index_type = index_types().get(name.upper())
    if index_type is None:
        raise InputError(f"index type {name!r} is unknown; use {', '.join(available_index_types())}")
    if index_type.refused:
        raise InputError(f"index type {name!r} cannot be chosen: {index_type.refused}")
    return index_type
