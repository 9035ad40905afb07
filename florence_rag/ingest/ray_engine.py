"""The stages of an index run on a Ray cluster: files are read by its processors, embedded by a pool of models.

    sources -> tasks: chunk, read words -> actors, each with its models: caption, embed -> this process: store

One process stores, as Milvus Lite takes no second writer and a server is not the bottleneck. A worker that dies is
replaced by Ray, which does its work again; ids depend on the chunks alone, so nothing is stored twice.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from florence_rag.context import LazyValue
from florence_rag.errors import FlorenceError, InputError, MissingExtraError, ModelError
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import AddWords, Batch, BatchResult, ChunksOf, read_chunks
from florence_rag.ingest.ocr_stage import OCRMode, OCRStage
from florence_rag.ingest.prefetch import Read, read_steps
from florence_rag.ingest.stage_timer import StageTimer
from florence_rag.loading.model_factory import (
    lazy_captioner,
    lazy_detector,
    lazy_recognizer,
    open_embedder,
    open_reader,
    open_text_embedder,
)
from florence_rag.loading.model_options import ModelOptions
from florence_rag.types import Source

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as error:
    raise MissingExtraError("ray", "ray") from error


_KNOCK_S = 10.0


class Recipe(Protocol):
    """What a worker needs; it travels there, so that it holds names, not models."""

    def embedding(self) -> EmbedStage:
        """Captions and vectors."""
        ...

    def add_words(self) -> AddWords | None:
        """What reads the words in pictures, if anything."""
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """The models of the workers, by the names that FlorenceRAG.open takes."""

    model: str
    text_model: str | None = None
    describe: str | None = None
    detect: str | None = None
    actions: str | None = None
    read: OCRMode = "auto"
    access: ModelOptions = field(default_factory=ModelOptions)

    def embedding(self) -> EmbedStage:
        """Loads them."""
        text_embedder = open_text_embedder(self.text_model, self.access) if self.text_model else None
        captioner = lazy_captioner(self.describe, self.access)
        detector = lazy_detector(self.detect, self.access, captioner)
        recognizer = lazy_recognizer(self.actions, self.access)
        return EmbedStage(open_embedder(self.model, self.access), captioner, text_embedder, detector, recognizer)

    def add_words(self) -> AddWords | None:
        """Loaded with the first picture."""
        return None if self.read == "never" else OCRStage(LazyValue(open_reader), self.read)


@dataclass(frozen=True, slots=True)
class RayConfig:
    """address: of a running cluster, "auto" for the one on this machine; by default one is started for the run.
    actors: that embed, each with models of its own. gpus: of each of them. batch: pictures in one forward pass.
    """

    address: str | None = None
    actors: int = 1
    gpus: float = 0
    batch: int = 32

    def __post_init__(self) -> None:
        if self.actors < 1 or self.batch < 1 or self.gpus < 0:
            raise InputError(f"actors={self.actors}, batch={self.batch}, gpus={self.gpus}: at least 1, 1 and 0")


class RayEngine:
    """An Engine on a Ray cluster whose machines see the files under the same paths."""

    def __init__(self, recipe: Recipe, chunks_of: ChunksOf, config: RayConfig | None = None) -> None:
        self._recipe = recipe
        self._chunks_of = chunks_of
        self._config = config or RayConfig()
        self._readers = 1

    @property
    def threads(self) -> Mapping[str, int]:
        """Processors of each stage."""
        actors = self._config.actors
        return {"read": self._readers, "words": self._readers, "caption": actors, "detect": actors, "embed": actors}

    def run(
        self, sources: Sequence[Source], watch: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """As Engine says, but that batches come in any order."""
        if not sources:
            return
        started = _connect(self._config.address)
        try:
            arrived = _Arrived()
            for row in self._rows(sources):
                check()
                done: _Embedded | str = pickle.loads(row["embedded"])
                if isinstance(done, str):
                    raise ModelError(done)
                watch.add(done.seconds)
                yield arrived.complete(done)
        except RayError as error:
            raise FlorenceError(f"the Ray cluster failed ({_one_line(error)}); run the same again to go on") from error
        finally:
            if started:
                ray.shutdown()

    def _rows(self, sources: Sequence[Source]) -> Iterator[Mapping[str, bytes]]:
        config = self._config
        processors = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        self._readers = max(1, processors - (0 if config.gpus else config.actors))
        items = [{"source": pickle.dumps(source)} for source in sources]
        embed = ray.data.ActorPoolStrategy(min_size=1, max_size=config.actors)
        rows = (
            ray.data.from_items(items, override_num_blocks=min(len(items), 4 * self._readers))
            .flat_map(_Reading(self._recipe, self._chunks_of))
            .map_batches(
                _EmbeddingActor,
                fn_constructor_args=(self._recipe,),
                batch_size=config.batch,
                compute=embed,
                num_gpus=config.gpus or None,
                num_cpus=0 if config.gpus else 1,
            )
        )
        return iter(rows.iter_rows())


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of reading a source. number: of its chunks until then. seconds: what reading has cost, by stage."""

    read: Read
    number: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A batch as it comes back. totals: how many chunks the sources have that end with it."""

    ready: BatchResult
    totals: Mapping[str, int]
    seconds: Mapping[str, float]


class _Reading:
    """Source -> its chunks, in a task of Ray."""

    def __init__(self, recipe: Recipe, chunks_of: ChunksOf) -> None:
        self._recipe = recipe
        self._chunks_of = chunks_of
        self._add_words: AddWords | None = None
        self._is_ready = False

    def __call__(self, row: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
        if not self._is_ready:
            self._add_words, self._is_ready = self._recipe.add_words(), True
        source: Source = pickle.loads(row["source"])
        watch, number = StageTimer(), 0
        for read in read_steps(source, lambda of: read_chunks(of, self._chunks_of, self._add_words, watch)):
            number += read.chunk is not None
            yield {"step": pickle.dumps(_Step(read, number, watch.seconds() if read.chunk is None else {}))}


class _EmbeddingActor:
    """Batches of steps -> their chunks with vectors. What its models raise comes back as a text: Ray hides it."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._embedding: EmbedStage | None = None

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, list[bytes]]:
        try:
            done: _Embedded | str = self._embedded([pickle.loads(step) for step in rows["step"]])
        except FlorenceError as error:
            done = str(error)
        return {"embedded": [pickle.dumps(done)]}

    def _embedded(self, steps: Sequence[_Step]) -> _Embedded:
        self._embedding = self._embedding or self._recipe.embedding()
        batch, watch = Batch(), StageTimer()
        for step in steps:
            batch.take(step.read)
            watch.add(step.seconds)
        parts, failures = self._embedding(batch.chunks, watch)
        light = [replace(part, chunks=[replace(chunk, frames=()) for chunk in part.chunks]) for part in parts]
        ready = BatchResult(steps[-1].read.source, light, [*batch.failures, *failures], batch.ended)
        counts = {step.read.source.uri: step.number for step in steps}
        return _Embedded(ready, {source.uri: counts[source.uri] for source in batch.ended}, watch.seconds())


class _Arrived:
    """Batches come in any order: a source ends when as many of its chunks have arrived as it has."""

    def __init__(self) -> None:
        self._chunks: Counter[str] = Counter()
        self._ended: dict[str, tuple[Source, int]] = {}

    def complete(self, done: _Embedded) -> BatchResult:
        """The batch with the sources that are complete with it."""
        self._chunks.update(chunk.source.uri for part in done.ready.parts for chunk in part.chunks)
        self._ended |= {source.uri: (source, done.totals[source.uri]) for source in done.ready.ended}
        full = [source for source, total in self._ended.values() if self._chunks[source.uri] >= total]
        for source in full:
            del self._ended[source.uri]
        return replace(done.ready, ended=full)


def _connect(address: str | None) -> bool:
    """Whether a cluster was joined or started, which is then to be left."""
    if ray.is_initialized():
        return False
    try:
        _knock(address)
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        where = f"there is no Ray cluster at {address!r}" if address else "Ray could not be started here"
        raise FlorenceError(f"{where} ({_one_line(error)}); start one with: ray start --head") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it would tell of every dataset
    return True


def _knock(address: str | None) -> None:
    """Ray would knock for minutes where nobody answers."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1]
