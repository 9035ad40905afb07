"""The arguments and options that several commands share, and the functions that parse them.

Like `command`, this module does not import annotations from `__future__`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from florence_rag.errors import InputError


def absolute_path(path: str) -> Path:
    """Return the absolute path of a file, so that reports and JSON objects name it absolutely."""
    return Path(path).expanduser().absolute()


def parse_labels(labels: str | None) -> list[str] | None:
    """Return the labels of "cat,dog"."""
    return None if labels is None else labels.split(",")


def _full_index_type(name: str | None) -> str | None:
    """Return the full name of an index type, or raise a usage error if it cannot be chosen."""
    from florence_rag.index.index_types import find_index_type

    try:
        return name if name is None else find_index_type(name).name
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


# Queries and results
Filter = Annotated[
    str | None, typer.Option(metavar="EXPR", help="Only hits that match a Milvus expression, such as 'start_s >= 10'.")
]
Count = Annotated[int, typer.Option("-k", min=1, help="The number of hits.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", parser=absolute_path, help="Image files.")]
Labels = Annotated[str | None, typer.Option(metavar="A,B,C", help="The labels to choose from.")]
ContactSheet = Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw the hits into an image.")]

# Models and databases
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The embedder: a name from `florence-rag models`, a folder, or a repository."),
]
Reranker = Annotated[str | None, typer.Option(metavar="NAME", help="A model that scores the best hits again.")]
VQA = Annotated[str | None, typer.Option(metavar="NAME", help="The model that answers questions about images.")]
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
