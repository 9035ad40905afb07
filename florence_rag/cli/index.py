"""`florence-rag index`, `watch` and `failures`: files become an index, and the index follows the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from florence_rag.cli.opening import model_options, open_index, open_rag
from florence_rag.cli.options import (
    DEFAULT_DB,
    OCR,
    ActionModel,
    AsJson,
    Backend,
    CaptionColumn,
    Captioner,
    Database,
    Detector,
    FilesFrom,
    ImageColumn,
    IndexType,
    Model,
    NearDuplicates,
    Offline,
    OpenOptions,
    Precision,
    TextEmbedder,
    Token,
    VectorDtype,
    VideoFrames,
    read_list,
)
from florence_rag.cli.output import (
    bare_reason,
    change_to_text,
    failures_to_dicts,
    failures_to_text,
    print_result,
    report_to_text,
    stderr,
)
from florence_rag.cli.progress import show_progress
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.ingest.engine import Engine
    from florence_rag.ingest.read_stage import Chunker
    from florence_rag.rag import FlorenceRAG
    from florence_rag.types import IndexReport


def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...", help="Files, folders, patterns, URLs, tar files, Parquet files and saved datasets."
        ),
    ] = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    files_from: FilesFrom = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    video_frames: VideoFrames = "all",
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the entries of files below PATH that no longer exist.")
    ] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Also try failed files that have not changed.")] = False,
    near_duplicates: NearDuplicates = "link",
    ocr: OCR = "auto",
    captioner: Captioner = None,
    detector: Detector = None,
    action_model: ActionModel = None,
    text_embedder: TextEmbedder = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print in the end how busy each stage of indexing was.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Print progress as lines of JSON to standard error.")
    ] = False,
    index_type: IndexType = None,
    vector_dtype: VectorDtype = None,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    engine: Annotated[
        Literal["threads", "ray"], typer.Option(help="What runs the stages: this machine, or a Ray cluster.")
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT|auto", help="The Ray cluster; by default one is started on this machine."),
    ] = None,
    actors: Annotated[int, typer.Option(min=1, help="The number of workers on the Ray cluster that embed.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="The GPUs per worker on the Ray cluster.")] = 0,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Index images, videos, audio, text and PDF files. Unchanged files are skipped."""
    from florence_rag.sources import require_paths
    from florence_rag.sources.io import Columns

    if not paths and files_from is None:
        raise typer.BadParameter("give paths, or a list of them with --files-from")
    listed = read_list(files_from)
    require_paths(paths or ())  # reports a missing path before a model is downloaded
    options = OpenOptions(
        db,
        model,
        token=token,
        offline=offline,
        create=True,
        captioner=captioner,
        detector=detector,
        action_model=action_model,
        text_embedder=text_embedder,
        ocr=ocr,
        index_type=index_type,
        vector_dtype=vector_dtype,
        video_frames=video_frames,
        precision=precision,
        backend=backend,
    )
    with open_rag(options) as rag, show_progress(events=events, profile=profile) as progress:
        report = rag.add(
            *(paths or ()),
            listed=listed,
            columns=Columns(image_column, caption_column),
            prune=prune,
            retry=retry,
            near_duplicates=near_duplicates,
            progress=progress,
            engine=_ray_engine(rag, options, address, actors, gpus) if engine == "ray" else None,
        )
    print_result(report.to_dict(), report_to_text(report), as_json)
    if not (report.added or report.updated or report.unchanged or report.removed or report.near_duplicates):
        raise InputError(
            f"nothing in {', '.join(paths or [str(files_from)])} could be indexed; the report lists the reasons"
        )


def _ray_engine(
    rag: FlorenceRAG, options: OpenOptions, address: str | None, actors: int, gpus: float
) -> Callable[[Chunker], Engine]:
    """Return a factory of engines that run the models of the database on the workers of a Ray cluster."""
    from florence_rag.ingest.ray_engine import RayConfig, RayEngine
    from florence_rag.loading.index_models import ModelNames
    from florence_rag.models.registry import find_model

    model, text_embedder = rag.models.embedder.info.name, rag.models.text_embedder
    names = ModelNames(
        model,
        text_embedder=text_embedder.info.name if text_embedder else None,
        captioner=options.captioner or find_model(model).default_captioner,
        detector=options.detector,
        action_recognizer=options.action_model,
    )
    return RayEngine.factory(
        names,
        RayConfig(address, actors, gpus),
        ocr=options.ocr,
        index_regions=options.detector is not None,
        options=model_options(options.offline, options.precision, options.backend),
    )


def watch(
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="The folders to watch.")],
    db: Database = DEFAULT_DB,
    model: Model = None,
    video_frames: VideoFrames = "all",
    near_duplicates: NearDuplicates = "link",
    ocr: OCR = "auto",
    captioner: Captioner = None,
    detector: Detector = None,
    action_model: ActionModel = None,
    text_embedder: TextEmbedder = None,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    token: Token = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as a line of JSON to standard output.")
    ] = False,
) -> None:
    """Keep an index current with folders until Ctrl-C. Changes are indexed within seconds."""
    options = OpenOptions(
        db,
        model,
        token=token,
        offline=offline,
        create=True,
        captioner=captioner,
        detector=detector,
        action_model=action_model,
        text_embedder=text_embedder,
        ocr=ocr,
        video_frames=video_frames,
        precision=precision,
        backend=backend,
    )
    with open_rag(options) as rag:
        try:
            with show_progress() as progress:
                reports = rag.watch(*folders, near_duplicates=near_duplicates, progress=progress)
                first = next(reports)
            print_result({"event": "ready", **first.to_dict()}, report_to_text(first), as_json)
            if not as_json:
                stderr().print(f"Watching {', '.join(folders)}. Ctrl-C ends it.", markup=False)
            for report in reports:
                for record in _events(report):
                    detail = record.get("reason", record.get("duplicate_of", ""))
                    print_result(record, change_to_text(record["event"], record["source"], detail), as_json)
        except KeyboardInterrupt:
            stderr().print("Stopped. Indexed files are kept.")


def _events(report: IndexReport) -> Iterator[dict[str, Any]]:
    for change in report.changes:
        yield {"event": change.event, "source": change.source}
    for failure in report.failed:
        yield {"event": "failed", "source": failure.source, "reason": bare_reason(failure)}
    for each in report.near_duplicates:
        yield {"event": "skipped", "source": each.source, "duplicate_of": each.duplicate_of}


def failures(
    db: Database = DEFAULT_DB,
    retry: Annotated[bool, typer.Option("--retry", help="Try all of them again, and print the report.")] = False,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the files that could not be indexed, with the reasons. `index PATH --retry` tries only some of them."""
    if retry:
        with open_rag(OpenOptions(db, token=token, offline=offline)) as rag, show_progress() as progress:
            report = rag.retry_failures(progress=progress)
        print_result(report.to_dict(), report_to_text(report), as_json)
        return
    with open_index(db, token) as opened:
        failed = opened.failures()
    print_result({"failed": failures_to_dicts(failed)}, failures_to_text(failed), as_json)
