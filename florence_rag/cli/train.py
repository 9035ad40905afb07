"""`florence-rag train`: trains models on your own data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from florence_rag.cli.opening import print_download
from florence_rag.cli.options import (
    Answers,
    AsJson,
    BoxData,
    Boxes,
    ImageFolder,
    Offline,
    Questions,
    VideoData,
    VideoFolder,
    VQAData,
    absolute_path,
)
from florence_rag.cli.output import failed_to_text, plain, print_result, stderr
from florence_rag.finetuning.settings import FineTuned, Progress, Settings

if TYPE_CHECKING:
    from florence_rag.models.registry import Role

train = typer.Typer(
    add_completion=False,
    help="Train models on your own data. Run a command again to continue after an interruption. On several GPUs, start "
    "it with: accelerate launch -m florence_rag train ...",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The folder of the new model, which is its name.")]
BaseModel = Annotated[str, typer.Option(metavar="NAME", help="The model to start from: a name or a folder.")]
Epochs = Annotated[float, typer.Option(min=0, help="The number of passes over the data.")]
Steps = Annotated[int | None, typer.Option(min=1, help="The number of optimizer steps, instead of --epochs.")]
Batch = Annotated[int, typer.Option(min=1, help="Examples per step, on each device.")]
LearningRate = Annotated[
    float | None, typer.Option(help="The largest learning rate; by default 5e-4 for small networks, otherwise 1e-5.")
]
NumberFormat = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"], typer.Option("--precision", help="auto: half precision on GPUs.")
]
Validation = Annotated[float, typer.Option(help="The share of the data for validation.")]
Patience = Annotated[int | None, typer.Option(min=1, help="Stop after this many checks without improvement.")]
Workers = Annotated[int, typer.Option(min=0, help="The number of processes that load data.")]
Seed = Annotated[int, typer.Option(help="The seed of the split, the order of the examples, and new weights.")]

PARTS: dict[Role, str] = {"embed": "florence", "answer": "meter", "action": "video"}


@train.command()
def unicl(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            parser=absolute_path,
            help="Folders with a folder of images per class, CSV, JSONL, or JSON in Karpathy's format.",
        ),
    ],
    out: Out,
    images: ImageFolder = None,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A sentence with {} for the label. Repeatable.")
    ] = None,
    base_model: BaseModel = "florence-tiny",
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 32,
    learning_rate: LearningRate = None,
    precision: NumberFormat = "auto",
    validation: Validation = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train an embedder with UniCL on images with texts, with labels, or both."""
    from florence_rag.finetuning.trainer import fine_tune
    from florence_rag.finetuning.unicl import UniCLTask

    settings = _settings(epochs, steps, batch, learning_rate, precision, validation, patience, workers, seed)
    base = _base_folder(base_model, "embed", offline)
    with _progress_bar() as progress:
        task = UniCLTask(data, images, prompt)
        result = fine_tune(task, out, base, name=base_model, settings=settings, progress=progress)
    _print_trained(result, as_json)


@train.command()
def vqa(
    out: Out,
    data: VQAData = None,
    questions: Questions = None,
    annotations: Answers = None,
    images: ImageFolder = None,
    min_questions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Learn the answers that at least this many questions share; by default 1, and 9 for 50,000 questions.",
        ),
    ] = None,
    base_model: BaseModel = "florence-tiny",
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 32,
    learning_rate: LearningRate = None,
    precision: NumberFormat = "auto",
    validation: Validation = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train METER to answer questions about images, on files in VQAv2's format."""
    from florence_rag.datasets.vqav2 import find_vqa_files
    from florence_rag.finetuning.trainer import fine_tune
    from florence_rag.finetuning.vqa import MeterTask

    settings = _settings(epochs, steps, batch, learning_rate, precision, validation, patience, workers, seed)
    files = find_vqa_files(data, questions or (), annotations or (), images)
    base = _base_folder(base_model, "answer", offline)
    with _progress_bar() as progress:
        task = MeterTask(files, min_questions)
        result = fine_tune(task, out, base, name=base_model, settings=settings, progress=progress)
    _print_trained(result, as_json)


@train.command()
def detect(
    out: Out,
    data: BoxData = None,
    annotations: Boxes = None,
    images: ImageFolder = None,
    base_model: BaseModel = "florence-tiny",
    epochs: Epochs = 10,
    steps: Steps = None,
    batch: Batch = 16,
    learning_rate: LearningRate = None,
    precision: NumberFormat = "auto",
    validation: Validation = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train a detector over the image encoder of an embedder, on boxes in COCO's format."""
    from florence_rag.datasets.coco import find_coco_files
    from florence_rag.finetuning.detection import DetectorTask
    from florence_rag.finetuning.trainer import fine_tune

    settings = _settings(epochs, steps, batch, learning_rate, precision, validation, patience, workers, seed)
    files = find_coco_files(data, annotations or (), images)
    base = _base_folder(base_model, "embed", offline)
    with _progress_bar() as progress:
        result = fine_tune(DetectorTask(files), out, base, name=base_model, settings=settings, progress=progress)
    _print_trained(result, as_json)


@train.command()
def actions(
    data: VideoData,
    out: Out,
    videos: VideoFolder = None,
    idle: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The label of videos without an action; gives no moments.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="The length of video per prediction; 2 by default.")
    ] = None,
    base_model: BaseModel = "florence-tiny",
    epochs: Epochs = 30,
    steps: Steps = None,
    batch: Batch = 16,
    learning_rate: LearningRate = None,
    precision: NumberFormat = "auto",
    validation: Validation = 0.1,
    patience: Patience = None,
    workers: Workers = 0,
    seed: Seed = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Train a model that recognizes actions, on labeled videos."""
    from florence_rag.finetuning.actions import ActionTask
    from florence_rag.finetuning.trainer import fine_tune

    settings = _settings(epochs, steps, batch, learning_rate, precision, validation, patience, workers, seed)
    base = _base_folder(base_model, "action", offline)
    with _progress_bar() as progress:
        task = ActionTask(data, videos, idle, window)
        result = fine_tune(task, out, base, name=base_model, settings=settings, progress=progress)
    _print_trained(result, as_json)


def _settings(
    epochs: float,
    steps: int | None,
    batch: int,
    learning_rate: float | None,
    precision: Literal["auto", "fp32", "bf16", "fp16"],
    validation: float,
    patience: int | None,
    workers: int,
    seed: int,
) -> Settings:
    """Return the settings that all trainers share."""
    return Settings(
        epochs, steps, batch, learning_rate, precision, validation, patience=patience, workers=workers, seed=seed
    )


def _base_folder(name: str, role: Role, offline: bool) -> Path:
    """Return the folder of the model to start from, downloaded and converted if necessary."""
    from florence_rag.models.convert import converted_folder
    from florence_rag.models.downloads import Fetcher
    from florence_rag.models.registry import find_model

    card = find_model(name, role)
    fetcher = Fetcher(offline=offline, announce=print_download)
    if card.download_kind == "file" or Path(card.source).is_file():
        return converted_folder(card, fetcher)
    if card.download_kind == "repository":
        card = replace(card, source=str(fetcher.repository(card.source, about=str(card))))
    folder: Path = getattr(card, PARTS[role])
    return folder


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """Yield a callback that draws a bar on a terminal, and prints nothing elsewhere."""
    console = stderr()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading the data", total=None)

        def report(step: Any) -> None:
            loss = "" if step.loss is None else f"loss {step.loss:.3f}"
            bar.update(task, completed=step.step, total=step.steps, description=loss)

        yield report


def _print_trained(result: FineTuned, as_json: bool) -> None:
    from florence_rag.finetuning.trainer import is_main_process

    if is_main_process():
        print_result(result.to_dict(), _trained_to_text(result), as_json)


def _trained_to_text(result: FineTuned) -> RenderableType:
    from florence_rag.finetuning.settings import USE

    metrics = [
        f"{name}: {result.before[name]:.3f} before, {value:.3f} after"
        if name in result.before
        else f"{name}: {value:.3f}"
        for name, value in result.after.items()
    ]
    summary = f"Trained on {result.examples} examples in {result.steps} steps and {result.seconds:.0f} s"
    return Group(
        failed_to_text(result.failed),
        *(plain(f"{name}: {value}") for name, value in result.details.items()),
        plain(f"{summary}; validated on {result.validation} others:"),
        *(plain(f"  {line}", "bold") for line in metrics),
        plain(f"Use it with: {USE[result.part].format(folder=result.folder)}"),
    )
