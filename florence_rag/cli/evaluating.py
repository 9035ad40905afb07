"""`florence-rag eval`: how good a model is on a data set in one of the field's formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.progress import track
from rich.table import Table

from florence_rag.cli.opening import print_download
from florence_rag.cli.options import AsJson, DetectWith, Model, Offline
from florence_rag.cli.output import failed_to_text, notes, plain, show
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.embedding.base import Embedder
    from florence_rag.evaluation.report import EvaluationReport
    from florence_rag.loading.model_options import ModelOptions

evaluate = typer.Typer(
    help="Measure models on data sets in the field's formats, beside the figures of the Florence article.",
    no_args_is_help=True,
)

Images = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the pictures are, by default beside the annotations.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="So many items only, drawn always the same way.")]


@evaluate.command()
def retrieval(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Captions in Karpathy's format: dataset_flickr30k.json. With --videos, MSR-VTT's JSON or CSV.",
        ),
    ],
    images: Images = None,
    videos: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the videos are; finds these.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="So many of each video are looked at.")] = 12,
    split: Annotated[str, typer.Option(help="Which part of the data set.")] = "test",
    captions: Annotated[
        int | None, typer.Option(min=1, help="The first so many count, by default 5 of a picture, all of a video.")
    ] = None,
    model: Model = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """R@1, R@5, R@10 and the median rank of pictures, or videos, by captions, and of captions by these."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.images import CAPTIONS, read_captioned_images
    from florence_rag.datasets.media_files import VideoFolder
    from florence_rag.datasets.videos import is_video_list, read_msrvtt
    from florence_rag.evaluation.retrieval import evaluate_retrieval, evaluate_video_retrieval

    if videos is None and is_video_list(data):
        raise typer.BadParameter("a list of videos needs their folder: give --videos")
    if videos is None:
        examples = read_captioned_images(data, images, split=split, captions=captions or CAPTIONS)
        report = evaluate_retrieval(sample_items(examples, limit), _embedder(model, offline), _watched)
    else:
        listed, folder = read_msrvtt(data, split=split, captions=captions), VideoFolder(videos)
        report = evaluate_video_retrieval(
            sample_items(listed, limit), folder, _embedder(model, offline), frames=frames, track=_watched
        )
    show(report.to_dict(), _report_to_text(report), as_json)


@evaluate.command()
def vqa(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="[DATA]", help="A folder with *questions*.json, *annotations*.json and the images."),
    ] = None,
    questions: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Questions in VQAv2's format.")] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Answers in VQAv2's format; test splits have none.")
    ] = None,
    images: Images = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the answers here, as VQA's server takes them.")
    ] = None,
    name: Annotated[str | None, typer.Option("--vqa", metavar="NAME", help="What looks and answers.")] = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """VQA's soft accuracy, over all questions and for each type of answer."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.vqav2 import find_vqa_files, read_vqa
    from florence_rag.evaluation.vqa import evaluate_vqa, write_answers
    from florence_rag.loading.loaders import VQA
    from florence_rag.loading.model_loader import load_model
    from florence_rag.models.registry import DEFAULT, find_model

    files = find_vqa_files(data, questions or (), annotations or (), images, need_annotations=False).for_evaluation()
    if not files.annotations and answers is None:
        raise typer.BadParameter("give --annotations to score the answers, or --answers to write them, or both")
    if answers is not None and not answers.expanduser().absolute().parent.is_dir():
        raise InputError(f"{str(answers)!r} cannot be written: there is no such folder")
    dataset = read_vqa(files)
    dataset = dataset._replace(questions=tuple(sample_items(dataset.questions, limit)))
    chosen = name or find_model(DEFAULT).default_vqa or DEFAULT
    with notes().status("Loading the model"):
        model = load_model(VQA, chosen, _access(offline))
    report, answered = evaluate_vqa(dataset, model, chosen, _watched)
    if answers is not None:
        write_answers(answered, answers)
    show(report.to_dict(), _report_to_text(report), as_json)


@evaluate.command()
def classify(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder with a folder for each class, or a CSV.")],
    names: Annotated[
        Path | None, typer.Option(metavar="FILE", help='What the folders stand for, as JSON: {"n01440764": "tench"}.')
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A classifier of `classify train`, in place of the labels alone."),
    ] = None,
    model: Model = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Top-1 and top-5, zero-shot by the names of the classes or by a trained classifier."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.images import read_class_names, read_labeled_images, rename_labels
    from florence_rag.evaluation.classify import evaluate_classify
    from florence_rag.tasks.probe import LinearProbe
    from florence_rag.tasks.zero_shot import ZeroShotClassifier

    examples = read_labeled_images(data)
    named = rename_labels(examples, read_class_names(names, [each.label for each in examples]) if names else {})
    embedder = _embedder(model, offline)
    labels = sorted({each.label for each in named})
    classifier = LinearProbe.load(probe, embedder.info) if probe else ZeroShotClassifier(embedder, labels)
    report = evaluate_classify(sample_items(named, limit), classifier, embedder, _watched)
    show(report.to_dict(), _report_to_text(report), as_json)


@evaluate.command()
def detect(
    data: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A folder with annotations in COCO's format and the images.")
    ] = None,
    annotations: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="In COCO's format.")] = None,
    images: Images = None,
    name: DetectWith = "florence-2-base",
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """COCO's average precision of the boxes that a detector finds."""
    from florence_rag.datasets.coco import find_coco_files, read_coco
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.evaluation.detect import MIN_CONFIDENCE, evaluate_detect
    from florence_rag.loading.loaders import DETECTOR
    from florence_rag.loading.model_loader import load_model

    files = find_coco_files(data, annotations or (), images)
    dataset = read_coco(files.evaluation_file(), files.images)
    dataset = replace(dataset, images=tuple(sample_items(dataset.images, limit)))
    with notes().status("Loading the model"):
        detector = load_model(DETECTOR, name, replace(_access(offline), detection_threshold=MIN_CONFIDENCE))
    report = evaluate_detect(dataset, detector, name, _watched)
    show(report.to_dict(), _report_to_text(report), as_json)


@evaluate.command()
def actions(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A list of clips as Kinetics has it: validate.csv.")],
    name: Annotated[str, typer.Option("--action-model", metavar="NAME", help="The model, or a folder with video/.")],
    videos: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the videos are, by default beside the list.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which part of the list, by default all of it.")] = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Top-1 and top-5 of what is done in clips."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.videos import read_labeled_videos
    from florence_rag.evaluation.actions import ClipClassifier, evaluate_actions
    from florence_rag.loading.loaders import ACTION_RECOGNIZER
    from florence_rag.loading.model_loader import load_model

    clips = sample_items(read_labeled_videos(data, videos, split=split), limit)
    with notes().status("Loading the model"):
        model = cast(ClipClassifier, load_model(ACTION_RECOGNIZER, name, _access(offline)))
    report = evaluate_actions(clips, model, name, _watched)
    show(report.to_dict(), _report_to_text(report), as_json)


def _access(offline: bool) -> ModelOptions:
    from florence_rag.loading.model_options import ModelOptions

    return replace(ModelOptions.from_environment(offline=offline), announce=print_download)


def _embedder(model: str | None, offline: bool) -> Embedder:
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.loading.model_loader import load_model
    from florence_rag.models.registry import DEFAULT

    with notes().status("Loading the model"):
        return load_model(EMBEDDER, model or DEFAULT, _access(offline))


def _watched(items: Sequence[Any]) -> Iterable[Any]:
    console = notes()
    return track(items, "Looking", console=console, transient=True, disable=not console.is_terminal)


def _report_to_text(report: EvaluationReport) -> RenderableType:
    from florence_rag.evaluation.report import HEADLINES

    table = Table("", "measured", "95 % interval", box=None)
    for metric in report.metrics:
        table.add_row(metric.name, *metric.text())
    article = Table("", "Florence", "on", box=None)
    for published in HEADLINES[report.task]:
        article.add_row(published.metric, f"{published.value:g}%", published.data)
    counts = ", ".join(f"{count:,} {name}" for name, count in report.counts.items())
    return Group(
        failed_to_text(report.failed),
        plain(f"{report.model} on {counts}", "bold"),
        table,
        *(plain(note, "yellow") for note in report.notes),
        plain("The Florence article (arXiv 2111.11432), to compare with on the same data only:", "dim"),
        article,
    )
