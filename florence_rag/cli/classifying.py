"""`florence-rag classify`: classes from labels alone, or learned from folders of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import opened, print_download
from florence_rag.cli.options import DEFAULT_DB, AsJson, Database, Filter, Model, Offline, Token
from florence_rag.cli.output import failed_to_text, notes, place, plain, show
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.classifier import Classified
    from florence_rag.tasks.classify import Classification, Classifying, TrainedClassifier

classify = typer.Typer(
    help="Tell what pictures are of: by labels that are only named, or by examples.", no_args_is_help=True
)

Labels = Annotated[
    str | None, typer.Option("--labels", metavar="A,B,C", help="The classes to choose from, between commas.")
]


@classify.command()
def train(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder with a folder for each class, or a CSV: path, label."),
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="What to call it, or a file ending in .safetensors.")],
    db: Database = DEFAULT_DB,
    model: Model = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on labelled pictures, and keep it beside the database, which need not be there yet."""
    trained = _classifying(db, model, offline, token).train(data, name)
    show(trained.to_dict(), _trained_to_text(trained), as_json)


@classify.command()
def apply(
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE...]", help="By default all images of the database.")
    ] = None,
    labels: Labels = None,
    probe: Annotated[str | None, typer.Option(metavar="NAME", help="A classifier that `train` made.")] = None,
    db: Database = DEFAULT_DB,
    model: Model = None,
    filter: Filter = None,
    offline: Offline = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say of each picture which of the classes it is of, and how sure that is."""
    names = labels.split(",") if labels is not None else None
    if images:
        if filter is not None:
            raise InputError("--filter chooses among the images of a database: leave it out, or the pictures")
        classifying = _classifying(db, model, offline, token)
        found = classifying.pictures(classifying.classifier(names, probe), images)
    else:
        with opened(db, model, offline=offline, token=token, create=False) as rag:
            found = rag.classify(labels=names, probe=probe, filter=filter)
    show(found.to_dict(), _found_to_text(found), as_json)
    if found.failed and not found.pictures:
        raise InputError("none of the pictures can be read; the report says why")


def _classifying(db: str, model: str | None, offline: bool, token: str | None) -> Classifying:
    """With the embedder that the database has or will have; the database itself is not opened."""
    from florence_rag.context import Models
    from florence_rag.index.address import classifier_folder
    from florence_rag.index.milvus import MilvusIndex
    from florence_rag.loading.loaders import EMBEDDER
    from florence_rag.loading.model_loader import load_model
    from florence_rag.loading.model_options import ModelOptions
    from florence_rag.models.registry import DEFAULT
    from florence_rag.tasks.classify import Classifying

    with notes().status("Loading the model"):
        recorded = None if model else MilvusIndex.recorded_embedder(db, token)
        access = replace(ModelOptions.from_environment(offline=offline), announce=print_download)
        embedder = load_model(EMBEDDER, model or (recorded.name if recorded else DEFAULT), access)
    return Classifying(Models(embedder), classifier_folder(db, "florence"))


def _trained_to_text(trained: TrainedClassifier) -> RenderableType:
    counts = ", ".join(f"{label} {count}" for label, count in trained.examples.items())
    sure = "of one example a class nothing could be left out to test it"
    if trained.accuracy is not None:
        sure = f"right on {trained.accuracy:.1%} of the examples that were left out in turn"
    return Group(
        failed_to_text(trained.failed),
        plain(f"Learned from {sum(trained.examples.values())} pictures: {counts}"),
        plain(f"{trained.name}: {sure}; use it with --probe {trained.name}", "bold"),
    )


def _found_to_text(found: Classification) -> RenderableType:
    lines = list(_lines(found.pictures)) or ([] if found.failed else [Text("There are no pictures.", "yellow")])
    return Group(failed_to_text(found.failed), *lines)


def _lines(pictures: Iterable[Classified]) -> Iterator[Text]:
    for picture in pictures:
        others = ", ".join(f"{label} {share:.2f}" for label, share in picture.candidates[1:3])
        line = Text.assemble((f"{plain(picture.label).plain} {picture.confidence:.2f}", "bold green"), "  ")
        yield line.append_text(place(picture.source)).append_text(plain(f"  ({others})", "dim"))
