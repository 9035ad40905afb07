"""Measures what makes an index slow or its results wrong, and says what to do about it.

One pass over all vectors finds those that are wrong or copies, and the exact neighbors of a sample of chunks, with
which the neighbors that the index finds are compared.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from florence_rag.batching import batched
from florence_rag.context import Context
from florence_rag.embedding.base import Embedder, embed_queries
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.skip_counts import counts_to_line
from florence_rag.tokenize import content_words
from florence_rag.types import KINDS, Hit, Kind
from florence_rag.validation import validate_arguments

_QUERIES = 50
"""The chunks of images and the chunks of texts whose neighbors are sought."""
_K = 10
_ROWS = 2000
_LENGTH_ERROR = 0.01  # a unit vector in bf16 is that precise
_CELL = 0.01  # two vectors with equal cells are those of copies
_MIN_RECALL, _MAX_COPIES, _SLOW_S = 0.95, 0.05, 0.2
_NVIDIA = Path("/proc/driver/nvidia/gpus")

Name = Literal[
    "recall",
    "duplicates",
    "bad vectors",
    "failed files",
    "skipped files",
    "incomplete files",
    "store",
    "slow stages",
    "gpu",
]


@validate_arguments
@dataclass(frozen=True, slots=True)
class Measurement:
    """One thing that the doctor looks at.

    Attributes:
        name: What was measured.
        value: A share in [0, 1], a number of files or rows, or seconds; None if there is nothing to measure.
        text: The result, in one line.
        advice: What to do about it; "" if all is well.
    """

    name: Name
    value: float | None
    text: str
    advice: str = ""


@validate_arguments
@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All measurements of an index."""

    database: str
    measurements: tuple[Measurement, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether there is nothing to do."""
        return not any(each.advice for each in self.measurements)

    def __getitem__(self, name: Name) -> Measurement:
        """Return the measurement with a name."""
        return next(each for each in self.measurements if each.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis, ready for JSON."""
        return asdict(self) | {"healthy": self.is_healthy}


def diagnose(context: Context) -> Diagnosis:
    """Measure an index in Milvus with its models: `diagnose(rag.context)`. All vectors are read once."""
    index = context.index
    if not isinstance(index, MilvusIndex):
        raise InputError(f"only an index in Milvus can be measured, and this is a {type(index).__name__}")
    samples = [_Sample(index, VISUAL_KINDS), _Sample(index, frozenset(KINDS) - VISUAL_KINDS)]
    scan = _Scan(index, samples)
    scan.run()
    recalls, seconds = [], []
    for sample in samples:
        for recall, spent in sample.search():
            recalls.append(recall)
            seconds.append(spent)
    return Diagnosis(
        str(index.chunks.connection.address),
        (
            _recall(recalls, index.chunks.index_type),
            scan.duplicates(),
            scan.bad_vectors(),
            *_files(index),
            _stages(context, [hit for sample in samples for hit in sample.hits], seconds),
            _gpu(context.models.embedder),
        ),
    )


class _Sample:
    """Chunks of some kinds whose exact neighbors a scan collects. Ids are digests, so the first ones are random."""

    def __init__(self, index: MilvusIndex, kinds: frozenset[Kind]) -> None:
        self._index, self.kinds = index, kinds
        self.hits = list(islice(index.find(kinds=kinds), _QUERIES))
        self._place = {hit.id: place for place, hit in enumerate(self.hits)}
        self._queries = index.vectors(list(self._place))
        self._best = np.full((len(self.hits), _K), -np.inf, np.float32)

    def compare(self, ids: Sequence[str], vectors: np.ndarray) -> None:
        """Update the best cosines with those of more chunks, (N, D). A chunk is no neighbor of itself."""
        scores = self._queries @ vectors.T
        for column, id in enumerate(ids):
            if (place := self._place.get(id)) is not None:
                scores[place, column] = -np.inf
        self._best = np.sort(np.concatenate([self._best, scores], axis=1), axis=1)[:, -_K:]  # best last

    def search(self) -> Iterator[tuple[float, float]]:
        """Yield for each chunk the share of its exact neighbors that the index finds, and the seconds of the search."""
        for hit, query, best in zip(self.hits, self._queries, self._best, strict=True):
            neighbors = int(np.isfinite(best).sum())
            if not neighbors or abs(float(np.linalg.norm(query)) - 1) > _LENGTH_ERROR:
                continue
            started = time.perf_counter()
            found = self._index.search_vector(query, _K + 1, kinds=self.kinds)
            spent = time.perf_counter() - started
            ids = [each.id for each in found if each.id != hit.id][:neighbors]
            cosines = self._index.vectors(ids) @ query  # those of a quantized index are rounded
            yield float((cosines >= best[_K - neighbors] - 1e-5).sum()) / neighbors, spent


@dataclass
class _Scan:
    """One pass over the vectors of all rows."""

    index: MilvusIndex
    samples: Sequence[_Sample]
    rows: int = field(default=0, init=False)
    distinct: set[int] = field(default_factory=set, init=False)
    wrong: list[str] = field(default_factory=list, init=False)

    def run(self) -> None:
        """Read all rows, a batch of them at a time in memory."""
        chunks, names = self.index.chunks, ["id", "kind", "vector"]
        names += ["has_text_vector", "text_vector"] if chunks.text_embedder else []
        self.index.flush_buffer()
        for batch in batched(chunks.connection.rows(chunks.name, names), _ROWS):
            self.rows += len(batch)
            vectors = np.stack([chunks.codec.decode_vector(row["vector"]) for row in batch])
            good = _is_unit(vectors)
            texts = [row for row in batch if row.get("has_text_vector")]
            unit = _is_unit(np.array([chunks.codec.decode_vector(row["text_vector"]) for row in texts]))
            checked = [*zip(batch, good, strict=True), *zip(texts, unit, strict=True)]
            self.wrong += [row["id"] for row, is_unit in checked if not is_unit]
            cells = np.round(np.where(good[:, None], vectors, 0) / _CELL).astype(np.int8)
            self.distinct.update(hash(row.tobytes()) for row in cells[good])
            for sample in self.samples:
                of_kind = [place for place, row in enumerate(batch) if row["kind"] in sample.kinds and good[place]]
                sample.compare([batch[place]["id"] for place in of_kind], vectors[of_kind])

    def duplicates(self) -> Measurement:
        """Return the share of chunks whose vector is that of an earlier one."""
        share = max(self.rows - len(self.wrong) - len(self.distinct), 0) / max(self.rows, 1)
        advice = "run florence-rag index --near-duplicates drop, or delete the copies with florence-rag delete"
        text = f"{share:.1%} of {self.rows:,} chunks are copies of others"
        return Measurement("duplicates", share, text, advice if share > _MAX_COPIES else "")

    def bad_vectors(self) -> Measurement:
        """Return the number of vectors that are zero, not finite or not of unit length."""
        wrong = list(dict.fromkeys(self.wrong))
        text = f"{len(wrong)} chunks have a vector that is zero, not finite or not of length 1"
        if wrong:
            text += f", such as {wrong[0]!r}"
        return Measurement("bad vectors", len(wrong), text, "run florence-rag repair" if wrong else "")


def _is_unit(vectors: np.ndarray) -> np.ndarray:
    if not len(vectors):
        return np.zeros(0, bool)
    with np.errstate(all="ignore"):
        return np.asarray(np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _LENGTH_ERROR)  # False for NaN


def _recall(recalls: Sequence[float], index_type: str) -> Measurement:
    if not recalls:
        return Measurement("recall", None, "there are too few chunks to measure the recall of the index")
    recall = float(np.mean(recalls))
    text = f"the index {index_type} finds {recall:.1%} of the {_K} exact neighbors of {len(recalls)} chunks"
    advice = "run florence-rag index --index-type flat, which is exact, or choose another type of docs/scale.md"
    return Measurement("recall", recall, text, advice if recall < _MIN_RECALL else "")


def _files(index: MilvusIndex) -> Iterator[Measurement]:
    info = index.info()
    text = f"{info.failures} files could not be read, and {info.sources} could"
    advice = "see florence-rag failures; to read them again, florence-rag failures --retry" if info.failures else ""
    yield Measurement("failed files", info.failures, text, advice)
    missing = [reason for reason in info.skipped if "install " in reason]
    advice = f"install what is missing: {', '.join(missing)}" if missing else ""
    text = counts_to_line(info.skipped) or "no file was skipped"
    yield Measurement("skipped files", sum(info.skipped.values()), text, advice)
    text, advice = f"{len(info.incomplete)} files have lost chunks", "index them again"
    yield Measurement("incomplete files", len(info.incomplete), text, advice if info.incomplete else "")
    text = f"Milvus {info.server_version} holds {sum(info.chunks.values()):,} chunks in an index {info.index_type}"
    yield Measurement("store", sum(info.chunks.values()), text, info.advice)


def _stages(context: Context, hits: Sequence[Hit], searches: Sequence[float]) -> Measurement:
    """Return the median seconds of the slowest stage of a search."""
    texts = [" ".join(content_words(hit.content)[:3]) or "a photo" for hit in hits[:10]] or ["a photo"]
    stages: dict[str, list[float]] = {
        "embedding a query": [],
        "searching vectors": list(searches),
        "searching words": [],
    }
    for text in texts:
        started = time.perf_counter()
        embed_queries(context.models.embedder, [text])
        embedded = time.perf_counter()
        context.index.search_bm25(text, _K)
        stages["embedding a query"].append(embedded - started)
        stages["searching words"].append(time.perf_counter() - embedded)
    seconds = {name: median(spent) for name, spent in stages.items() if spent}
    slowest = max(seconds, key=seconds.__getitem__)
    text = ", ".join(f"{name} takes {spent * 1000:.0f} ms" for name, spent in seconds.items())
    cures = {
        "embedding a query": "use a GPU, a smaller embedder, or the backend openvino",
        "searching vectors": "use an index type for more chunks, such as hnsw on a server; see docs/scale.md",
        "searching words": "move the database to a Milvus server; see docs/scale.md",
    }
    return Measurement("slow stages", seconds[slowest], text, cures[slowest] if seconds[slowest] > _SLOW_S else "")


def _gpu(embedder: Embedder) -> Measurement:
    """Return the number of GPUs that do nothing, because the embedder runs elsewhere."""
    import torch

    device, usable = embedder.capabilities.device, torch.cuda.is_available()
    gpus = torch.cuda.device_count() if usable else len(list(_NVIDIA.glob("*")))
    where = f"the embedder runs on {device or 'no device of torch'}"
    if not gpus:
        return Measurement("gpu", 0, f"{where}, and there is no NVIDIA GPU")
    if device.startswith("cuda") or not device:
        return Measurement("gpu", 0, where)
    advice = "open the database without device='cpu' and with the backend torch or compile"
    if not usable:
        built = torch.version.cuda
        advice = f"update the NVIDIA driver for CUDA {built}" if built else "install a PyTorch that is built for CUDA"
    return Measurement("gpu", gpus, f"{where}, and {gpus} NVIDIA GPU{'s' * (gpus > 1)} is idle", advice)
