"""The arguments and options that several commands share, and the functions that parse them.

Like `command`, this module does not import annotations from `__future__`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from florence_rag.errors import InputError
from florence_rag.json_values import parse_json
from florence_rag.retrieval.request import MAX_COUNT
from florence_rag.text_arguments import to_path
from florence_rag.types import KINDS


def absolute_path(path: str) -> Path:
    """Return the absolute path of a file, so that reports and JSON objects name it absolutely."""
    return to_path(path).absolute()


def image_argument(image: str) -> str:
    """Return the absolute path of an image, or a data URI or URL as it is."""
    from florence_rag.chunking.image_string import decode_image_string

    return image if decode_image_string(image) != image or "://" in image else str(absolute_path(image))


def expand_images(images: Sequence[str]) -> list[str]:
    """Return the images with those of folders and patterns in their place; raise InputError if there are none."""
    from florence_rag.sources import discover
    from florence_rag.types import Source

    expanded: list[str] = []
    for image in images:
        if os.path.isdir(image) or (any(mark in image for mark in "*?[") and not os.path.exists(image)):
            sources = discover([image])
            expanded += [each.uri for each in sources if isinstance(each, Source) and each.media == "image"]
        else:
            expanded.append(image)
    if not expanded:
        raise InputError(f"there is no image in {', '.join(images)}")
    return expanded


def parse_labels(labels: str | None) -> list[str] | None:
    """Return the labels of "cat,dog"; raise InputError if they are not two or more different ones."""
    if labels is None:
        return None
    from florence_rag.tasks.classifier import check_labels

    return list(check_labels(labels.split(",")))


def _full_index_type(name: str | None) -> str | None:
    """Return the full name of an index type, or raise a usage error if it cannot be chosen."""
    from florence_rag.index.index_types import find_index_type

    try:
        return name if name is None else find_index_type(name).name
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def _check_image_output(path: Path | None) -> Path | None:
    """Raise InputError if an image cannot be written to a path."""
    if path is not None and path.suffix.lower() not in IMAGE_OUTPUTS:
        raise InputError(f"{str(path)!r} has no suffix of an image; use one of {', '.join(IMAGE_OUTPUTS)}")
    return check_output_file(path)


def check_output_file(path: Path | None) -> Path | None:
    """Raise InputError if a file cannot be written, so that no work is lost at its end."""
    if path is not None and path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; name a file")
    if path is not None and not (path.parent.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)):
        raise InputError(f"{str(path)!r} cannot be written: there is no such folder, or it is read-only")
    return path


def check_output_folder(path: Path | None) -> Path | None:
    """Raise InputError if a folder can neither be written to nor created."""
    existing = next((each for each in (path, *path.parents) if each.exists()), None) if path is not None else None
    if existing is not None and not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise InputError(f"{str(path)!r} cannot be written: {str(existing)!r} is a file or read-only")
    return path


def split_choices(choices: Sequence[str]) -> Callable[[list[str] | None], list[str] | None]:
    """Return a callback that splits ["image,clip", "page"], with a usage error for a value that is no choice."""

    def split(values: list[str] | None) -> list[str] | None:
        chosen = [choice.strip() for value in values or () for choice in value.split(",")]
        for choice in chosen:
            if choice not in choices:
                raise typer.BadParameter(f"{choice!r} is not one of {', '.join(choices)}")
        return chosen or None

    return split


def parse_filter(text: str) -> Any:
    """Return a Milvus expression as it is, and a JSON object as a mapping, which is checked without a database."""
    if not text.lstrip().startswith("{"):
        return text
    from florence_rag.index.filters import parse_filter

    try:
        filter = parse_json(text)
    except InputError as error:
        raise typer.BadParameter(f"{text!r:.80} {error}") from error
    try:
        parse_filter(filter)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    return filter


# Queries and results
IMAGE_OUTPUTS = (".png", ".jpg", ".jpeg", ".webp")
KindOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="|".join(KINDS), callback=split_choices(KINDS), help="Only these kinds, such as image,clip. Repeatable."
    ),
]
Filter = Annotated[
    Any,
    typer.Option(
        metavar="FILTER",
        parser=parse_filter,
        help='Only chunks that match a filter, such as {"city": "Rome", "year": {"$gte": 2020}}, or a Milvus '
        'expression, such as "start_s >= 10".',
    ),
]
Count = Annotated[int, typer.Option("-k", min=1, max=MAX_COUNT, help="The number of hits.")]
Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", parser=image_argument, help="Image files, folders, quoted patterns or data URIs."
    ),
]
Labels = Annotated[str | None, typer.Option(metavar="A,B,C", help="The labels to choose from.")]
ContactSheet = Annotated[
    Path | None,
    typer.Option(
        metavar="PNG",
        parser=absolute_path,
        callback=_check_image_output,
        help="Also draw the hits into an image. If that fails, they are printed, and the exit code is 1.",
    ),
]

# Models and databases
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The embedder: a name from `florence-rag models`, a folder, or a repository."),
]
CaptionPx = Annotated[
    int | None,
    typer.Option(
        metavar="PIXELS",
        min=32,
        help="The size at which florence-2 captions images, instead of 768; 384 is about three times as fast.",
    ),
]
Reranker = Annotated[str | None, typer.Option(metavar="NAME", help="A model that scores the best hits again.")]
AllowFolder = Annotated[
    list[Path] | None,
    typer.Option(metavar="FOLDER", help="A folder from which clients may have files indexed. Repeatable."),
]
VQA = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The model that answers questions about images, such as openai:MODEL of a service."
    ),
]
OneDetector = Annotated[str, typer.Option(metavar="NAME", help="The model that finds objects.")]
IndexType = Annotated[
    str | None,
    typer.Option(
        metavar="TYPE",
        callback=_full_index_type,
        help="How vectors are searched, such as flat, hnsw or diskann; docs/scale.md lists all types. By default the "
        "type of the database; a new database gets flat in Milvus Lite and hnsw on a server.",
    ),
]
VectorDtype = Annotated[
    Literal["fp32", "fp16", "bf16"] | None,
    typer.Option(help="The data type of the vectors of a new database; Milvus Lite stores fp32 only."),
]

# Data sets
LabeledImages = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", parser=absolute_path, help="A folder with a folder of images per class, or CSV or JSON Lines."
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", parser=absolute_path, help="The folder of the images, if not in DATA."),
]
VideoFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", parser=absolute_path, help="The folder of the videos, if not in DATA."),
]


@dataclass(kw_only=True)
class VQAData:
    """The arguments of a command that reads a data set in VQAv2's format."""

    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            parser=absolute_path,
            help="A folder with *questions*.json, *annotations*.json and the images, or a file of questions.",
        ),
    ] = None
    questions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", parser=absolute_path, help="Questions in VQAv2's format, instead of DATA."),
    ] = None
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", parser=absolute_path, help="Answers in VQAv2's format.")
    ] = None
    images: ImageFolder = None


@dataclass(kw_only=True)
class BoxData:
    """The arguments of a command that reads a data set in COCO's format."""

    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]", parser=absolute_path, help="A folder with annotations in COCO's format and the images."
        ),
    ] = None
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", parser=absolute_path, help="Boxes in COCO's format.")
    ] = None
    images: ImageFolder = None


@dataclass(kw_only=True)
class VideoData:
    """The arguments of a command that reads labeled videos."""

    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            parser=absolute_path,
            help="A folder with a folder of videos per class, a CSV file, or a list of clips as Kinetics has it.",
        ),
    ]
    videos: VideoFolder = None
