"""`florence-rag train`: models learn from one's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from florence_rag.cli.opening import print_download
from florence_rag.cli.options import AsJson, Offline
from florence_rag.cli.output import failed_to_text, notes, plain, show
from florence_rag.finetuning.settings import FineTuned, Progress, Settings

if TYPE_CHECKING:
    from florence_rag.models.registry import Role

train = typer.Typer(
    help="Train models on your own data. Run a command again to go on after an interruption; on several GPUs, start "
    "it with: accelerate launch -m florence_rag train ...",
    no_args_is_help=True,
)


PARTS: dict[Role, str] = {"embed": "florence", "answer": "meter", "action": "video"}


class Job(NamedTuple):
    """What all trainers are told."""

    name: str
    out: Path
    settings: Settings
    progress: Progress
    offline: bool

    def start(self, role: Role) -> Path:
        """The folder of the model to begin with, fetched and converted if it has to be."""
        from florence_rag.models.downloads import Fetcher
        from florence_rag.models.pretrained import released_folder
        from florence_rag.models.registry import find_model

        card = find_model(self.name, role)
        fetcher = Fetcher(offline=self.offline, announce=print_download)
        if card.is_fetched_from == "file" or Path(card.source).is_file():
            return released_folder(card, fetcher)
        if card.is_fetched_from == "repository":
            card = replace(card, source=str(fetcher.repository(card.source, about=str(card))))
        folder: Path = getattr(card, PARTS[role])
        return folder

    @property
    def rest(self) -> dict[str, Any]:
        """What trainers take by name."""
        return {"name": self.name, "settings": self.settings, "progress": self.progress}


def _shared(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The model; it opens by this name everywhere.")],
    start: Annotated[
        str, typer.Option("--base-model", metavar="NAME", help="The model to begin with: a name or a folder.")
    ] = "florence-tiny",
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the data.")] = 10,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the optimiser, instead of --epochs.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step, on each device.")] = 32,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", help="The largest; by default 5e-4 for small networks, else 1e-5."),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="auto: half precision on GPUs.")
    ] = "auto",
    validation: Annotated[float, typer.Option(help="Share of the data to leave out, and to check with.")] = 0.1,
    patience: Annotated[int | None, typer.Option(min=1, help="End after so many checks that were no better.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that load data.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the split, the order and what is new in the network.")] = 0,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """The options of all trainers."""


def _trainer(**defaults: Any) -> Callable[[Callable[..., FineTuned]], None]:
    """Makes a command out of a function of a Job and its own options: it has those of all trainers, too.

    defaults: other ones than those of _shared.
    """

    def add(teach: Callable[..., FineTuned]) -> None:
        def command(**given: Any) -> None:
            own = {name: given.pop(name) for name in list(given) if name in parameters}
            start, out, offline, as_json = (given.pop(name) for name in ("start", "out", "offline", "as_json"))
            with _bar() as progress:
                result = teach(Job(start, out, Settings(**given), progress, offline), **own)
            _tell(result, as_json)

        _, *parameters = signature(teach).parameters
        mine = [each for each in signature(teach, eval_str=True).parameters.values() if each.name in parameters]
        theirs = signature(_shared, eval_str=True).parameters.values()
        all_of_it = [*mine, *(each.replace(default=defaults.get(each.name, each.default)) for each in theirs)]
        command.__signature__ = Signature([each.replace(kind=Parameter.KEYWORD_ONLY) for each in all_of_it])  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in all_of_it}
        train.command(teach.__name__, help=teach.__doc__)(command)

    return add


Images = Annotated[Path | None, typer.Option("--images", metavar="FOLDER", help="Where the pictures lie.")]


@_trainer()
def unicl(
    job: Job,
    data: Annotated[
        list[Path],
        typer.Argument(metavar="DATA...", help="Folders with a folder for each class, CSV, JSONL or Karpathy JSON."),
    ],
    images: Images = None,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A sentence with {} for a label; may be given repeatedly.")
    ] = None,
) -> FineTuned:
    """Train an embedder on pictures with texts, with labels, or both: pictures of one class are alike."""
    from florence_rag.finetuning.unicl import train_unicl

    return train_unicl(data, job.out, job.start("embed"), images=images, prompts=prompt, **job.rest)


@_trainer()
def vqa(
    job: Job,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="A folder with *questions*.json, *annotations*.json, pictures."),
    ] = None,
    questions: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In VQAv2's form.")] = None,
    annotations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In VQAv2's form.")] = None,
    images: Images = None,
    least: Annotated[
        int | None,
        typer.Option(
            min=1, help="Learn answers that are the commonest of so many questions: 1; 9 of 50,000 questions."
        ),
    ] = None,
) -> FineTuned:
    """Train what answers questions about pictures, on files in VQAv2's form; the answers are those of the data."""
    from florence_rag.datasets.vqav2 import find_vqa_files
    from florence_rag.finetuning.vqa import train_meter

    files = find_vqa_files(data, questions or (), annotations or (), images)
    return train_meter(files, job.out, job.start("answer"), min_questions=least, **job.rest)


@_trainer(batch=16)
def detect(
    job: Job,
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A folder with annotations in COCO's form, and pictures.")
    ] = None,
    annotations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In COCO's form.")] = None,
    images: Images = None,
) -> FineTuned:
    """Train what finds things in pictures, on boxes in COCO's form, over the image encoder of an embedder."""
    from florence_rag.datasets.coco import find_coco_files
    from florence_rag.finetuning.detection import train_detector

    files = find_coco_files(data, annotations or (), images)
    return train_detector(files, job.out, job.start("embed"), **job.rest)


@_trainer(batch=16, epochs=30)
def actions(
    job: Job,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="A folder with a folder of videos for each class, a CSV file or a Kinetics list."
        ),
    ],
    videos: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The folder of the videos of a list; by default that of DATA.")
    ] = None,
    idle: Annotated[
        str | None, typer.Option(metavar="LABEL", help="That of videos in which nothing happens: no moments.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="How much of a video it looks at at once; 2 by default.")
    ] = None,
) -> FineTuned:
    """Train what recognises actions, on videos with labels; the actions are those of the data."""
    from florence_rag.finetuning.actions import train_actions

    return train_actions(data, job.out, job.start("action"), videos=videos, idle=idle, window_s=window, **job.rest)


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

    metrics = [
        f"{name}: {result.before[name]:.3f} before, {value:.3f} after"
        if name in result.before
        else f"{name}: {value:.3f}"
        for name, value in result.after.items()
    ]
    return Group(
        failed_to_text(result.failed),
        *(plain(f"{name}: {value}") for name, value in result.details.items()),
        plain(
            f"Learned from {result.examples} examples in {result.steps} steps and {result.seconds:.0f} s; "
            f"on {result.validation} that were left out:"
        ),
        *(plain(f"  {line}", "bold") for line in metrics),
        plain(f"Use it with: {USE[result.part].format(folder=result.folder)}"),
    )
