"""`florence-rag describe`: captions images without a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from florence_rag.cli.opening import load_for_command, model_options
from florence_rag.cli.options import AsJson, Images, Offline, OneCaptioner
from florence_rag.cli.output import failed_to_text, plain, print_result, source_to_text
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.tasks.describe import Described


def describe(
    images: Images,
    captioner: OneCaptioner = "florence-2-base",
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Caption images."""
    from florence_rag.image_store import read_outside_index
    from florence_rag.loading.loaders import CAPTIONER
    from florence_rag.tasks.describe import describe_images

    model = load_for_command(CAPTIONER, captioner, model_options(offline))
    captions = describe_images(model, images, read_outside_index)
    text = Group(failed_to_text(captions.failed), *_captions_to_text(captions.images))
    print_result(captions.to_dict(), text, as_json)
    if captions.failed and not captions.images:
        raise InputError("none of the images can be read; the report lists the reasons")


def _captions_to_text(images: Sequence[Described]) -> Iterator[Text]:
    for image in images:
        caption = plain(image.caption) if image.caption else Text("no caption", "yellow")
        yield Text.assemble(source_to_text(image.source), "\n     ", caption)
