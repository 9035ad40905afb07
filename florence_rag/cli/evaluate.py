"""`florence-rag eval`: measures a model on a data set in a standard format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer
from rich.console import Group
from rich.table import Table

from florence_rag.cli.command import CommandGroup, ModelCommand, RAGCommand
from florence_rag.cli.options import (
    VQA,
    BoxData,
    ImageFolder,
    LabeledImages,
    Model,
    OneDetector,
    VideoData,
    VideoFolder,
    VQAData,
    absolute_path,
    check_output_file,
)
from florence_rag.cli.output import failed_to_text, plain
from florence_rag.cli.progress import track_items
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.embedding.base import Embedder
    from florence_rag.evaluation.report import EvaluationReport
    from florence_rag.perception.actions import VideoCoSwinRecognizer

T = TypeVar("T")
_PAPER = "The Florence paper (arXiv 2111.11432); compare results on the same data only:"


class EvalCommand(ModelCommand):
    """A command that measures a model."""

    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate a fixed random sample of this size.")] = None

    def sample(self, items: Sequence[T]) -> Sequence[T]:
        """Return a fixed random sample of the items, or all of them without --limit."""
        from florence_rag.datasets.dataset_io import sample_items

        return sample_items(items, self.limit)

    def load_embedder(self, model: str | None) -> Embedder:
        """Load an embedder, by default the default model."""
        from florence_rag.loading.loaders import EMBEDDER
        from florence_rag.models.registry import DEFAULT

        return self.load(EMBEDDER, model or DEFAULT)

    def print_report(self, report: EvaluationReport) -> None:
        """Print the metrics next to those of the Florence paper."""
        from florence_rag.evaluation.report import HEADLINES

        measured = Table("", "measured", "95 % interval", box=None)
        for metric in report.metrics:
            measured.add_row(metric.name, *metric.text())
        reliability = Table("confidence", "accuracy", "answers", box=None)
        for each in report.reliability:
            reliability.add_row(f"{each.confidence:.2f}", f"{each.accuracy:.2f}", str(each.size))
        paper = Table("", "Florence", "on", box=None)
        for published in HEADLINES.get(report.task, ()):
            paper.add_row(published.metric, f"{published.value:g}%", published.data)
        counts = ", ".join(f"{count:,} {name}" for name, count in report.counts.items())
        text = Group(
            failed_to_text(report.failed),
            plain(f"{report.model} on {counts}", "bold"),
            measured,
            *([reliability] if report.reliability else []),
            *(plain(note, "yellow") for note in report.notes),
            *((plain(_PAPER, "dim"), paper) if paper.rows else ()),
        )
        self.print(report.to_dict(), text)


class Retrieval(EvalCommand):
    """Measure R@1, R@5, R@10 and the median rank of text-to-image and image-to-text retrieval, or of videos."""

    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            parser=absolute_path,
            help="Karpathy's JSON, or CSV or JSON Lines with image and text; with --videos, MSR-VTT's JSON or CSV.",
        ),
    ]
    images: ImageFolder = None
    videos: VideoFolder = None
    frames: Annotated[int, typer.Option(min=1, help="The number of frames per video.")] = 12
    split: Annotated[str, typer.Option(help="The split of the data set.")] = "test"
    captions: Annotated[
        int | None,
        typer.Option(min=1, help="The number of captions to use; by default 5 per image, and all of a video."),
    ] = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.datasets.images import CAPTIONS, read_captioned_images
        from florence_rag.datasets.media_files import videos_by_name
        from florence_rag.datasets.videos import is_video_list, read_msrvtt
        from florence_rag.evaluation.retrieval import evaluate_retrieval, evaluate_video_retrieval

        if self.videos is None and is_video_list(self.data):
            raise typer.BadParameter("a list of videos needs their folder: give --videos")
        if self.videos is None:
            captions = self.captions or CAPTIONS
            images = self.sample(read_captioned_images(self.data, self.images, split=self.split, captions=captions))
            report = evaluate_retrieval(images, self.load_embedder(self.model), track_items)
        else:
            clips = self.sample(read_msrvtt(self.data, split=self.split, captions=self.captions))
            files, embedder = videos_by_name(self.videos), self.load_embedder(self.model)
            report = evaluate_video_retrieval(clips, files, embedder, frames=self.frames, track=track_items)
        self.print_report(report)


class AnswerQuestions(VQAData, EvalCommand):
    """Measure VQA accuracy and calibration, over all questions and for each type of answer."""

    answers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=absolute_path,
            callback=check_output_file,
            help="Also write the answers here, for the VQA server.",
        ),
    ] = None
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Also fit the confidence to half of the images, measure it on the others, and store the calibration "
            "in the folder of the model.",
        ),
    ] = False
    vqa: VQA = None

    def run(self) -> None:
        from florence_rag.datasets.vqav2 import find_vqa_files, read_vqa
        from florence_rag.evaluation.vqa import calibrate_vqa, evaluate_vqa, write_answers
        from florence_rag.loading import loaders
        from florence_rag.models.registry import CARDS, DEFAULT, find_model
        from florence_rag.perception.vqa_calibration import CalibratedVQA

        paths = (self.data, self.questions or (), self.annotations or (), self.images)
        files = find_vqa_files(*paths, need_annotations=False).for_evaluation()
        if not files.annotations and self.answers is None:
            raise typer.BadParameter("give --annotations to score the answers, or --answers to write them, or both")
        dataset = read_vqa(files)
        dataset = dataset._replace(questions=tuple(self.sample(dataset.questions)))
        name = self.vqa or find_model(DEFAULT).default_vqa or DEFAULT
        if self.calibrate and (name in CARDS or not Path(name).is_dir()):
            raise InputError(
                f"a calibration is stored in the folder of a model, and {name!r} is none: give --vqa FOLDER"
            )
        vqa = self.load(loaders.VQA, name)
        if self.calibrate and isinstance(vqa, CalibratedVQA):
            vqa = vqa.uncalibrated
        report, answered = evaluate_vqa(dataset, vqa, name, track_items)
        if self.answers is not None:
            write_answers(answered, self.answers)
        if self.calibrate:
            calibration, report = calibrate_vqa(answered, report)
            file = calibration.write(Path(name))
            report = replace(
                report, notes=(*report.notes, f"Stored in {str(file)!r}; delete cached answers of the model.")
            )
        self.print_report(report)


class Classify(EvalCommand):
    """Measure top-1 and top-5 accuracy, zero-shot by the class names or with a trained classifier."""

    data: LabeledImages
    names: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help='The class names of the folders, as JSON: {"n01440764": "tench"}.'),
    ] = None
    probe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A classifier of `classify train`, instead of the class names alone."),
    ] = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.datasets.images import read_class_names, read_labeled_images, rename_labels
        from florence_rag.evaluation.classify import evaluate_classify
        from florence_rag.tasks.classifier import ZeroShotClassifier
        from florence_rag.tasks.probe import LinearProbe

        if self.probe is not None and not self.probe.expanduser().is_file():
            raise InputError(f"there is no classifier {str(self.probe)!r}; train one with: florence-rag classify train")
        examples = read_labeled_images(self.data)
        names = read_class_names(self.names, [each.label for each in examples]) if self.names else {}
        named = rename_labels(examples, names)
        embedder = self.load_embedder(self.model)
        labels = sorted({each.label for each in named})
        classifier = LinearProbe.load(self.probe, embedder.info) if self.probe else ZeroShotClassifier(embedder, labels)
        self.print_report(evaluate_classify(self.sample(named), classifier, embedder, track_items))


class Detect(BoxData, EvalCommand):
    """Measure COCO's average precision of the boxes that a detector finds."""

    detector: OneDetector = "florence-2-base"

    def run(self) -> None:
        from florence_rag.datasets.coco import find_coco_files, read_coco
        from florence_rag.evaluation.detect import MIN_CONFIDENCE, evaluate_detect
        from florence_rag.loading.loaders import DETECTOR

        files = find_coco_files(self.data, self.annotations or (), self.images)
        dataset = read_coco(files.evaluation_file(), files.images)
        dataset = replace(dataset, images=tuple(self.sample(dataset.images)))
        model = self.load(DETECTOR, self.detector, detection_threshold=MIN_CONFIDENCE)
        self.print_report(evaluate_detect(dataset, model, self.detector, track_items))


class Actions(VideoData, EvalCommand):
    """Measure top-1 and top-5 accuracy of the actions in clips."""

    action_model: Annotated[str, typer.Option(metavar="NAME", help="The model, or a folder with video/.")]
    split: Annotated[str | None, typer.Option(help="The split of the list; by default all of it.")] = None

    def run(self) -> None:
        from florence_rag.datasets.videos import read_labeled_videos
        from florence_rag.evaluation.classify import evaluate_actions
        from florence_rag.loading.loaders import ACTION_RECOGNIZER

        clips = self.sample(read_labeled_videos(self.data, self.videos, split=self.split))
        model = cast("VideoCoSwinRecognizer", self.load(ACTION_RECOGNIZER, self.action_model))
        self.print_report(evaluate_actions(clips, model, self.action_model, track_items))


class Relevance(EvalCommand, RAGCommand):
    """Measure how well relevance separates right hits from off-topic ones in a database, and calibrate it."""

    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", parser=absolute_path, help="A test set that `evalset build` wrote."),
    ] = None
    off_topic: Annotated[
        Path | None,
        typer.Option(metavar="FILE", parser=absolute_path, help="Queries whose subject is absent, one per line."),
    ] = None
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Fit relevance to half of the queries, measure it on the others, and store it in the database.",
        ),
    ] = False
    reset: Annotated[bool, typer.Option("--reset", help="Delete the stored calibration instead.")] = False
    model: Model = None

    def run(self) -> None:
        from florence_rag.evaluation.eval_set import EvalSet
        from florence_rag.evaluation.relevance import calibrate_relevance, measure_relevance, read_off_topic

        if self.reset:
            with self.open_index() as index:
                deleted = sorted(index.calibrations())
                index.put_calibrations({})
            done = f"The calibration of {', '.join(deleted)} is deleted." if deleted else "There is none to delete."
            self.print({"deleted": deleted}, plain(done))
            return
        if self.folder is None or self.off_topic is None:
            raise typer.BadParameter("give the folder of a test set, and --off-topic FILE; or --reset")
        queries, off_topic = EvalSet.read(self.folder), read_off_topic(self.off_topic)
        queries = replace(queries, queries=tuple(self.sample(queries.queries)))
        evaluate = calibrate_relevance if self.calibrate else measure_relevance
        with self.open_rag(self.model) as rag:
            self.print_report(evaluate(queries, off_topic, rag.context, track_items))


EVAL = CommandGroup(
    "Measure models on data sets in standard formats. The report compares them with the Florence paper.",
    {
        "retrieval": Retrieval,
        "vqa": AnswerQuestions,
        "classify": Classify,
        "detect": Detect,
        "actions": Actions,
        "relevance": Relevance,
    },
)
