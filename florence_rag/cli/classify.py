"""`florence-rag classify`: classes by labels alone, or by a classifier that is trained on labeled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.command import CommandGroup, RAGCommand
from florence_rag.cli.images import require_readable
from florence_rag.cli.options import Filter, LabeledImages, Labels, Model, expand_images, image_argument, parse_labels
from florence_rag.cli.output import failed_to_text, plain, source_to_text
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.classify import Classification, Classifiers


class ClassifyCommand(RAGCommand):
    """A command that uses the classifiers next to a database."""

    model: Model = None

    def classifiers(self) -> Classifiers:
        """Load the embedder that the database has or will have; the database itself is not opened."""
        from florence_rag.context import Models
        from florence_rag.index.address import classifier_folder
        from florence_rag.index.milvus import MilvusIndex
        from florence_rag.loading.database import check_recorded
        from florence_rag.loading.loaders import EMBEDDER
        from florence_rag.models.registry import DEFAULT
        from florence_rag.tasks.classify import Classifiers

        recorded = None if self.model else MilvusIndex.recorded_embedders(self.db, self.token)
        name = check_recorded(recorded[0].name, self.db) if recorded else DEFAULT
        embedder = self.load(EMBEDDER, self.model or name)
        return Classifiers(Models(embedder), classifier_folder(self.db, "florence"))


class Train(ClassifyCommand):
    """Train a classifier on labeled images and store it next to the database, which need not exist yet."""

    data: LabeledImages
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The name of the classifier, or a file ending in .safetensors.")
    ]

    def run(self) -> None:
        from florence_rag.datasets.images import read_labeled_images

        read_labeled_images(self.data)  # reports wrong data before a model is loaded
        trained = self.classifiers().train(self.data, self.name)
        counts = ", ".join(f"{label} {count}" for label, count in trained.examples.items())
        quality = "one example per class is too few to measure the accuracy"
        if trained.accuracy is not None:
            quality = f"cross-validated accuracy {trained.accuracy:.1%}"
        text = Group(
            failed_to_text(trained.failed),
            plain(f"Trained on {sum(trained.examples.values())} images: {counts}"),
            plain(
                f"{trained.name}: {quality}; use it with: florence-rag classify apply IMAGE --probe {trained.name}",
                "bold",
            ),
        )
        self.print(trained.to_dict(), text)


class Apply(ClassifyCommand):
    """Classify images, with a confidence for each."""

    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGE...]",
            parser=image_argument,
            help="Image files, folders or quoted patterns; by default all indexed images.",
        ),
    ] = None
    labels: Labels = None
    probe: Annotated[str | None, typer.Option(metavar="NAME", help="A classifier that `train` stored.")] = None
    filter: Filter = None

    def run(self) -> None:
        labels = parse_labels(self.labels)
        if (labels is None) == (self.probe is None):
            raise InputError("give either labels, such as cat,dog, or the name of a trained classifier with --probe")
        if self.images and self.filter is not None:
            raise InputError("--filter chooses among the images of a database: give either IMAGE or --filter")
        if self.images:
            images = require_readable(expand_images(self.images))
            classifiers = self.classifiers()
            found = classifiers.classify(classifiers.get(labels, self.probe), images)
        else:
            with self.open_rag(self.model) as rag:
                found = rag.classify(labels=labels, probe=self.probe, filter=self.filter)
        self.print(found.to_dict(), _found_to_text(found))
        if found.failed and not found.images:
            raise InputError("none of the images can be read; the report lists the reasons")


def _found_to_text(found: Classification) -> RenderableType:
    lines = [] if found.images or found.failed else [Text("There are no images.", "yellow")]
    for image in found.images:
        others = ", ".join(f"{label} {confidence:.2f}" for label, confidence in image.candidates[1:3])
        label = (f"{plain(image.label).plain} {image.confidence:.2f}", "bold green")
        lines.append(Text.assemble(label, "  ", source_to_text(image.source), plain(f"  ({others})", "dim")))
    return Group(failed_to_text(found.failed), *lines)


CLASSIFY = CommandGroup(
    "Classify images, by labels alone or by a classifier that you train.", {"train": Train, "apply": Apply}
)
