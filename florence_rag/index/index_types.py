"""Ways to search vectors, from exact to billions, as data: parameters, sizes, needs, and what they cost in recall.

Sizes follow from the layouts that the sources name. Recalls are shares of the true 10 nearest, measured by
benchmarks/scale.py with faiss, whose algorithms Milvus runs, on 50,000 drawn vectors of 512 numbers: easier than
photographs at a billion. Sources, all in Milvus' documentation (https://milvus.io/docs): index-explained.md,
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
"""How a collection keeps the numbers of its vectors."""

DTYPE_BYTES: Mapping[VectorDtype, int] = MappingProxyType({"fp32": 4, "fp16": 2, "bf16": 2})

SEGMENT_BYTES = 2**30
"""A server builds one index per segment, and by default seals segments at 1 GiB."""

Params = dict[str, Any]
Bytes = Callable[[int, int], float]

_HNSW_LINKS = 16
_LINK_BYTES = 4
_DISKANN_DEGREE = 56
_PROBES = 64
_MIN_LISTS = 128


@dataclass(frozen=True, slots=True)
class IndexType:
    """One kind of index.

    build: its parameters from (rows per segment, dimension). search: those of a search for so many hits. memory, disk,
    gpu_memory: bytes per vector that searching needs, from (dimension, bytes per number). disk: of the index alone; the
    rows themselves lie in the store besides. since: the first server that has it. lite: whether Milvus Lite can build
    it and load it again. gpu: needs a server that was built for GPUs, and one. max_hits: of one search. recall: what
    part of the true nearest it finds, and who says so. refused: why it cannot be chosen for an index here.
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
    """The preset of this name, in whatever case, that an index can have; InputError for others."""
    preset = INDEX_TYPES.get(name.upper())
    if preset is None:
        raise InputError(f"index type {name!r} is unknown; use {', '.join(available_index_types())}")
    if preset.refused:
        raise InputError(f"index type {name!r} cannot be chosen: {preset.refused}")
    return preset


def available_index_types(*, lite: bool = False) -> list[str]:
    """The names that can be chosen; lite: on Milvus Lite."""
    return [name for name, preset in INDEX_TYPES.items() if not preset.refused and (preset.lite or not lite)]


def check_index_type(name: str, *, lite: bool, version: str = "") -> IndexType:
    """The preset, if such a store has it; else an InputError that says what the store lacks and what to take instead.

    version: of a server, if known. What is built for GPUs does not show in it.
    """
    preset = find_index_type(name)
    if lite and not preset.lite:  # Lite takes any name, and fails at the next start
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
    """4 times the root of the rows, as faiss advises, to a power of two."""
    return {"nlist": min(65_536, max(_MIN_LISTS, 2 ** round(math.log2(4 * math.sqrt(max(rows, 1))))))}


def _probes(limit: int) -> Params:
    return {"nprobe": _PROBES}


def _pq(rows: int, dimension: int) -> Params:
    return {**_lists(rows, dimension), "m": pq_bytes(dimension), "nbits": 8}


def pq_bytes(dimension: int) -> int:
    """Bytes of a product-quantised vector: one for every four numbers, or as near as the dimension can be divided."""
    return next(m for m in range(max(1, dimension // 4), 0, -1) if dimension % m == 0)


def _raw(dimension: int, width: int) -> float:
    return dimension * width


def _links(dimension: int, width: int) -> float:
    """Two links for each of M on the ground layer, and about one layer more in M."""
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
        "the lists with one bit a number, the best looked at again with 8 bits",
        lambda n, d: {**_lists(n, d), "refine": True, "refine_type": "SQ8"},
        lambda limit: {**_probes(limit), "rbq_query_bits": 0, "refine_k": 4},
        lambda d, w: d / 8 + 8 + d + _LIST_ID_BYTES,
        "1.00 after its second look, about 0.8 before",
        disk=lambda d, w: d / 8 + 8 + d + _LIST_ID_BYTES,
        since=(2, 6),
    ),
    IndexType(
        "SCANN",
        "the lists with 4 bits for two numbers, the best looked at again in full",
        lambda n, d: {**_lists(n, d), "with_raw_data": True},
        lambda limit: {**_probes(limit), "reorder_k": max(200, 4 * limit)},
        lambda d, w: d / 4 + d * w + _LIST_ID_BYTES,
        "1.00 after its second look, about 0.7 before",
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
        "what the store thinks best; HNSW on Milvus Lite and on servers as they come",
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
        refused="it searches bits and scores by their distance, where hits here carry cosines and full vectors must "
        "stay for re-embedding and for diverse results; IVF_RABITQ keeps one bit a number, too, and scores by cosine",
    ),
    IndexType(
        "SPARSE_INVERTED_INDEX",
        "words, by BM25; part of every index",
        lambda n, d: {"bm25_k1": 1.2, "bm25_b": 0.75},
        _none,
        lambda d, w: 0.0,
        "1: exact",
        disk=lambda d, w: 0.0,
        lite=True,
        refused="it serves the words of every index as it is; choose one for the vectors, such as HNSW",
    ),
)

INDEX_TYPES: Mapping[str, IndexType] = MappingProxyType({preset.name: preset for preset in _ALL})
"""All of them by name, from exact to large, those of GPUs, and those that cannot be chosen."""
