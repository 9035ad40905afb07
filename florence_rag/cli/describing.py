"""`florence-rag describe`: captions of pictures, without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import print_download
from florence_rag.cli.options import AsJson, Offline
from florence_rag.cli.output import failed_to_text, notes, place, plain, show
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.describe import Described, Descriptions


def describe(
    images: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pictures to look at.")],
    name: Annotated[str, typer.Option("--captioner", metavar="NAME", help="What captions them.")] = "florence-2-base",
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Say in words what pictures show."""
    said = _described(images, name, offline)
    show(said.to_dict(), _said_to_text(said), as_json)
    if said.failed and not said.pictures:
        raise InputError("none of the pictures can be read; the report says why")


def _described(images: Sequence[Path], name: str, offline: bool) -> Descriptions:
    from florence_rag.image_store import read_outside_index
    from florence_rag.loading.loaders import CAPTIONER
    from florence_rag.loading.model_loader import load_model
    from florence_rag.loading.model_options import ModelOptions
    from florence_rag.tasks.describe import describe_pictures

    with notes().status("Loading the model"):
        captioner = load_model(CAPTIONER, name, ModelOptions.from_environment(offline=offline, announce=print_download))
    return describe_pictures(captioner, images, read_outside_index)


def _said_to_text(said: Descriptions) -> RenderableType:
    return Group(failed_to_text(said.failed), *_lines(said.pictures))


def _lines(pictures: Sequence[Described]) -> Iterator[Text]:
    for picture in pictures:
        words = plain(picture.caption) if picture.caption else Text("nothing", "yellow")
        yield Text.assemble(place(picture.source), "\n     ", words)
