"""Opens the database for a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from florence_rag.cli.output import notes, plain
from florence_rag.cli.progress import shown_progress
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.embedding.base import Embedder
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.ingest.engine import ChunksOf, Engine
    from florence_rag.ingest.ocr_stage import OCRMode
    from florence_rag.models.inference_backends import Backend, Precision
    from florence_rag.rag import FlorenceRAG
    from florence_rag.reembed.reembedding import Reembedding


@contextmanager
def opened(
    db: str,
    model: str | None = None,
    *,
    offline: bool = False,
    precision: Precision | None = None,
    backend: Backend = "torch",
    video_frames: Literal["all", "key"] = "all",
    **options: Any,
) -> Iterator[FlorenceRAG]:
    """FlorenceRAG.open, closed at the end; a terminal shows that models are loading, which takes seconds.

    What is about to be fetched is told first, with its size and licence.
    """
    with notes().status("Loading the models"):
        from florence_rag.chunking import ChunkingConfig
        from florence_rag.loading.model_options import ModelOptions
        from florence_rag.rag import FlorenceRAG

        access = replace(ModelOptions.from_environment(), **_told(offline), precision=precision, backend=backend)
        chunking = ChunkingConfig(video_frames=video_frames)
        rag = FlorenceRAG.open(db, model, access=access, chunking=chunking, **options)
    with rag:
        yield rag


def ray_engine(
    rag: FlorenceRAG,
    *,
    address: str | None,
    actors: int,
    gpus: float,
    captioner: str | None,
    detector: str | None,
    action_model: str | None,
    ocr: OCRMode,
    offline: bool,
    precision: Precision | None,
    backend: Backend,
) -> Callable[[ChunksOf], Engine]:
    """What makes the engine for `rag.add`: the models of the database, on the workers of a Ray cluster."""
    from florence_rag.ingest.ray_engine import Models, RayConfig, RayEngine
    from florence_rag.loading.model_options import ModelOptions
    from florence_rag.models.registry import find_model

    model, words = rag.models.embedder.info.name, rag.models.text_embedder
    recipe = Models(
        model,
        text_model=words.info.name if words else None,
        describe=captioner or find_model(model).default_captioner,
        detect=detector,
        actions=action_model,
        read=ocr,
        access=replace(ModelOptions.from_environment(offline=offline), precision=precision, backend=backend),
    )
    return partial(RayEngine, recipe, config=RayConfig(address, actors, gpus))


@contextmanager
def recorded_index(db: str, token: str | None) -> Iterator[MilvusIndex]:
    """The index of a database, to look into: no model is loaded."""
    from florence_rag.index.milvus import MilvusIndex

    recorded = MilvusIndex.require_embedders(db, token)
    with MilvusIndex.open(db, recorded[0], token=token, create=False, text_embedder=recorded[1]) as index:
        yield index


@contextmanager
def reembedding(
    db: str, to: str, *, with_old: bool, token: str | None, offline: bool, **speed: Any
) -> Iterator[tuple[Reembedding, Embedder | None]]:
    """A database on its way to another embedder, and, if asked for, the embedder that it has.

    The old one is not needed otherwise: it may be a service that is no more.
    """
    with notes().status("Loading the models"):
        from florence_rag.index.address import image_folder
        from florence_rag.index.milvus import MilvusIndex
        from florence_rag.loading.loaders import EMBEDDER
        from florence_rag.loading.model_loader import load_model
        from florence_rag.loading.model_options import ModelOptions
        from florence_rag.rag import FlorenceRAG
        from florence_rag.reembed.reembedding import Reembedding

        recorded = MilvusIndex.require_embedders(db, token)
        access = replace(ModelOptions.from_environment(), **_told(offline), **speed)
        embedder = load_model(EMBEDDER, to, access)
        old = load_model(EMBEDDER, recorded[0].name, access) if with_old else None
    with (
        MilvusIndex.open(db, recorded[0], token=token, create=False, text_embedder=recorded[1]) as index,
        shown_progress() as progress,
    ):
        pictures = FlorenceRAG(index, embedder, images=image_folder(db, index.info().collection))
        yield Reembedding(index, embedder, pictures.frames, progress=progress), old


def abandon(db: str, token: str | None) -> str:
    """Drop the vectors that wait beside those of a database; the name of the model that they are of."""
    from florence_rag.index.milvus import MilvusIndex

    recorded = MilvusIndex.require_embedders(db, token)
    with MilvusIndex.open(db, recorded[0], token=token, create=False, text_embedder=recorded[1]) as index:
        if index.shadow_embedder is None:
            raise InputError(f"{db!r} is not being moved to another model: there is nothing to abandon")
        name = index.shadow_embedder.name
        index.drop_shadow()
    return name


def _told(offline: bool) -> dict[str, Any]:
    return {"offline": offline, "announce": print_download}


def print_download(what: str) -> None:
    """Before the first byte."""
    notes().print(plain(f"Fetching {what}", "bold"))
