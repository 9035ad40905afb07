"""An engine that runs the stages on a Ray cluster: its processors read files, a pool of models embeds them.

    sources -> tasks: chunk, OCR -> actors with models: describe, embed -> this process: store

One process stores, as storing is not the bottleneck. Ray replaces a
worker that dies and repeats its work; ids depend on the chunks alone, so nothing is stored twice.
"""

from __future__ import annotations

import logging
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

from florence_rag.errors import FlorenceError, InputError, MissingExtraError, ModelError
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import Batch, BatchResult
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.read_stage import Chunker, OCRMode, OCRStage, ReadEvent, read_source
from florence_rag.loading.index_models import ModelNames, load_models
from florence_rag.loading.loaders import OCR_READER
from florence_rag.loading.model_loader import ModelLoader
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import RAPIDOCR
from florence_rag.types import Source

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as error:
    raise MissingExtraError("ray", "ray") from error

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class RayConfig:
    """The cluster and what the engine uses of it.

    Each process that reads has the memory budget of a run for itself, because a file that needs more is not read again
    alone: start Ray with `--num-cpus` if a machine has less memory than its processors times the budget.

    Args:
        address: The address of a running cluster, or "auto" for the one on this machine. By default one is started for
            the run.
        actors: The number of processes that embed, each with its own models.
        gpus: The number of GPUs of each of them; it may be a fraction.
        batch_size: The number of chunks in one batch.
    """

    address: str | None = None
    actors: int = 1
    gpus: float = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.actors < 1 or self.batch_size < 1 or self.gpus < 0:
            raise InputError(f"actors={self.actors}, batch_size={self.batch_size}, gpus={self.gpus}: at least 1, 1, 0")


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Runs the stages on a Ray cluster whose machines see the files under the same paths.

    The workers call `load_embed` once each and `load_ocr` for each source; both must be picklable.
    """

    load_embed: Callable[[], EmbedStage]
    load_ocr: Callable[[], OCRStage | None]
    chunker: Chunker
    config: RayConfig = RayConfig()

    @classmethod
    def factory(
        cls,
        names: ModelNames,
        config: RayConfig | None = None,
        *,
        ocr: OCRMode = "auto",
        index_regions: bool = False,
        options: ModelOptions | None = None,
    ) -> Callable[[Chunker], RayEngine]:
        """Return what `FlorenceRAG.add` takes as `engine`.

        Args:
            names: The models of the workers, which must be those of the index.
            config: The cluster.
            ocr: Which chunks are read by OCR.
            index_regions: Whether the objects that the detector finds in images are indexed, too.
            options: How the workers load the models.
        """
        load_embed = partial(_load_embed_stage, names, options, index_regions)
        return partial(cls, load_embed, partial(_load_ocr_stage, ocr, options), config=config or RayConfig())

    def run(
        self, sources: Sequence[Source], timer: StageTimer, failed: Collection[str], check: Callable[[], None]
    ) -> Generator[BatchResult, None, None]:
        """Run the stages as `Engine.run` does, with the batches in any order."""
        started = _connect(self.config.address)
        try:
            arrived: Counter[str] = Counter()
            ended: dict[Source, int] = {}
            for row in self._rows(sources, timer):
                check()
                batch: _EmbeddedSteps | str = pickle.loads(row["embedded"])
                if isinstance(batch, str):
                    raise ModelError(batch)
                timer.add(batch.seconds)
                # Batches come in any order: a source ends with the last of its chunks.
                arrived.update(chunk.source.uri for part in batch.result.parts for chunk in part.chunks)
                ended |= batch.totals
                complete = [source for source, total in ended.items() if arrived[source.uri] >= total]
                for source in complete:
                    del ended[source]
                yield replace(batch.result, ended=complete)
        except RayError as error:
            raise FlorenceError(f"the Ray cluster failed ({_last_line(error)}); run the same again to go on") from error
        finally:
            if started:
                ray.shutdown()

    def _rows(self, sources: Sequence[Source], timer: StageTimer) -> Iterator[Mapping[str, bytes]]:
        config = self.config
        processors = int(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
        readers = max(1, processors - (0 if config.gpus else config.actors))
        timer.set_threads(readers=readers, workers=config.actors)
        items = [{"source": pickle.dumps(source)} for source in sources]
        rows = (
            ray.data.from_items(items, override_num_blocks=min(len(items), 4 * readers))
            .flat_map(_ReadTask(self.load_ocr, self.chunker))
            .map_batches(
                _EmbedActor,
                fn_constructor_args=(self.load_embed,),
                batch_size=config.batch_size,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.actors),
                num_gpus=config.gpus or None,
                num_cpus=0 if config.gpus else 1,
            )
        )
        return iter(rows.iter_rows())


def _load_embed_stage(names: ModelNames, options: ModelOptions | None, index_regions: bool) -> EmbedStage:
    return EmbedStage.from_models(load_models(names, options), index_regions=index_regions)


@cache
def _load_ocr_stage(mode: OCRMode, options: ModelOptions | None) -> OCRStage | None:
    """Make the stage once per process, without loading other models: processes that read files do not need them."""
    reader = None if mode == "never" else ModelLoader(options).lazy(OCR_READER, RAPIDOCR)
    return OCRStage(reader, mode) if reader else None


class _Step(NamedTuple):
    """An event, the number of chunks of its source until then, and at the end the seconds that reading took."""

    event: ReadEvent
    chunks: int
    seconds: Mapping[str, float]


class _EmbeddedSteps(NamedTuple):
    """A batch from an actor, with the number of chunks of each source that ends with it, and the seconds it took."""

    result: BatchResult
    totals: Mapping[Source, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _ReadTask:
    """Turns a source into its steps, in a task of Ray."""

    load_ocr: Callable[[], OCRStage | None]
    chunker: Chunker

    def __call__(self, row: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
        timer, chunks = StageTimer(), 0
        for event in read_source(pickle.loads(row["source"]), self.chunker, self.load_ocr(), timer):
            chunks += event.chunk is not None
            is_last = event.chunk is None and event.skipped is None
            yield {"step": pickle.dumps(_Step(event, chunks, timer.seconds() if is_last else {}))}


class _EmbedActor:
    """Describes and embeds batches of steps. It returns the message of a model's error, which Ray would hide."""

    def __init__(self, load_embed: Callable[[], EmbedStage]) -> None:
        self._stage = cache(load_embed)

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, list[bytes]]:
        try:
            embedded: _EmbeddedSteps | str = self._embed([pickle.loads(step) for step in rows["step"]])
        except FlorenceError as error:
            embedded = str(error)
        return {"embedded": [pickle.dumps(embedded)]}

    def _embed(self, steps: Sequence[_Step]) -> _EmbeddedSteps:
        batch, timer = Batch(), StageTimer()
        for step in steps:
            batch.add(step.event)
            timer.add(step.seconds)
        result = batch.embed(self._stage(), timer, steps[-1].event.source)
        parts = [replace(part, chunks=[replace(chunk, frames=()) for chunk in part.chunks]) for part in result.parts]
        counts = {step.event.source.uri: step.chunks for step in steps}
        totals = {source: counts[source.uri] for source in batch.ended}
        return _EmbeddedSteps(replace(result, parts=parts), totals, timer.seconds())


def _connect(address: str | None) -> bool:
    """Join or start a cluster. Return False if the program had joined one before, which stays joined."""
    if ray.is_initialized():
        return False
    try:
        host, _, port = (address or "").removeprefix("ray://").rpartition(":")
        if host and port.isdigit():  # fails at once where nobody answers; Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        where = f"there is no Ray cluster at {address!r}" if address else "Ray could not be started on this machine"
        raise FlorenceError(f"{where} ({_last_line(error)}); start one with: ray start --head") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # otherwise it reports every dataset
    return True


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1]
