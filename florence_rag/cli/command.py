"""The base classes of the commands.

A command is a dataclass: Typer reads its arguments and options from its fields, and `run` runs it. Commands that share
options inherit them. This module does not import annotations from `__future__`, because Typer evaluates annotations
that are strings in the module of the command, which does not import the types of inherited fields.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, dataclass_transform

import typer
from rich.console import RenderableType

from florence_rag.cli.options import CaptionPx, Filter, KindOption, Model, Reranker, check_output_folder
from florence_rag.cli.output import plain, print_result, stderr
from florence_rag.retrieval.request import MAX_COUNT
from florence_rag.types import KINDS, Kind

if TYPE_CHECKING:
    from typing import Unpack

    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.loading.model_loader import ModelRole
    from florence_rag.loading.model_options import ModelOptions
    from florence_rag.models.downloads import Fetcher
    from florence_rag.rag import FlorenceRAG
    from florence_rag.retrieval.config import RetrievalConfig
    from florence_rag.settings import OpenSettings

T = TypeVar("T")


@dataclass_transform(kw_only_default=True)
@dataclass(kw_only=True)
class Command(ABC):
    """A command that prints a result. Its subclasses are dataclasses, too."""

    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON to standard output.")] = False

    def __init_subclass__(cls) -> None:
        dataclass(kw_only=True)(cls)

    @abstractmethod
    def run(self) -> None:
        """Run the command, and print its result."""

    def print(self, record: Mapping[str, Any], text: RenderableType) -> None:
        """Print the record as JSON, or the text for a person."""
        print_result(record, text, self.as_json)


class CommandGroup(NamedTuple):
    """A command with subcommands, such as `florence-rag train`."""

    help: str
    commands: dict[str, type[Command]]


class ModelCommand(Command):
    """A command that loads models."""

    offline: Annotated[bool, typer.Option("--offline", help="Use only models on this machine; download none.")] = False

    def model_options(self) -> "ModelOptions":
        """Return how models are loaded, with the keys of services from the environment."""
        from florence_rag.loading.model_options import ModelOptions

        return ModelOptions.from_environment(offline=self.offline, announce=_print_download)

    def load(self, role: "ModelRole[T]", model: str, **changes: Any) -> T:
        """Load one model by name, with changed model options; a terminal shows a status line meanwhile."""
        from florence_rag.loading.model_loader import load_model

        with stderr().status("Loading the model"):
            return load_model(role, model, replace(self.model_options(), **changes))

    def fetcher(self) -> "Fetcher":
        """Return an object that downloads files, and prints the name and size of each download."""
        from florence_rag.models.downloads import Fetcher

        return Fetcher(offline=self.offline, announce=_print_download)


def _print_download(what: str) -> None:
    stderr().print(plain(f"Fetching {what}", "bold"))


class DatabaseCommand(Command):
    """A command that opens a database."""

    db: Annotated[
        str, typer.Option(metavar="DIR|URI", help="A Milvus Lite folder (*.db), or the address of a server.")
    ] = "florence.db"
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", envvar="MILVUS_TOKEN", help="The user:password or API key of a Milvus server."),
    ] = None

    tenant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose part of the database is opened, if it has tenants.")
    ] = None

    @property
    def collection(self) -> str:
        """The name of the collection, with the tenant."""
        from florence_rag.index.tenants import with_tenant

        return with_tenant("florence", self.tenant)

    @contextmanager
    def open_index(self) -> Iterator["MilvusIndex"]:
        """Open the index of the database without loading a model."""
        from florence_rag.index.milvus import MilvusIndex

        embedder, text_embedder = MilvusIndex.require_embedders(self.db, self.token)
        with MilvusIndex.open(
            self.db,
            embedder,
            text_embedder=text_embedder,
            token=self.token,
            collection=self.collection,
            create=False,
        ) as index:
            yield index


class RAGCommand(DatabaseCommand, ModelCommand):
    """A command that opens a database with its models."""

    @contextmanager
    def open_rag(self, model: str | None = None, **settings: "Unpack[OpenSettings]") -> Iterator["FlorenceRAG"]:
        """Open the database, which must exist unless `create` is set, and close it at the end.

        A terminal shows a status line while models load.
        """
        from florence_rag.index.address import Address

        address = Address.parse(self.db)
        if not settings.get("create") and address.is_missing:  # before seconds are spent on imports
            raise address.missing_error()
        self._check_filter()
        if settings.get("create"):
            check_output_folder(address.path)
        settings = {"create": False, **settings, "token": self.token, "tenant": self.tenant}
        settings["model_options"] = self.model_options()
        with stderr().status("Loading the models"):
            rag = _import_rag().open(self.db, model, **settings)
        with rag:
            yield rag

    def _check_filter(self) -> None:
        """Read a chunk that matches the filter, if any does: a wrong filter is reported before models are loaded."""
        if (condition := getattr(self, "filter", None)) is not None:
            with self.open_index() as index:
                next(index.find(filter=condition), None)


@cache
def _import_rag() -> "type[FlorenceRAG]":
    """Import what opens a database, and collect no garbage meanwhile.

    Modules stay, but looking through them takes a tenth of the time of a search.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import florence_rag.index.milvus  # noqa: F401 - `open` imports it otherwise
        from florence_rag.rag import FlorenceRAG
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    return FlorenceRAG


class QueryCommand(RAGCommand):
    """A command that finds chunks of some kinds."""

    kind: KindOption = None
    filter: Filter = None

    @property
    def kinds(self) -> set[Kind] | None:
        """The kinds for `FlorenceRAG.search` and `ask`; None stands for all kinds."""
        return {kind for kind in KINDS if kind in self.kind} if self.kind else None


class RerankingCommand(QueryCommand):
    """A command that searches, and may score the best hits again."""

    reranker: Reranker = None
    rerank_depth: Annotated[
        int, typer.Option(metavar="N", min=1, max=MAX_COUNT, help="How many of the best hits the reranker scores.")
    ] = 20
    rerank_budget: Annotated[
        float | None,
        typer.Option(
            metavar="MS", min=1, help="The most milliseconds for it, per query; the other hits keep their places."
        ),
    ] = None

    def retrieval_config(self, **weights: float) -> "RetrievalConfig":
        """Return how the database is searched, with weights of its branches."""
        from florence_rag.retrieval.config import RetrievalConfig

        settings: dict[str, Any] = dict(weights)
        return RetrievalConfig(rerank_depth=self.rerank_depth, rerank_budget_ms=self.rerank_budget, **settings)


class EmbeddingCommand(RAGCommand):
    """A command that embeds many images."""

    precision: Annotated[
        Literal["fp32", "bf16", "int8"] | None,
        typer.Option(help="The precision of the embedder; fewer bits are faster on most machines."),
    ] = None
    backend: Annotated[
        Literal["torch", "compile", "openvino", "onnx"],
        typer.Option(help="What runs the embedder; compile is torch.compile, for GPUs and long runs."),
    ] = "torch"

    def model_options(self) -> "ModelOptions":
        """Return how models are loaded, with the options of the embedder."""
        return replace(super().model_options(), precision=self.precision, backend=self.backend)


class IndexingCommand(EmbeddingCommand):
    """A command that indexes files."""

    model: Model = None
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|never",
            help="The model that writes captions, such as florence-2-base, or openai:MODEL of a service.",
        ),
    ] = None
    caption_px: CaptionPx = None
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The model that finds objects, such as florence-2-base, to index as regions."
        ),
    ] = None
    action_model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model that recognizes actions in videos, such as florence-tiny."),
    ] = None
    text_embedder: Annotated[
        str | None, typer.Option(metavar="NAME", help="A second embedder for captions, texts and OCR text.")
    ] = None
    ocr: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            "--ocr",
            help="When to run OCR: auto reads images, and scanned parts of pages.",
        ),
    ] = "auto"
    words: Annotated[
        Literal["later", "now", "never"],
        typer.Option(
            help="When to run OCR and write captions: after all files can be found by visual similarity, with each "
            "file, or not in this run. A run continues where an earlier one stopped."
        ),
    ] = "later"
    video_frames: Annotated[
        Literal["all", "key"],
        typer.Option(help="Decode all frames of a video, or only its key frames, which is much faster."),
    ] = "all"
    near_duplicates: Annotated[
        Literal["keep", "link", "drop"],
        typer.Option(
            help="Show near-duplicate images as one hit (link), index one of them (drop), or keep them apart."
        ),
    ] = "link"

    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow symbolic links that lead out of the folders.")
    ] = False
    file_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            help="The most time for reading a file; each page or passage adds 2 s, each clip 10 s.",
        ),
    ] = 60.0
    max_chunks: Annotated[
        int, typer.Option(metavar="N", min=1, help="The most chunks of a file: pages, passages, clips.")
    ] = 10_000
    memory_budget: Annotated[
        int, typer.Option(metavar="MB", min=768, help="The most memory of a run, in addition to the models.")
    ] = 2048

    def model_options(self) -> "ModelOptions":
        """Return how models are loaded, with those that are missing reported before the embedder is loaded."""
        return replace(super().model_options(), fetch_first=True, caption_px=self.caption_px)

    def can_scale_captions(self, rag: "FlorenceRAG") -> bool:
        """Return whether --caption-px would make captions faster."""
        from florence_rag.models.registry import CARDS, find_model

        embedder = CARDS.get(rag.models.embedder.info.name)
        captioner = self.captioner or (embedder.default_captioner if embedder else None)
        if self.caption_px is not None or captioner in (None, "never"):
            return False
        return find_model(captioner, "describe").family == "florence-2"

    def settings(self) -> "OpenSettings":
        """Return the settings for `open_rag`, which create a missing database."""
        from florence_rag.chunking import ChunkingConfig
        from florence_rag.ingest.engine import IngestConfig

        return {
            "create": True,
            "captioner": self.captioner,
            "detector": self.detector,
            "action_model": self.action_model,
            "text_embedder": self.text_embedder,
            "ocr": self.ocr,
            "chunking": ChunkingConfig(video_frames=self.video_frames),
            "ingest": IngestConfig(
                file_timeout_s=self.file_timeout,
                memory_budget_mb=self.memory_budget,
                max_chunks_per_file=self.max_chunks,
            ),
        }
