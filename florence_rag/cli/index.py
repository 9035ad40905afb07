"""`florence-rag index`, `watch` and `failures`: files become an index, and the index follows the files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from florence_rag.cli.command import IndexingCommand, RAGCommand
from florence_rag.cli.options import IndexType, VectorDtype
from florence_rag.cli.output import bare_reason, change_to_text, failures_to_text, report_to_text, stderr
from florence_rag.cli.progress import show_progress
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.index_report import IndexReport
    from florence_rag.ingest.engine import Engine
    from florence_rag.ingest.read_stage import Chunker
    from florence_rag.rag import FlorenceRAG


class Index(IndexingCommand):
    """Index images, videos, text and PDF files. Unchanged files are skipped."""

    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Files, folders, patterns, URLs, tar files, Parquet files and saved datasets."
        ),
    ] = None
    files_from: Annotated[
        Path | None,
        typer.Option(metavar="FILE|-", allow_dash=True, help="A list of paths and URLs, one per line."),
    ] = None
    image_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of a table that holds the images.")
    ] = None
    caption_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of a table that holds the captions.")
    ] = None
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the entries of files below PATH that no longer exist.")
    ] = False
    retry: Annotated[bool, typer.Option("--retry", help="Also try failed files that have not changed.")] = False
    profile: Annotated[
        bool, typer.Option("--profile", help="Print in the end how busy each stage of indexing was.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List the files, and parts of files, that are not read.")
    ] = False
    events: Annotated[bool, typer.Option("--events", help="Print progress as lines of JSON to standard error.")] = False
    index_type: IndexType = None
    vector_dtype: VectorDtype = None
    engine: Annotated[
        Literal["threads", "ray"], typer.Option(help="What runs the stages: this machine, or a Ray cluster.")
    ] = "threads"
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|auto", help="The Ray cluster; by default one is started on this machine."),
    ] = None
    actors: Annotated[int, typer.Option(min=1, help="The number of workers on the Ray cluster that embed.")] = 1
    gpus: Annotated[float, typer.Option(min=0, help="The GPUs per worker on the Ray cluster.")] = 0

    def run(self) -> None:
        from florence_rag.sources import require_paths
        from florence_rag.sources.io import Columns

        paths = self.paths or []
        if not paths and self.files_from is None:
            raise typer.BadParameter("give paths, or a list of them with --files-from")
        listed = read_list(self.files_from)
        require_paths(paths)  # reports a missing path before a model is downloaded
        settings = self.settings() | {"index_type": self.index_type, "vector_dtype": self.vector_dtype}
        with self.open_rag(self.model, **settings) as rag:
            scale = self.can_scale_captions(rag)
            with show_progress(events=self.events, profile=self.profile, can_scale_captions=scale) as progress:
                report = rag.add(
                    *paths,
                    listed=listed,
                    columns=Columns(self.image_column, self.caption_column),
                    prune=self.prune,
                    retry=self.retry,
                    near_duplicates=self.near_duplicates,
                    words=self.words,
                    follow_links=self.follow_links,
                    progress=progress,
                    engine=self._ray_engine(rag) if self.engine == "ray" else None,
                )
        self.print(report.to_dict(), report_to_text(report, list_skipped=self.verbose))
        if not (report.added or report.updated or report.unchanged or report.removed or report.near_duplicates):
            places = ", ".join(paths or [str(self.files_from)])
            raise InputError(f"nothing in {places} could be indexed; the report lists the reasons")

    def _ray_engine(self, rag: FlorenceRAG) -> Callable[[Chunker], Engine]:
        """Return a factory of engines that run the models of the database on the workers of a Ray cluster."""
        from florence_rag.ingest.ray_engine import RayConfig, RayEngine
        from florence_rag.loading.index_models import ModelNames
        from florence_rag.models.registry import find_model

        model, text_embedder = rag.models.embedder.info.name, rag.models.text_embedder
        names = ModelNames(
            model,
            text_embedder=text_embedder.info.name if text_embedder else None,
            captioner=self.captioner or find_model(model).default_captioner,
            detector=self.detector,
            action_recognizer=self.action_model,
        )
        return RayEngine.factory(
            names,
            RayConfig(self.address, self.actors, self.gpus),
            ocr=self.ocr,
            index_regions=self.detector is not None,
            options=self.model_options(),
        )


def read_list(path: Path | None) -> list[str]:
    """Return the lines of a list of paths and URLs, from standard input for "-"; without a list, nothing."""
    if path is None:
        return []
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"the list {str(path)!r} cannot be read: {error.strerror}") from error
    lines = text.removeprefix("\ufeff").split("\n")  # names may contain other separators of lines
    return [line for line in lines if line]


class Watch(IndexingCommand):
    """Keep an index current with folders until Ctrl-C. Changes are indexed within seconds."""

    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="The folders to watch.")]
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as one line of JSON.")] = False

    def run(self) -> None:
        from florence_rag.sources import require_paths

        require_paths(self.folders)
        with self.open_rag(self.model, **self.settings()) as rag:
            try:
                with show_progress(can_scale_captions=self.can_scale_captions(rag)) as progress:
                    reports = rag.watch(
                        *self.folders,
                        near_duplicates=self.near_duplicates,
                        words=self.words,
                        follow_links=self.follow_links,
                        progress=progress,
                    )
                    first = next(reports)
                self.print({"event": "ready", **first.to_dict()}, report_to_text(first))
                if not self.as_json:
                    stderr().print(f"Watching {', '.join(self.folders)}. Ctrl-C ends it.", markup=False)
                for report in reports:
                    for event in _events(report):
                        detail = event.get("reason", event.get("duplicate_of", ""))
                        self.print(event, change_to_text(event["event"], event["source"], detail))
            except KeyboardInterrupt:
                stderr().print("Stopped. Indexed files are kept.")


def _events(report: IndexReport) -> Iterator[dict[str, Any]]:
    for change in report.changes:
        yield {"event": change.event, "source": change.source}
    for failure in report.failed:
        yield {"event": "failed", "source": failure.source, "reason": bare_reason(failure)}
    for skipped in report.skipped:
        yield {"event": "skipped", **skipped.to_dict()}
    for each in report.near_duplicates:
        yield {"event": "near-duplicate", "source": each.source, "duplicate_of": each.duplicate_of}


class Failures(RAGCommand):
    """List the files that could not be indexed, with the reasons. `index PATH --retry` tries only some of them."""

    retry: Annotated[bool, typer.Option("--retry", help="Try all of them again, and print the report.")] = False

    def run(self) -> None:
        if self.retry:
            with self.open_rag() as rag, show_progress() as progress:
                report = rag.retry_failures(progress=progress)
            self.print(report.to_dict(), report_to_text(report))
        else:
            with self.open_index() as index:
                failures = index.failures()
            self.print({"failed": [asdict(failure) for failure in failures]}, failures_to_text(failures))
