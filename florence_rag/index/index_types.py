"""The index types of Milvus as data: parameters, sizes, requirements and recall.

Sizes follow from the layouts that the sources describe. Recalls are shares of the true 10 nearest vectors, measured by
benchmarks/scale.py with faiss, whose algorithms Milvus runs, on 50,000 synthetic vectors of 512 numbers, which are
easier than a billion photographs. Sources, all in Milvus' documentation (https://milvus.io/docs): index-explained.md,
disk_index.md, gpu_index.md, ivf-rabitq.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from florence_rag.errors import InputError

VectorDtype = Literal["fp32", "fp16", "bf16"]
"""The precision of the vectors of a collection."""

DTYPE_BYTES: Mapping[VectorDtype, int] = MappingProxyType({"fp32": 4, "fp16": 2, "bf16": 2})

SEGMENT_BYTES = 2**30
"""The size at which a server seals a segment by default. It builds one index per segment."""

Params = dict[str, Any]
Bytes = Callable[[int, int], float]

_HNSW_LINKS = 16
_LINK_BYTES = 4
_DISKANN_DEGREE = 56
_PROBES = 64
_MIN_LISTS = 128


@dataclass(frozen=True, slots=True)
class IndexType:
    """One index type.

    Attributes:
        name: name in Milvus.
        summary: one line for users.
        build: returns the build parameters from (rows per segment, dimension).
        search: returns the search parameters from the number of hits.
        memory: returns the bytes of memory per vector from (dimension, bytes per number).
        recall: share of the true nearest vectors that a search finds, and its source.
        disk: as memory, for the disk space of the index; the rows take space in addition.
        gpu_memory: as memory, for the memory of GPUs.
        since: first version of Milvus that has it.
        lite: whether Milvus Lite can build it and load it again.
        gpu: whether it needs a server built for GPUs, and a GPU.
        max_hits: largest number of hits of one search.
        refused: why an index cannot use it, or "".
    """

    name: str
    summary: str
    build: Callable[[int, int], Params]
    search: Callable[[int], Params]
    memory: Bytes
    recall: str
    disk: Bytes = lambda dimension, width: dimension * width
    gpu_memory: Bytes = lambda dimension, width: 0.0
    since: tuple[int, int] = (2, 5)
    lite: bool = False
    gpu: bool = False
    max_hits: int = 16_384
    refused: str = ""


def find_index_type(name: str) -> IndexType:
    """Return the index type with this name, in any case, or raise InputError if an index cannot use it."""
    preset = INDEX_TYPES.get(name.upper())
    if preset is None:
        raise InputError(f"index type {name!r} is unknown; use {', '.join(available_index_types())}")
    if preset.refused:
        raise InputError(f"index type {name!r} cannot be chosen: {preset.refused}")
    return preset


def available_index_types(*, lite: bool = False) -> list[str]:
    """Return the names that an index can use. lite: only those of Milvus Lite."""
    return [name for name, preset in INDEX_TYPES.items() if not preset.refused and (preset.lite or not lite)]


def check_index_type(name: str, *, lite: bool, version: str = "") -> IndexType:
    """Return the index type if the store supports it, or raise InputError with the alternatives.

    version: version of the server, if it is known. It does not show whether a server was built for GPUs.
    """
    preset = find_index_type(name)
    if lite and not preset.lite:  # Lite takes any name and fails at the next start
        raise InputError(
            f"index type {name!r} is unknown to Milvus Lite; use {', '.join(available_index_types(lite=True))}, "
            "or a Milvus server"
        )
    number = re.search(r"(\d+)\.(\d+)", version)
    if not lite and number and (int(number[1]), int(number[2])) < preset.since:
        needed, older = ".".join(map(str, preset.since)), ", ".join(_older(preset.since))
        raise InputError(f"index type {name!r} needs Milvus {needed}, and the server runs {version}; use {older}")
    return preset


def _older(since: tuple[int, int]) -> list[str]:
    return [name for name in available_index_types() if INDEX_TYPES[name].since < since and not INDEX_TYPES[name].gpu]


def build_params(name: str, dimension: int, width: int = 4) -> Params:
    """Return the parameters of an index over full segments. width: bytes per number."""
    return INDEX_TYPES[name].build(SEGMENT_BYTES // (dimension * width), dimension)


def search_params(name: str, limit: int) -> Params:
    """Return the parameters of a search for so many hits."""
    return INDEX_TYPES[name].search(limit)


def _none(*_: int) -> Params:
    return {}


def _hnsw(rows: int, dimension: int) -> Params:
    return {"M": _HNSW_LINKS, "efConstruction": 200}


def _ef(limit: int) -> Params:
    return {"ef": max(512, 2 * limit)}


def _lists(rows: int, dimension: int) -> Params:
    """Return 4 times the square root of the rows, as faiss advises, rounded to a power of two."""
    return {"nlist": min(65_536, max(_MIN_LISTS, 2 ** round(math.log2(4 * math.sqrt(max(rows, 1))))))}


def _probes(limit: int) -> Params:
    return {"nprobe": _PROBES}


def _pq(rows: int, dimension: int) -> Params:
    return {**_lists(rows, dimension), "m": pq_bytes(dimension), "nbits": 8}


def pq_bytes(dimension: int) -> int:
    """Return the bytes of a product-quantized vector: one per four numbers, or the nearest divisor of the dimension."""
    return next(m for m in range(max(1, dimension // 4), 0, -1) if dimension % m == 0)


def _raw(dimension: int, width: int) -> float:
    return dimension * width


def _links(dimension: int, width: int) -> float:
    """Return the bytes of a graph's links: 2 M on the ground layer, and about one more layer per M nodes."""
    return _LINK_BYTES * _HNSW_LINKS * 2 * (1 + 1 / _HNSW_LINKS)


def _itopk(limit: int) -> int:
    return min(1024, max(128, 32 * math.ceil(limit / 32)))


_LIST_ID_BYTES = 8

_ALL = (
    IndexType(
        "FLAT",
        "exact: compares with every vector; the default on Milvus Lite",
        _none,
        _none,
        _raw,
        "1: exact",
        lite=True,
    ),
    IndexType(
        "HNSW",
        "a graph in memory: the fastest on processors; the default on servers",
        _hnsw,
        _ef,
        lambda d, w: d * w + _links(d, w),
        "1.00",
        disk=lambda d, w: d * w + _links(d, w),
        lite=True,
    ),
    IndexType(
        "HNSW_SQ",
        "the graph over vectors of 8 bits a number: a quarter of the memory",
        lambda n, d: {**_hnsw(n, d), "sq_type": "SQ8"},
        _ef,
        lambda d, w: d + _links(d, w),
        "0.99",
        disk=lambda d, w: d + _links(d, w),
        lite=True,
    ),
    IndexType(
        "IVF_FLAT",
        "lists of neighbours, the nearest of which are searched: quick to build",
        _lists,
        _probes,
        lambda d, w: d * w + _LIST_ID_BYTES,
        "1.00",
        lite=True,
    ),
    IndexType(
        "IVF_SQ8",
        "the lists with 8 bits a number: a quarter of the memory",
        _lists,
        _probes,
        lambda d, w: d + _LIST_ID_BYTES,
        "0.99",
        disk=lambda d, w: d + _LIST_ID_BYTES,
        lite=True,
    ),
    IndexType(
        "IVF_PQ",
        "the lists with one byte for four numbers: a sixteenth, and coarse",
        _pq,
        _probes,
        lambda d, w: pq_bytes(d) + _LIST_ID_BYTES,
        "0.84",
        disk=lambda d, w: pq_bytes(d) + _LIST_ID_BYTES,
    ),
    IndexType(
        "IVF_RABITQ",
        "the lists with one bit a number, the best compared again with 8 bits",
        lambda n, d: {**_lists(n, d), "refine": True, "refine_type": "SQ8"},
        lambda limit: {**_probes(limit), "rbq_query_bits": 0, "refine_k": 4},
        lambda d, w: d / 8 + 8 + d + _LIST_ID_BYTES,
        "1.00 after the second comparison, about 0.8 before",
        disk=lambda d, w: d / 8 + 8 + d + _LIST_ID_BYTES,
        since=(2, 6),
    ),
    IndexType(
        "SCANN",
        "the lists with 4 bits for two numbers, the best compared again in full",
        lambda n, d: {**_lists(n, d), "with_raw_data": True},
        lambda limit: {**_probes(limit), "reorder_k": max(200, 4 * limit)},
        lambda d, w: d / 4 + d * w + _LIST_ID_BYTES,
        "1.00 after the second comparison, about 0.7 before",
        disk=lambda d, w: d / 4 + d * w + _LIST_ID_BYTES,
    ),
    IndexType(
        "DISKANN",
        "a graph on NVMe disks, a quarter of the vectors in memory: for more vectors than memory holds",
        _none,
        lambda limit: {"search_list": max(100, 2 * limit)},
        # PQ codes and the cache of nodes, an eighth each of the vectors: the defaults of disk_index.md.
        lambda d, w: 0.25 * d * w,
        "not measured here",
        disk=lambda d, w: d * w + _LINK_BYTES * (_DISKANN_DEGREE + 1),
    ),
    IndexType(
        "GPU_CAGRA",
        "a graph in the memory of GPUs: the most searches per second",
        lambda n, d: {
            "intermediate_graph_degree": 64,
            "graph_degree": 32,
            "build_algo": "IVF_PQ",
            "cache_dataset_on_device": "true",
        },
        lambda limit: {"itopk_size": _itopk(limit)},
        lambda d, w: 0.0,
        "not measured here",
        disk=lambda d, w: 1.8 * d * w,
        gpu_memory=lambda d, w: 1.8 * d * w,  # gpu_index.md
        gpu=True,
        max_hits=1024,
    ),
    IndexType(
        "GPU_IVF_FLAT",
        "the lists in the memory of GPUs",
        _lists,
        _probes,
        lambda d, w: 0.0,
        "that of IVF_FLAT",
        gpu_memory=_raw,  # gpu_index.md
        gpu=True,
        max_hits=256,
    ),
    IndexType(
        "GPU_IVF_PQ",
        "the lists in the memory of GPUs, one byte for four numbers",
        _pq,
        _probes,
        lambda d, w: 0.0,
        "that of IVF_PQ",
        disk=lambda d, w: pq_bytes(d) + _LIST_ID_BYTES,
        gpu_memory=lambda d, w: pq_bytes(d) + _LIST_ID_BYTES,
        gpu=True,
        max_hits=1024,
    ),
    IndexType(
        "GPU_BRUTE_FORCE",
        "exact, in the memory of GPUs",
        _none,
        _none,
        lambda d, w: 0.0,
        "1: exact",
        gpu_memory=_raw,  # gpu_index.md
        gpu=True,
        max_hits=1024,
    ),
    IndexType(
        "AUTOINDEX",
        "the choice of the store: HNSW on Milvus Lite and on servers with default settings",
        _none,
        _none,
        lambda d, w: d * w + _links(d, w),
        "that of HNSW",
        disk=lambda d, w: d * w + _links(d, w),
        lite=True,
    ),
    IndexType(
        "BIN_FLAT",
        "exact over the signs of the numbers, one bit each",
        _none,
        _none,
        lambda d, w: d / 8,
        "",
        disk=lambda d, w: d / 8,
        refused="it searches bits and scores by their distance, but hits carry cosines, and full vectors must "
        "stay for re-embedding and for diverse results; IVF_RABITQ keeps one bit a number, too, and scores by cosine",
    ),
    IndexType(
        "SPARSE_INVERTED_INDEX",
        "terms, by BM25; part of every index",
        lambda n, d: {"bm25_k1": 1.2, "bm25_b": 0.75},
        _none,
        lambda d, w: 0.0,
        "1: exact",
        disk=lambda d, w: 0.0,
        lite=True,
        refused="every index uses it for terms; choose one for the vectors, such as HNSW",
    ),
)

INDEX_TYPES: Mapping[str, IndexType] = MappingProxyType({preset.name: preset for preset in _ALL})
"""All index types by name: from exact to large, those of GPUs, and those that an index cannot use."""
