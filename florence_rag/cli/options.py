"""The options that several commands share, and the options that open a database as one record."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from florence_rag.errors import InputError
from florence_rag.types import KINDS, Kind

DEFAULT_DB = "florence.db"
OCRMode = Literal["auto", "always", "never"]
VectorType = Literal["fp32", "fp16", "bf16"]
PrecisionName = Literal["fp32", "bf16", "int8"]
BackendName = Literal["torch", "compile", "openvino", "onnx"]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """Everything that the command line can say about opening a database.

    The fields have the names of the options and of the arguments of `FlorenceRAG.open`. A command sets those that it
    offers.
    """

    db: str = DEFAULT_DB
    model: str | None = None
    token: str | None = None
    offline: bool = False
    create: bool = False
    vqa: str | None = None
    captioner: str | None = None
    detector: str | None = None
    action_model: str | None = None
    reranker: str | None = None
    text_embedder: str | None = None
    ocr: OCRMode = "auto"
    index_type: str | None = None
    vector_dtype: VectorType | None = None
    video_frames: Literal["all", "key"] = "all"
    precision: PrecisionName | None = None
    backend: BackendName = "torch"


def absolute_path(path: str) -> Path:
    """Return the absolute path of a file, so that reports and JSON objects name it absolutely."""
    return Path(path).expanduser().absolute()


def check_kinds(names: list[str] | None) -> list[str] | None:
    """Return the kinds of chunks, or raise a usage error if one is unknown."""
    for name in names or ():
        if name not in KINDS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(KINDS)}")
    return names


def check_index_type(name: str | None) -> str | None:
    """Return the full name of an index type, or raise a usage error if it cannot be chosen."""
    from florence_rag.index.index_types import find_index_type

    try:
        return name if name is None else find_index_type(name).name
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def parse_box(box: str | None) -> list[float] | None:
    """Return the four numbers of "0.1,0.2,0.5,0.9", or raise a usage error."""
    try:
        return None if box is None else [float(edge) for edge in box.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--box is {box!r}; give four shares of the image, as 0.1,0.2,0.5,0.9") from error


def parse_kinds(names: list[str] | None) -> set[Kind] | None:
    """Return the kinds for `FlorenceRAG.search` and `ask`; None stands for all kinds."""
    return {kind for kind in KINDS if kind in names} if names else None


def parse_labels(labels: str | None) -> list[str] | None:
    """Return the labels of "cat,dog"."""
    return None if labels is None else labels.split(",")


def read_list(path: Path | None) -> list[str]:
    """Return the lines of a list of paths and URLs, from standard input for "-"; without a list, nothing."""
    if path is None:
        return []
    if str(path) == "-":
        return sys.stdin.read().splitlines()
    try:
        return path.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"the list {str(path)!r} cannot be read: {error.strerror}") from error


# The database
Database = Annotated[
    str, typer.Option("--db", metavar="FILE|URI", help="A Milvus Lite file, or the address of a Milvus server.")
]
Token = Annotated[
    str | None,
    typer.Option(metavar="TOKEN", envvar="MILVUS_TOKEN", help="The user:password or API key of a Milvus server."),
]
IndexType = Annotated[
    str | None,
    typer.Option(
        "--index-type",
        metavar="TYPE",
        callback=check_index_type,
        help="How vectors are searched, such as flat, hnsw or diskann; docs/scale.md lists all types. By default the "
        "type of the database; a new database gets flat in a file and hnsw on a server.",
    ),
]
VectorDtype = Annotated[
    VectorType | None,
    typer.Option("--vector-dtype", help="The number type of the vectors of a new database; a file stores fp32 only."),
]

# The models
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The embedder: a name from `florence-rag models`, a folder, or a repository."),
]
Captioner = Annotated[
    str | None, typer.Option(metavar="NAME|never", help="The model that writes captions, such as florence-2-base.")
]
Detector = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The model that finds objects, such as florence-2-base, to index as regions."),
]
ActionModel = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The model that recognizes actions in videos, such as florence-tiny."),
]
TextEmbedder = Annotated[
    str | None, typer.Option(metavar="NAME", help="A second embedder for captions, texts and OCR text.")
]
Reranker = Annotated[str | None, typer.Option(metavar="NAME", help="A model that scores the best hits again.")]
VQA = Annotated[
    str | None, typer.Option("--vqa", metavar="NAME", help="The model that answers questions about images.")
]
OneCaptioner = Annotated[str, typer.Option("--captioner", metavar="NAME", help="The model that writes captions.")]
OneDetector = Annotated[str, typer.Option("--detector", metavar="NAME", help="The model that finds objects.")]
Offline = Annotated[bool, typer.Option("--offline", help="Download no model; use only models on this machine.")]
Precision = Annotated[
    PrecisionName | None, typer.Option(help="The precision of the embedder; fewer bits are faster on most machines.")
]
Backend = Annotated[
    BackendName,
    typer.Option(help="What runs the embedder; compile is torch.compile, for GPUs and long runs."),
]

# Indexing
VideoFrames = Annotated[
    Literal["all", "key"],
    typer.Option(help="Decode all frames of a video, or only its key frames, which is much faster."),
]
FilesFrom = Annotated[
    Path | None,
    typer.Option("--files-from", metavar="FILE|-", allow_dash=True, help="A list of paths and URLs, one per line."),
]
ImageColumn = Annotated[str | None, typer.Option(metavar="NAME", help="The column of a table that holds the images.")]
CaptionColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="The column of a table that holds the captions.")
]
NearDuplicates = Annotated[
    Literal["keep", "link", "drop"],
    typer.Option(help="Show near-duplicate images as one hit (link), index one of them (drop), or keep them apart."),
]
OCR = Annotated[
    OCRMode, typer.Option("--ocr", help="When to read text in images; auto skips pages that have a text layer.")
]

# Queries and results
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="|".join(KINDS), callback=check_kinds, help="Only this kind of hit. Repeatable."),
]
Filter = Annotated[
    str | None, typer.Option(metavar="EXPR", help="Only hits that match a Milvus expression, such as 'start_s >= 10'.")
]
ImageFile = Annotated[
    Path | None, typer.Option("--image", metavar="IMAGE", help="An image to search with, alone or with a text.")
]
Box = Annotated[
    str | None,
    typer.Option("--box", metavar="L,T,R,B", help="Only this part of the image, in shares: 0.1,0.2,0.5,0.9."),
]
Count = Annotated[int, typer.Option("-k", min=1, help="The number of hits.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", parser=absolute_path, help="Image files.")]
Labels = Annotated[str | None, typer.Option("--labels", metavar="A,B,C", help="The labels to choose from.")]
ContactSheet = Annotated[
    Path | None, typer.Option("--contact-sheet", metavar="PNG", help="Also draw the hits into an image.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON to standard output.")]

# Data sets
ImageFolder = Annotated[
    Path | None,
    typer.Option("--images", metavar="FOLDER", parser=absolute_path, help="The folder of the images, if not in DATA."),
]
VideoFolder = Annotated[
    Path | None,
    typer.Option("--videos", metavar="FOLDER", parser=absolute_path, help="The folder of the videos, if not in DATA."),
]
Questions = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", parser=absolute_path, help="Questions in VQAv2's format, instead of DATA."),
]
Answers = Annotated[
    list[Path] | None,
    typer.Option("--annotations", metavar="FILE", parser=absolute_path, help="Answers in VQAv2's format."),
]
Boxes = Annotated[
    list[Path] | None,
    typer.Option("--annotations", metavar="FILE", parser=absolute_path, help="Boxes in COCO's format."),
]
VQAData = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]",
        parser=absolute_path,
        help="A folder with *questions*.json, *annotations*.json and the images, or a file of questions.",
    ),
]
BoxData = Annotated[
    Path | None,
    typer.Argument(
        metavar="[DATA]", parser=absolute_path, help="A folder with annotations in COCO's format and the images."
    ),
]
VideoData = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        parser=absolute_path,
        help="A folder with a folder of videos per class, a CSV file, or a list of clips as Kinetics has it.",
    ),
]
LabeledImages = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", parser=absolute_path, help="A folder with a folder of images per class, or a CSV: path, label."
    ),
]
