"""`florence-rag classify`: classes by labels alone, or by a classifier that is trained on labeled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import load_for_command, model_options, open_rag
from florence_rag.cli.options import (
    DEFAULT_DB,
    AsJson,
    Database,
    Filter,
    LabeledImages,
    Labels,
    Model,
    Offline,
    OpenOptions,
    Token,
    absolute_path,
    parse_labels,
)
from florence_rag.cli.output import failed_to_text, plain, print_result, source_to_text
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.classifier import Classified
    from florence_rag.tasks.classify import Classification, Classifiers, TrainedClassifier

classify = typer.Typer(
    add_completion=False,
    help="Classify images, by labels alone or by a classifier that you train.",
    no_args_is_help=True,
)


@classify.command()
def train(
    data: LabeledImages,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The name of the classifier, or a file ending in .safetensors.")
    ],
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on labeled images and store it next to the database, which need not exist yet."""
    trained = _open_classifying(db, model, offline, token).train(data, name)
    print_result(trained.to_dict(), _trained_to_text(trained), as_json)


@classify.command()
def apply(
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE...]", parser=absolute_path, help="Image files; by default all indexed images."),
    ] = None,
    labels: Labels = None,
    probe: Annotated[str | None, typer.Option(metavar="NAME", help="A classifier that `train` stored.")] = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    filter: Filter = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Classify images, with a confidence for each."""
    names = parse_labels(labels)
    if images:
        if filter is not None:
            raise InputError("--filter chooses among the images of a database: give either IMAGE or --filter")
        classifying = _open_classifying(db, model, offline, token)
        found = classifying.classify(classifying.get(names, probe), images)
    else:
        with open_rag(OpenOptions(db, model, token=token, offline=offline)) as rag:
            found = rag.classify(labels=names, probe=probe, filter=filter)
    print_result(found.to_dict(), _found_to_text(found), as_json)
    if found.failed and not found.images:
        raise InputError("none of the images can be read; the report lists the reasons")


def _open_classifying(db: str, model: str | None, offline: bool, token: str | None) -> Classifiers:
    """Load the embedder that the database has or will have; the database itself is not opened."""
    from florence_rag.context import Models
    from florence_rag.index.address import classifier_folder
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.models.registry import DEFAULT
    from florence_rag.tasks.classify import Classifiers

    recorded = None if model else MilvusIndex.recorded_embedder(db, token)
    name = model or (recorded.name if recorded else DEFAULT)
    embedder = load_for_command(EMBEDDER, name, model_options(offline))
    return Classifiers(Models(embedder), classifier_folder(db, "florence"))


def _trained_to_text(trained: TrainedClassifier) -> RenderableType:
    counts = ", ".join(f"{label} {count}" for label, count in trained.examples.items())
    quality = "one example per class is too few to measure the accuracy"
    if trained.accuracy is not None:
        quality = f"cross-validated accuracy {trained.accuracy:.1%}"
    return Group(
        failed_to_text(trained.failed),
        plain(f"Trained on {sum(trained.examples.values())} images: {counts}"),
        plain(f"{trained.name}: {quality}; use it with --probe {trained.name}", "bold"),
    )


def _found_to_text(found: Classification) -> RenderableType:
    lines = list(_lines(found.images)) or ([] if found.failed else [Text("There are no images.", "yellow")])
    return Group(failed_to_text(found.failed), *lines)


def _lines(images: Iterable[Classified]) -> Iterator[Text]:
    for image in images:
        others = ", ".join(f"{label} {confidence:.2f}" for label, confidence in image.candidates[1:3])
        line = Text.assemble((f"{plain(image.label).plain} {image.confidence:.2f}", "bold green"), "  ")
        yield line.append_text(source_to_text(image.source)).append_text(plain(f"  ({others})", "dim"))
