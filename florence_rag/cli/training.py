"""`florence-rag train`: models learn from one's own data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from florence_rag.cli.opening import tell_download
from florence_rag.cli.options import AsJson, Offline
from florence_rag.cli.screen import failed_to_text, notes, plain, show

if TYPE_CHECKING:
    from florence_rag.finetuning.settings import FineTuned, Progress, Settings

train = typer.Typer(
    help="Train models on your own data. Run a command again to go on after an interruption; on several GPUs, start "
    "it with: accelerate launch -m florence_rag train ...",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The model; it opens by this name everywhere.")]
From = Annotated[str, typer.Option("--from", metavar="NAME", help="The model to begin with: a name or a folder.")]
Images = Annotated[Path | None, typer.Option("--images", metavar="FOLDER", help="Where the pictures lie.")]
Epochs = Annotated[float, typer.Option(min=0, help="Passes over the data.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Of the optimiser, instead of --epochs.")]
Batch = Annotated[int, typer.Option(min=1, help="Examples in a step, on each device.")]
Rate = Annotated[
    float | None, typer.Option("--learning-rate", help="The largest; by default 5e-4 for small networks, else 1e-5.")
]
Numbers = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option("--precision", help="auto: half precision on GPUs.")
]
Share = Annotated[float, typer.Option("--validation", help="Share of the data to leave out, and to check with.")]
Patience = Annotated[int | None, typer.Option(min=1, help="End after so many checks that were no better.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that load data.")]
Seed = Annotated[int, typer.Option(help="Of the split, the order and what is new in the network.")]


@train.command()
def unicl(
    ctx: typer.Context,
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA...", help="Folders with a folder for each class, CSV, JSONL or Karpathy JSON."),
    ],
    out: Out,
    start: From = "florence-tiny",
    images: Images = None,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A sentence with {} for a label; may be given repeatedly.")
    ] = None,
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 32,
    learning_rate: Rate = None,
    precision: Numbers = "auto",
    validation: Share = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train an embedder on pictures with texts, with labels, or both: pictures of one class are alike."""
    from florence_rag.finetuning.unicl import train_unicl

    settings = _settings(ctx)
    with _bar() as progress:
        folder = _start(start, meter=False, offline=offline)
        result = train_unicl(
            data, out, folder, name=start, images=images, prompts=prompt, settings=settings, progress=progress
        )
    _tell(result, as_json)


@train.command()
def meter(
    ctx: typer.Context,
    out: Out,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="A folder with *questions*.json, *annotations*.json, pictures."),
    ] = None,
    questions: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In VQAv2's form.")] = None,
    annotations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In VQAv2's form.")] = None,
    images: Images = None,
    start: From = "florence-tiny",
    least: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn answers that are the commonest of so many questions: 1; 9 of 50,000 questions."
        ),
    ] = None,
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 32,
    learning_rate: Rate = None,
    precision: Numbers = "auto",
    validation: Share = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train what answers questions about pictures, on files in VQAv2's form; the answers are those of the data."""
    from florence_rag.finetuning.questions import find_files
    from florence_rag.finetuning.vqa import train_meter

    settings = _settings(ctx)
    files = find_files(data, questions or (), annotations or (), images)
    with _bar() as progress:
        folder = _start(start, meter=True, offline=offline)
        result = train_meter(files, out, folder, name=start, least=least, settings=settings, progress=progress)
    _tell(result, as_json)


@train.command()
def detector(
    ctx: typer.Context,
    out: Out,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A folder with annotations in COCO's form, and pictures.")
    ] = None,
    annotations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In COCO's form.")] = None,
    images: Images = None,
    start: From = "florence-tiny",
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 16,
    learning_rate: Rate = None,
    precision: Numbers = "auto",
    validation: Share = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train what finds things in pictures, on boxes in COCO's form, over the image encoder of an embedder."""
    from florence_rag.finetuning.coco import find_annotations
    from florence_rag.finetuning.detection import train_detector

    settings = _settings(ctx)
    files = find_annotations(data, annotations or ())
    with _bar() as progress:
        folder = _start(start, meter=False, offline=offline)
        place = images or data or files[0].parent
        result = train_detector(files, place, out, folder, name=start, settings=settings, progress=progress)
    _tell(result, as_json)


def _settings(ctx: typer.Context) -> Settings:
    from florence_rag.finetuning.settings import Settings

    return Settings(**{name: value for name, value in ctx.params.items() if name in Settings.__slots__})


def _start(name: str, *, meter: bool, offline: bool) -> Path:
    """The folder of the model to begin with, fetched and converted if it has to be."""
    from florence_rag.models.cards import find_model
    from florence_rag.models.downloads import Fetcher
    from florence_rag.models.released import released_folder

    card = find_model(name, "answer" if meter else "embed")
    fetcher = Fetcher(offline=offline, announce=tell_download)
    if card.is_fetched_from == "file" or Path(card.source).is_file():
        return released_folder(card, fetcher)
    if card.is_fetched_from == "repository":
        card = replace(card, source=str(fetcher.repository(card.source, about=str(card))))
    return card.meter if meter else card.florence


@contextmanager
def _bar() -> Iterator[Progress]:
    """On a terminal; elsewhere nothing is written."""
    console = notes()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking at the data", total=None)

        def report(step: Any) -> None:
            loss = "" if step.loss is None else f"loss {step.loss:.3f}"
            bar.update(task, completed=step.step, total=step.steps, description=loss)

        yield report


def _tell(result: FineTuned, as_json: bool) -> None:
    from florence_rag.finetuning.run import is_main_process

    if is_main_process():
        show(result.to_dict(), _result_to_text(result), as_json)


def _result_to_text(result: FineTuned) -> RenderableType:
    from florence_rag.finetuning.card import USE

    figures = [
        f"{name}: {result.before[name]:.3f} before, {value:.3f} after"
        if name in result.before
        else f"{name}: {value:.3f}"
        for name, value in result.after.items()
    ]
    return Group(
        failed_to_text(result.failed),
        plain(
            f"Learned from {result.examples} examples in {result.steps} steps and {result.seconds:.0f} s; "
            f"on {result.validation} that were left out:"
        ),
        *(plain(f"  {line}", "bold") for line in figures),
        plain(f"Use it with: {USE[result.part].format(folder=result.folder)}"),
    )
