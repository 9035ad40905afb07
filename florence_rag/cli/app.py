"""The commands. Each opens the database, calls one method of FlorenceRAG and shows what came back.

torch and pymilvus are imported inside the commands, so that `--help` and mistakes in the arguments answer at once.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Group

from florence_rag.cli.classifying import classify
from florence_rag.cli.describing import describe
from florence_rag.cli.error_handling import Commands, treat_termination_as_interrupt
from florence_rag.cli.evaluating import evaluate
from florence_rag.cli.import_export import estimate, export, import_
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.cli.moments import moments_to_text
from florence_rag.cli.opening import abandon as abandon_move
from florence_rag.cli.opening import opened, print_download, ray_engine, recorded_index, reembedding
from florence_rag.cli.options import (
    DEFAULT_DB,
    Actions,
    AsJson,
    Backend,
    CaptionColumn,
    Count,
    Database,
    Describe,
    Detect,
    DetectWith,
    Filter,
    ImageColumn,
    ImageFile,
    IndexType,
    Kinds,
    ListFile,
    Model,
    NearDuplicates,
    OCRMode,
    Offline,
    PictureBox,
    Precision,
    Rerank,
    TextModel,
    Token,
    VectorNumbers,
    VideoFrames,
    chosen_kinds,
    edges,
    lines_of,
)
from florence_rag.cli.output import (
    answer_to_text,
    card_to_dict,
    cards_to_markdown,
    cards_to_text,
    converted_to_text,
    failed_to_text,
    failures_to_text,
    hits_to_text,
    info_to_text,
    notes,
    plain,
    reembedded_to_text,
    report_to_text,
    results,
    show,
)
from florence_rag.cli.progress import shown_progress
from florence_rag.cli.recommending import recommend
from florence_rag.cli.tagging import tag
from florence_rag.cli.training import train
from florence_rag.cli.watching import watch_and_tell
from florence_rag.errors import InputError
from florence_rag.sources.io import Columns
from florence_rag.types import Failure

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Index images, videos, text and PDFs; search them by words or pictures; ask them questions. Offline.",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        results().print(f"florence-rag {version('florence-rag')}")
        raise typer.Exit


@app.callback()
def options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version and end.")
    ] = False,
) -> None:
    """What stands before a command."""


def main() -> None:
    """The entry point of `florence-rag`."""
    treat_termination_as_interrupt()
    quiet_libraries()
    app(prog_name="florence-rag")


@app.command()
def index(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Files, folders, patterns, URLs, tars, Parquet files, datasets."),
    ] = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    listed: ListFile = None,
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    video_frames: VideoFrames = "all",
    prune: Annotated[bool, typer.Option("--prune", help="Forget files below PATH that are gone.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try files again that failed, also those that have not changed.")
    ] = False,
    near_duplicates: NearDuplicates = "link",
    ocr: OCRMode = "auto",
    captioner: Describe = None,
    detector: Detect = None,
    action_model: Actions = None,
    text_embedder: TextModel = None,
    profile: Annotated[bool, typer.Option("--profile", help="Say in the end where the time went.")] = False,
    events: Annotated[bool, typer.Option("--events", help="Progress as lines of JSON on standard error.")] = False,
    index_type: IndexType = None,
    vector_dtype: VectorNumbers = None,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    engine: Annotated[Literal["threads", "ray"], typer.Option(help="This machine, or a Ray cluster.")] = "threads",
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT|auto", help="Of the Ray cluster; by default one is started here.")
    ] = None,
    actors: Annotated[int, typer.Option(min=1, help="Models at work on the Ray cluster.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="Of each of these.")] = 0,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Index files and folders; what has not changed since the last run is left alone."""
    from florence_rag.sources import require_paths

    if not paths and listed is None:
        raise typer.BadParameter("give paths, or a list of them with --files-from")
    lines = lines_of(listed)
    require_paths(paths or ())  # reports a missing path before a model is downloaded
    speed: dict[str, Any] = {"precision": precision, "backend": backend}
    looks: dict[str, Any] = {"captioner": captioner, "detector": detector, "action_model": action_model}
    names: dict[str, Any] = {**looks, "text_embedder": text_embedder}
    names |= {"index_type": index_type, "vector_dtype": vector_dtype}
    with (
        opened(db, model, offline=offline, token=token, ocr=ocr, video_frames=video_frames, **speed, **names) as rag,
        shown_progress(events=events, profile=profile) as progress,
    ):
        cluster: dict[str, Any] = {"address": address, "actors": actors, "gpus": gpus, **looks}
        there = ray_engine(rag, ocr=ocr, offline=offline, **cluster, **speed) if engine == "ray" else None
        report = rag.add(
            *(paths or ()),
            listed=lines,
            columns=Columns(image_column, caption_column),
            prune=prune,
            retry=retry,
            near_duplicates=near_duplicates,
            progress=progress,
            engine=there,
        )
    show(report.to_dict(), report_to_text(report), as_json)
    if not (report.added or report.updated or report.unchanged or report.removed or report.near_duplicates):
        raise InputError(f"nothing in {', '.join(paths or [str(listed)])} could be indexed; the report says why")


@app.command()
def watch(
    folders: Annotated[list[str], typer.Argument(metavar="FOLDER...", help="Folders.")],
    db: Database = DEFAULT_DB,
    model: Model = None,
    video_frames: VideoFrames = "all",
    near_duplicates: NearDuplicates = "link",
    ocr: OCRMode = "auto",
    captioner: Describe = None,
    detector: Detect = None,
    action_model: Actions = None,
    text_embedder: TextModel = None,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    token: Token = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as lines of JSON on standard output.")] = False,
) -> None:
    """Keep a database current with folders until Ctrl-C: files that come, change, move and go are seen at once."""
    speed: dict[str, Any] = {"precision": precision, "backend": backend}
    looks: dict[str, Any] = {"captioner": captioner, "detector": detector, "action_model": action_model}
    names: dict[str, Any] = {**looks, "text_embedder": text_embedder, "video_frames": video_frames}
    with opened(db, model, offline=offline, token=token, ocr=ocr, **speed, **names) as rag:
        try:
            watch_and_tell(rag, folders, near_duplicates, as_json=as_json)
        except KeyboardInterrupt:
            notes().print("Stopped; all that was indexed is kept.")


@app.command()
def failures(
    db: Database = DEFAULT_DB,
    retry: Annotated[bool, typer.Option("--retry", help="Try all of them again, and tell what came of it.")] = False,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """The files that could not be indexed, and why; `index PATH --retry` tries some of them again."""
    if retry:
        with opened(db, offline=offline, token=token, create=False) as rag, shown_progress() as progress:
            report = rag.retry_failures(progress=progress)
        show(report.to_dict(), report_to_text(report), as_json)
        return
    with recorded_index(db, token) as index:
        failed = index.failures()
    show({"failed": [asdict(failure) for failure in failed]}, failures_to_text(failed), as_json)


@app.command()
def search(
    text: Annotated[str | None, typer.Argument(help="What is sought, in words.")] = None,
    image: ImageFile = None,
    box: PictureBox = None,
    k: Count = 5,
    kind: Kinds = None,
    filter: Filter = None,
    sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", metavar="PNG", help="Also draw the hits as a contact sheet.")
    ] = None,
    reranker: Rerank = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find pictures, clips, pages and passages by words, by a picture, or by both."""
    from florence_rag.chunking import read_image
    from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row

    with opened(db, model, offline=offline, token=token, create=False, reranker=reranker) as rag:
        picture = read_image(image) if image else None
        hits = rag.search(text, image=picture, box=edges(box), k=k, kinds=chosen_kinds(kind), filter=filter)
        if sheet:
            draw_sheet([hits_to_row(text or str(image), hits, rag.frames, picture)]).save(sheet)
    show({"hits": [hit.to_dict() for hit in hits]}, hits_to_text(hits), as_json)


@app.command()
def moments(
    text: Annotated[str, typer.Argument(help="What happens, or is to be seen or heard, in words.")],
    k: Count = 5,
    filter: Filter = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Find when something happens, in all videos: from when to when, with a link that opens the video there."""
    from florence_rag.tools.find_video_moment import hit_to_moment

    with opened(db, model, offline=offline, token=token, create=False) as rag:
        found = [hit_to_moment(hit) for hit in rag.find_moments(text, k, filter=filter)]
    show({"moments": found}, moments_to_text(found), as_json)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="About what the pictures show and the texts say.")],
    image: ImageFile = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits to look at.")] = 8,
    kind: Kinds = None,
    filter: Filter = None,
    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Let this chat model answer, named as LangChain's init_chat_model does."),
    ] = None,
    vqa: Annotated[str | None, typer.Option(metavar="NAME", help="What looks at pictures and answers.")] = None,
    cache_answers: Annotated[
        bool, typer.Option("--cache-answers", help="Answer what was asked before from memory, and remember the rest.")
    ] = False,
    reranker: Rerank = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question, with the confidence and the places the answer rests on."""
    with opened(db, model, offline=offline, token=token, create=False, vqa=vqa, reranker=reranker) as rag:
        where: dict[str, Any] = {"kinds": chosen_kinds(kind), "filter": filter, "image": image}
        answer = rag.ask(question, k=k, llm=llm, cache_answers=cache_answers, **where)
    show(answer.to_dict(), answer_to_text(answer), as_json)


@app.command()
def detect(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures to look at.")],
    name: DetectWith = "florence-2-base",
    segment: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only what this refers to, with its outlines: 'the red car'.")
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also draw boxes or outlines into copies of the pictures."),
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Find the things in pictures, and where each is."""
    from florence_rag.cli.detecting import detected, detected_to_text

    failed: list[Failure] = []
    found = list(detected(images, name, draw, failed, segment=segment, offline=offline))
    record = {"images": found, "failed": [asdict(failure) for failure in failed]}
    show(record, Group(failed_to_text(failed), detected_to_text(found)), as_json)


@app.command()
def info(db: Database = DEFAULT_DB, token: Token = None, as_json: AsJson = False) -> None:
    """What a database holds, what failed, and which model filled it."""
    from florence_rag.models.registry import CARDS

    with recorded_index(db, token) as index:
        about, failures = index.info(), index.failures()
    card = CARDS.get(about.embedder.name)
    record = about.to_dict() | {
        "failed": [asdict(failure) for failure in failures],
        "training_data": card and card.training_data,
    }
    show(record, info_to_text(about, failures, card), as_json)


@app.command()
def reembed(
    to: Annotated[str | None, typer.Option(metavar="NAME", help="The embedder to move to.")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Drop what an unfinished move has done; the database stays as it is.")
    ] = False,
    db: Database = DEFAULT_DB,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare by these, one a line, not by a sample.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many results to compare.")] = 10,
    switch: Annotated[bool, typer.Option(help="Use the new vectors from then on; without it they wait beside.")] = True,
    give_up: Annotated[bool, typer.Option("--skip-unreadable", help="Switch without files that are gone.")] = False,
    precision: Precision = None,
    backend: Backend = "torch",
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Move a database to another embedder, while it can be searched; run it again to go on after an interruption."""
    if (to is None) != rollback:
        raise typer.BadParameter("say either --to NAME or --rollback")
    if to is None:
        name = abandon_move(db, token)
        show({"rolled_back": name}, plain(f"Dropped the vectors of {name}; the database stays as it is."), as_json)
        return
    with reembedding(
        db, to, with_old=queries is not None, offline=offline, token=token, precision=precision, backend=backend
    ) as (work, old):
        work.fill()
        asked = queries.read_text("utf-8").splitlines() if queries else None
        compared = work.compare(old, asked, k=k)
        if switch:
            work.switch(unreadable="fail" if give_up else "block")
        report = work.report()
    show({**report.to_dict(), "overlap": compared.to_dict()}, reembedded_to_text(report, compared), as_json)


@app.command()
def models(
    markdown: Annotated[bool, typer.Option("--markdown", help="The table of docs/models.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """The models that can be named: what for, how large, under which licence, and whether they are on this machine."""
    from florence_rag.models.downloads import is_here
    from florence_rag.models.registry import CARDS

    if markdown:
        print(cards_to_markdown(CARDS.values()))
        return
    here = {name for name, card in CARDS.items() if is_here(card)}
    record = {"models": [card_to_dict(card, here) for card in CARDS.values()]}
    show(record, cards_to_text(CARDS.values(), here), as_json)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A released UniCL or METER checkpoint.")],
    folder: Annotated[Path, typer.Argument(help="Where to write weights, configuration and processor.")],
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Holds vocab.json and merges.txt; fetched if not given.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="METER's answers: a JSON list or text file, or VQAv2's annotation files."),
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint into a folder that --model and --vqa, and from_pretrained, open."""
    from florence_rag.models.convert import convert as convert_checkpoint
    from florence_rag.models.convert import fetch_tokenizer
    from florence_rag.models.downloads import Fetcher
    from florence_rag.models.vqa_vocabulary import read_answers

    words = tokenizer or fetch_tokenizer(checkpoint, Fetcher(offline=offline, announce=print_download))
    config = convert_checkpoint(
        checkpoint, folder, tokenizer=words, answers=None if answers is None else read_answers(answers)
    )
    show({"folder": str(folder), "model_type": config.model_type}, converted_to_text(config, folder), as_json)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to draw, index and write.")] = Path("florence-demo"),
    as_json: AsJson = False,
) -> None:
    """Draw a small town, index it, search it, ask it, and say what to try next."""
    from florence_rag.cli.demo import run_demo

    show(run_demo(folder, notes() if as_json else results()), "", as_json)


app.command()(describe)
app.command()(export)
app.command("import")(import_)
app.command()(estimate)
app.command()(recommend)
app.command()(tag)
app.add_typer(classify, name="classify")
app.add_typer(evaluate, name="eval")
app.add_typer(train, name="train")
