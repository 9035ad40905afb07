"""`florence-rag eval`: measures a model on a data set in one of the field's formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.progress import track
from rich.table import Table

from florence_rag.cli.opening import load_for_command, model_options
from florence_rag.cli.options import (
    VQA,
    Answers,
    AsJson,
    BoxData,
    Boxes,
    ImageFolder,
    LabeledImages,
    Model,
    Offline,
    OneDetector,
    Questions,
    VideoData,
    VideoFolder,
    VQAData,
    absolute_path,
)
from florence_rag.cli.output import failed_to_text, plain, print_result, stderr
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.embedding.base import Embedder
    from florence_rag.evaluation.report import EvaluationReport

evaluate = typer.Typer(
    add_completion=False,
    help="Measure models on data sets in the field's formats, next to the results of the Florence paper.",
    no_args_is_help=True,
)

Limit = Annotated[int | None, typer.Option(min=1, help="Evaluate a fixed random sample of this size.")]


@evaluate.command()
def retrieval(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            parser=absolute_path,
            help="Captions in Karpathy's format, such as dataset_flickr30k.json; with --videos, MSR-VTT's JSON or CSV.",
        ),
    ],
    images: ImageFolder = None,
    videos: VideoFolder = None,
    frames: Annotated[int, typer.Option(min=1, help="The number of frames per video.")] = 12,
    split: Annotated[str, typer.Option(help="The split of the data set.")] = "test",
    captions: Annotated[
        int | None,
        typer.Option(min=1, help="The number of captions to use; by default 5 per image, and all of a video."),
    ] = None,
    model: Model = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure R@1, R@5, R@10 and the median rank of text-to-image and image-to-text retrieval, or of videos."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.images import CAPTIONS, read_captioned_images
    from florence_rag.datasets.media_files import videos_by_name
    from florence_rag.datasets.videos import is_video_list, read_msrvtt
    from florence_rag.evaluation.retrieval import evaluate_retrieval, evaluate_video_retrieval

    if videos is None and is_video_list(data):
        raise typer.BadParameter("a list of videos needs their folder: give --videos")
    if videos is None:
        examples = read_captioned_images(data, images, split=split, captions=captions or CAPTIONS)
        report = evaluate_retrieval(sample_items(examples, limit), _load_embedder(model, offline), _track)
    else:
        clips, files = sample_items(read_msrvtt(data, split=split, captions=captions), limit), videos_by_name(videos)
        embedder = _load_embedder(model, offline)
        report = evaluate_video_retrieval(clips, files, embedder, frames=frames, track=_track)
    _print_report(report, as_json)


@evaluate.command()
def vqa(
    data: VQAData = None,
    questions: Questions = None,
    annotations: Answers = None,
    images: ImageFolder = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the answers here, for the VQA server.")
    ] = None,
    vqa: VQA = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure VQA accuracy, over all questions and for each type of answer."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.vqav2 import find_vqa_files, read_vqa
    from florence_rag.evaluation.vqa import evaluate_vqa, write_answers
    from florence_rag.loading import loaders
    from florence_rag.models.registry import DEFAULT, find_model

    files = find_vqa_files(data, questions or (), annotations or (), images, need_annotations=False).for_evaluation()
    if not files.annotations and answers is None:
        raise typer.BadParameter("give --annotations to score the answers, or --answers to write them, or both")
    if answers is not None and not answers.expanduser().absolute().parent.is_dir():
        raise InputError(f"{str(answers)!r} cannot be written: there is no such folder")
    dataset = read_vqa(files)
    dataset = dataset._replace(questions=tuple(sample_items(dataset.questions, limit)))
    name = vqa or find_model(DEFAULT).default_vqa or DEFAULT
    model = load_for_command(loaders.VQA, name, model_options(offline))
    report, answered = evaluate_vqa(dataset, model, name, _track)
    if answers is not None:
        write_answers(answered, answers)
    _print_report(report, as_json)


@evaluate.command()
def classify(
    data: LabeledImages,
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='The class names of the folders, as JSON: {"n01440764": "tench"}.'),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A classifier of `classify train`, instead of the class names alone."),
    ] = None,
    model: Model = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure top-1 and top-5 accuracy, zero-shot by the class names or with a trained classifier."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.images import read_class_names, read_labeled_images, rename_labels
    from florence_rag.evaluation.classify import evaluate_classify
    from florence_rag.tasks.classifier import ZeroShotClassifier
    from florence_rag.tasks.probe import LinearProbe

    examples = read_labeled_images(data)
    named = rename_labels(examples, read_class_names(names, [each.label for each in examples]) if names else {})
    embedder = _load_embedder(model, offline)
    labels = sorted({each.label for each in named})
    classifier = LinearProbe.load(probe, embedder.info) if probe else ZeroShotClassifier(embedder, labels)
    _print_report(evaluate_classify(sample_items(named, limit), classifier, embedder, _track), as_json)


@evaluate.command()
def detect(
    data: BoxData = None,
    annotations: Boxes = None,
    images: ImageFolder = None,
    detector: OneDetector = "florence-2-base",
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure COCO's average precision of the boxes that a detector finds."""
    from florence_rag.datasets.coco import find_coco_files, read_coco
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.evaluation.detect import MIN_CONFIDENCE, evaluate_detect
    from florence_rag.loading.loaders import DETECTOR

    files = find_coco_files(data, annotations or (), images)
    dataset = read_coco(files.evaluation_file(), files.images)
    dataset = replace(dataset, images=tuple(sample_items(dataset.images, limit)))
    options = replace(model_options(offline), detection_threshold=MIN_CONFIDENCE)
    model = load_for_command(DETECTOR, detector, options)
    _print_report(evaluate_detect(dataset, model, detector, _track), as_json)


@evaluate.command()
def actions(
    data: VideoData,
    action_model: Annotated[str, typer.Option(metavar="NAME", help="The model, or a folder with video/.")],
    videos: VideoFolder = None,
    split: Annotated[str | None, typer.Option(help="The split of the list; by default all of it.")] = None,
    limit: Limit = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Measure top-1 and top-5 accuracy of the actions in clips."""
    from florence_rag.datasets.dataset_io import sample_items
    from florence_rag.datasets.videos import read_labeled_videos
    from florence_rag.evaluation.classify import ClipClassifier, evaluate_actions
    from florence_rag.loading.loaders import ACTION_RECOGNIZER

    clips = sample_items(read_labeled_videos(data, videos, split=split), limit)
    model = cast(ClipClassifier, load_for_command(ACTION_RECOGNIZER, action_model, model_options(offline)))
    _print_report(evaluate_actions(clips, model, action_model, _track), as_json)


def _load_embedder(model: str | None, offline: bool) -> Embedder:
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.models.registry import DEFAULT

    return load_for_command(EMBEDDER, model or DEFAULT, model_options(offline))


def _track(items: Sequence[Any]) -> Iterable[Any]:
    console = stderr()
    return track(items, "Evaluating", console=console, transient=True, disable=not console.is_terminal)


def _print_report(report: EvaluationReport, as_json: bool) -> None:
    print_result(report.to_dict(), _report_to_text(report), as_json)


def _report_to_text(report: EvaluationReport) -> RenderableType:
    from florence_rag.evaluation.report import HEADLINES

    measured = Table("", "measured", "95 % interval", box=None)
    for metric in report.metrics:
        measured.add_row(metric.name, *metric.text())
    paper = Table("", "Florence", "on", box=None)
    for published in HEADLINES[report.task]:
        paper.add_row(published.metric, f"{published.value:g}%", published.data)
    counts = ", ".join(f"{count:,} {name}" for name, count in report.counts.items())
    return Group(
        failed_to_text(report.failed),
        plain(f"{report.model} on {counts}", "bold"),
        measured,
        *(plain(note, "yellow") for note in report.notes),
        plain("The Florence paper (arXiv 2111.11432); compare results on the same data only:", "dim"),
        paper,
    )
