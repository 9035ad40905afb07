"""`florence-rag train`: trains models on your own data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from florence_rag.cli.command import CommandGroup, ModelCommand
from florence_rag.cli.options import BoxData, ImageFolder, VideoData, VQAData, absolute_path, check_output_folder
from florence_rag.cli.output import failed_to_text, plain, stderr
from florence_rag.models.registry import Role

if TYPE_CHECKING:
    from florence_rag.finetuning.settings import FineTuned, Progress
    from florence_rag.finetuning.trainer import Task

PARTS: dict[Role, str] = {"embed": "florence", "answer": "meter", "action": "video"}
"""The part of a model's folder with the network of each role."""

Epochs = Annotated[float, typer.Option(min=0, help="The number of passes over the data.")]
Batch = Annotated[int, typer.Option(min=1, help="Examples per step, on each device.")]


class TrainCommand(ModelCommand):
    """A command that trains a model."""

    role: ClassVar[Role] = "embed"

    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", callback=check_output_folder, help="The folder of the new model, which is its name."
        ),
    ]
    base_model: Annotated[str, typer.Option(metavar="NAME", help="The base model, a name or folder.")] = "florence-tiny"
    epochs: Epochs = 10
    steps: Annotated[int | None, typer.Option(min=1, help="The number of optimizer steps, instead of --epochs.")] = None
    batch: Batch = 32
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The largest learning rate; by default 5e-4 for small networks, otherwise 1e-5."),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option("--precision", help="auto: half precision on GPUs.")
    ] = "auto"
    validation: Annotated[float, typer.Option(help="The share of the data for validation.")] = 0.1
    patience: Annotated[int | None, typer.Option(min=1, help="Stop after this many checks without improvement.")] = None
    workers: Annotated[int, typer.Option(min=0, help="The number of processes that load data.")] = 0
    seed: Annotated[int, typer.Option(help="The seed of the split, the order of the examples, and new weights.")] = 0

    @abstractmethod
    def task(self) -> Task:
        """Return what the network learns."""

    def run(self) -> None:
        from florence_rag.finetuning.settings import Settings
        from florence_rag.finetuning.trainer import fine_tune, is_main_process

        settings = Settings(
            self.epochs,
            self.steps,
            self.batch,
            self.learning_rate,
            self.precision,
            self.validation,
            patience=self.patience,
            workers=self.workers,
            seed=self.seed,
        )
        task, base = self.task(), self._base_folder()
        with _progress_bar() as progress:
            result = fine_tune(task, self.out, base, name=self.base_model, settings=settings, progress=progress)
        if is_main_process():
            self.print(result.to_dict(), _result_to_text(result))

    def _base_folder(self) -> Path:
        """Return the folder of the network to start from, downloaded and converted if necessary."""
        from florence_rag.models.convert import converted_folder
        from florence_rag.models.registry import find_model

        card, fetcher = find_model(self.base_model, self.role), self.fetcher()
        if card.download_kind == "file" or Path(card.source).is_file():
            return converted_folder(card, fetcher)
        if card.download_kind == "repository":
            card = replace(card, source=str(fetcher.repository(card.source, about=str(card))))
        return Path(getattr(card, PARTS[self.role]))


class UniCL(TrainCommand):
    """Train an embedder with UniCL on images with texts, with labels, or both."""

    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA...",
            parser=absolute_path,
            help="Folders with a folder of images per class, CSV, JSONL, or JSON in Karpathy's format.",
        ),
    ]
    images: ImageFolder = None
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A sentence with {} for the label. Repeatable.")
    ] = None

    def task(self) -> Task:
        from florence_rag.finetuning.unicl import UniCLTask

        return UniCLTask(self.data, self.images, self.prompt)


class AnswerQuestions(VQAData, TrainCommand):
    """Train METER to answer questions about images, on files in VQAv2's format."""

    role: ClassVar[Role] = "answer"
    min_questions: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Learn the answers that at least this many questions share; by default 1, and 9 for 50,000 questions.",
        ),
    ] = None

    def task(self) -> Task:
        from florence_rag.datasets.vqav2 import find_vqa_files
        from florence_rag.finetuning.vqa import MeterTask

        files = find_vqa_files(self.data, self.questions or (), self.annotations or (), self.images)
        return MeterTask(files, self.min_questions)


class Detect(BoxData, TrainCommand):
    """Train a detector over the image encoder of an embedder, on boxes in COCO's format."""

    batch: Batch = 16

    def task(self) -> Task:
        from florence_rag.datasets.coco import find_coco_files
        from florence_rag.finetuning.detection import DetectorTask

        return DetectorTask(find_coco_files(self.data, self.annotations or (), self.images))


class Actions(VideoData, TrainCommand):
    """Train a model that recognizes actions, on labeled videos."""

    role: ClassVar[Role] = "action"
    epochs: Epochs = 30
    batch: Batch = 16
    idle: Annotated[
        str | None, typer.Option(metavar="LABEL", help="The label of videos without an action; gives no moments.")
    ] = None
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="The length of video per prediction; 2 by default.")
    ] = None

    def task(self) -> Task:
        from florence_rag.finetuning.actions import ActionTask

        return ActionTask(self.data, self.videos, self.idle, self.window)


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


def _result_to_text(result: FineTuned) -> RenderableType:
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


TRAIN = CommandGroup(
    "Train models on your own data. Run a command again to continue after an interruption. On several GPUs, start it "
    "with: accelerate launch -m florence_rag train ...",
    {"unicl": UniCL, "vqa": AnswerQuestions, "detect": Detect, "actions": Actions},
)
