"""Estimates the GPU and processor hours, memory, disk and cost of an index, by a model with few terms.

    hours of GPUs       = images * operations per image / (peak * utilization)
    hours of processors = images * (seconds to decode and, with OCR, to read text) + vectors * seconds to index
    memory, disk        = vectors * bytes of the index type and of the row * headroom * replicas
    work of a search    = time per request + segments of the server * time per segment

Every number is one of `Assumptions` or `index_types.toml` and has a source; replace the guesses by your own numbers.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from florence_rag.errors import InputError
from florence_rag.index.index_types import DTYPE_BYTES, SEGMENT_BYTES, IndexType, VectorDtype, index_types

SIZES = (1_000_000, 100_000_000, 10_000_000_000)
_GB = 1e9
_MONTH_H = 730


def _from(default: Any, source: str) -> Any:
    return field(default=default, metadata={"from": source})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The parameters of the model, each with the source of its default."""

    chunks_per_image: float = _from(1.0, "images are one chunk each, videos one for each shot")
    dimension: int = _from(768, "of siglip2-base")
    vector_dtype: VectorDtype = field(
        default="fp32", metadata={"from": "the default; fp16 and bf16 halve what is not quantized"}
    )
    gflop_per_image: float = _from(35.0, "computed: ViT-B/16 at 224 pixels, 2 x 86M weights x 196 patches, attention")
    gpu_tflops: float = _from(121.0, "data sheet: NVIDIA L4, dense bf16")
    gpu_utilization: float = _from(0.3, "guess: of the peak, for an encoder of this size")
    gpu_gb: float = _from(24.0, "data sheet: NVIDIA L4")
    gpu_usd_h: float = _from(0.8, "guess: a cloud's list price of one L4")
    decode_core_s: float = _from(2 / 130, "measured: 130 JPEGs of 640x480 a second on two cores, decoded and resized")
    read_core_s: float = _from(0.0, "text is not read; 0.88 measured for RapidOCR on a 640x480 image without text")
    row_bytes: float = _from(600.0, "guess: ids, locators, texts and metadata of a chunk as the store loads them")
    rows_in_memory: float = _from(0.1, "guess: the share of these that is not mapped from disk (Milvus' mmap)")
    terms: float = _from(20.0, "guess: different terms of a chunk, 8 bytes each in the index of terms")
    headroom: float = _from(1.3, "guess: for what grows and is merged")
    replicas: int = _from(1, "copies that searches are spread over")
    searches_per_s: float = _from(1.0, "guess: all day long")
    request_core_ms: float = _from(2.5, "measured: what Milvus 2.3.5 takes at least for a search, in 10,000 vectors")
    segment_gib: float = _from(1.0, "Milvus' default (dataCoord.segment.maxSize): what gets an index of its own")
    core_usd_h: float = _from(0.04, "guess: a cloud's list price")
    memory_usd_gb_h: float = _from(0.008, "guess: a cloud's list price, of machines with much memory")
    disk_usd_gb_month: float = _from(0.08, "guess: a cloud's list price of SSD")
    object_usd_gb_month: float = _from(0.023, "guess: a cloud's list price")

    def sources(self) -> Mapping[str, str]:
        """Return the source of each value by parameter: that of the default, or "set by you" for another value."""
        plain = Assumptions()
        return {
            each.name: each.metadata["from"] if getattr(self, each.name) == getattr(plain, each.name) else "set by you"
            for each in fields(self)
        }


MEASURED_ROWS, MEASURED_DIMENSION = 100_000, 512
"""The vectors of a segment, and their dimension, for which `index_types.toml` lists the time of a search."""


@dataclass(frozen=True, slots=True)
class IndexingCost:
    """The cost of embedding the images once."""

    images: int
    gpu_h: float
    core_h: float
    usd: float


@dataclass(frozen=True, slots=True)
class SearchCost:
    """The cost of searching the images by one index type.

    build_core_h and search_core_ms are None if they were not measured; usd_month then includes no processors.
    """

    index: str
    segments: int
    build_core_h: float | None
    memory_gb: float
    gpu_memory_gb: float
    disk_gb: float
    object_gb: float
    search_core_ms: float | None
    usd_month: float


def assume(changes: Mapping[str, str], base: Assumptions | None = None) -> Assumptions:
    """Return assumptions with some values parsed from texts, or raise InputError for an unknown name or value."""
    values: dict[str, Any] = asdict(base or Assumptions())
    for name, text in changes.items():
        if name not in values:
            raise InputError(f"{name!r} is not an assumption; there are {', '.join(values)}")
        try:
            values[name] = type(values[name])(text)
        except ValueError:
            raise InputError(f"{name} is {text!r}, which is not a number") from None
    if values["vector_dtype"] not in DTYPE_BYTES:
        raise InputError(f"vector_dtype is {values['vector_dtype']!r}; use {', '.join(DTYPE_BYTES)}")
    for name, value in values.items():
        may_be_zero = name.endswith(("_s", "_ms", "_h", "_gb", "_month", "row_bytes", "rows_in_memory", "terms"))
        if name != "vector_dtype" and not (math.isfinite(value) and (value > 0 or (may_be_zero and value == 0))):
            raise InputError(f"{name} is {value!r}; it must be {'0 or more' if may_be_zero else 'above 0'}")
    return Assumptions(**values)


def indexing_cost(images: int, assumed: Assumptions) -> IndexingCost:
    """Estimate the cost of embedding so many images."""
    per_second = assumed.gpu_tflops * 1000 * assumed.gpu_utilization / assumed.gflop_per_image
    gpu_h = images / per_second / 3600
    core_h = images * (assumed.decode_core_s + assumed.read_core_s) / 3600
    return IndexingCost(images, gpu_h, core_h, gpu_h * assumed.gpu_usd_h + core_h * assumed.core_usd_h)


def search_costs(images: int, assumed: Assumptions) -> Iterator[SearchCost]:
    """Estimate the cost of searching so many images, for each index type that names its own algorithm."""
    types = (each for each in index_types().values() if not each.refused and each.name != "AUTOINDEX")
    return (_search_cost(index_type, images, assumed) for index_type in types)


def _search_cost(index_type: IndexType, images: int, assumed: Assumptions) -> SearchCost:
    rows, width = images * assumed.chunks_per_image, DTYPE_BYTES[assumed.vector_dtype]
    vector_bytes, spare = assumed.dimension * width, assumed.headroom * assumed.replicas
    row_bytes = assumed.row_bytes * assumed.rows_in_memory + 8 * assumed.terms
    memory = rows * (index_type.memory(assumed.dimension, width) + row_bytes) * spare / _GB
    gpu = rows * index_type.gpu_memory(assumed.dimension, width) * spare / _GB
    disk = rows * (index_type.disk(assumed.dimension, width) + assumed.row_bytes) * assumed.replicas / _GB
    stored = rows * (vector_bytes + index_type.disk(assumed.dimension, width) + assumed.row_bytes) / _GB
    segments = max(1, math.ceil(rows * vector_bytes / (assumed.segment_gib * SEGMENT_BYTES)))
    build, search = _work(index_type, rows, segments, assumed)
    usd = (
        memory * assumed.memory_usd_gb_h * _MONTH_H
        + math.ceil(gpu / assumed.gpu_gb) * assumed.gpu_usd_h * _MONTH_H
        + disk * assumed.disk_usd_gb_month
        + stored * assumed.object_usd_gb_month
        + assumed.searches_per_s * (search or 0) / 1000 * assumed.core_usd_h * _MONTH_H
    )
    return SearchCost(index_type.name, segments, build, memory, gpu, disk, stored, search, usd)


def _work(index_type: IndexType, rows: float, segments: int, assumed: Assumptions) -> tuple[float | None, float | None]:
    """Return the core hours to index and the core milliseconds of a search, which grow with the dimension."""
    build_us, search_ms = index_type.core_us_to_build, index_type.core_ms_to_search
    if build_us is None or search_ms is None:
        return None, None
    wider, growth = assumed.dimension / MEASURED_DIMENSION, segment_growth(index_type.name, rows / segments)
    return rows * build_us * wider / 1e6 / 3600, assumed.request_core_ms + search_ms * wider * growth * segments


def segment_growth(name: str, rows: float) -> float:
    """Return how many times as long a search of a segment takes as one of a segment of MEASURED_ROWS.

    The search of a graph grows with the logarithm of the rows, and the search of lists with their length, that is with
    the square root of the rows.
    """
    if name == "FLAT":
        return rows / MEASURED_ROWS
    if "HNSW" in name:
        return math.log(max(rows, 2)) / math.log(MEASURED_ROWS)
    return math.sqrt(rows / MEASURED_ROWS)
