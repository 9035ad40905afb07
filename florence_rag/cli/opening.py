"""Opens databases and models for the commands, and shows on standard error that they are loading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from florence_rag.cli.options import BackendName, OpenOptions, PrecisionName
from florence_rag.cli.output import plain, stderr

if TYPE_CHECKING:
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.loading.model_loader import ModelRole
    from florence_rag.loading.model_options import ModelOptions
    from florence_rag.rag import FlorenceRAG

T = TypeVar("T")


@contextmanager
def open_rag(options: OpenOptions) -> Iterator[FlorenceRAG]:
    """Open a database with its models, and close it at the end. A terminal shows a status line while models load."""
    with stderr().status("Loading the models"):
        from florence_rag.chunking import ChunkingConfig
        from florence_rag.rag import FlorenceRAG

        rag = FlorenceRAG.open(
            options.db,
            options.model,
            token=options.token,
            create=options.create,
            vqa=options.vqa,
            captioner=options.captioner,
            detector=options.detector,
            action_model=options.action_model,
            reranker=options.reranker,
            text_embedder=options.text_embedder,
            ocr=options.ocr,
            index_type=options.index_type,
            vector_dtype=options.vector_dtype,
            model_options=model_options(options.offline, options.precision, options.backend),
            chunking=ChunkingConfig(video_frames=options.video_frames),
        )
    with rag:
        yield rag


@contextmanager
def open_index(db: str, token: str | None) -> Iterator[MilvusIndex]:
    """Open the index of a database without loading a model."""
    from florence_rag.index.milvus import MilvusIndex

    embedder, text_embedder = MilvusIndex.require_embedders(db, token)
    with MilvusIndex.open(db, embedder, token=token, create=False, text_embedder=text_embedder) as index:
        yield index


def load_for_command(role: ModelRole[T], model: str, options: ModelOptions) -> T:
    """Load one model by name; a terminal shows a status line meanwhile."""
    from florence_rag.loading.model_loader import load_model

    with stderr().status("Loading the model"):
        return load_model(role, model, options)


def model_options(
    offline: bool, precision: PrecisionName | None = None, backend: BackendName = "torch"
) -> ModelOptions:
    """Return how models are loaded, with the keys of services from the environment."""
    from florence_rag.loading.model_options import ModelOptions

    options = ModelOptions.from_environment(offline=offline, announce=print_download)
    return replace(options, precision=precision, backend=backend)


def print_download(what: str) -> None:
    """Print what is about to be downloaded, with its size and license."""
    stderr().print(plain(f"Fetching {what}", "bold"))
