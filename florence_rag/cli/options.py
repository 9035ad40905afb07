"""The options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from florence_rag.errors import InputError
from florence_rag.index.index_types import find_index_type
from florence_rag.types import KINDS, Kind

DEFAULT_DB = "florence.db"


def known_kinds(names: list[str] | None) -> list[str] | None:
    """The kinds, if all of them are known; a usage error otherwise."""
    for name in names or ():
        if name not in KINDS:
            raise typer.BadParameter(f"{name!r} is not one of {', '.join(KINDS)}")
    return names


def known_index_type(name: str | None) -> str | None:
    """The kind of index, if it can be chosen; a usage error otherwise."""
    try:
        return name if name is None else find_index_type(name).name
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def edges(box: str | None) -> list[float] | None:
    """The numbers of "0.1,0.2,0.5,0.9"; a usage error where it has others."""
    try:
        return None if box is None else [float(edge) for edge in box.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--box is {box!r}; give four shares of the picture, as 0.1,0.2,0.5,0.9") from error


def lines_of(listed: Path | None) -> list[str]:
    """Of a list, or of standard input for "-"; none without a list."""
    if listed is None:
        return []
    if str(listed) == "-":
        return sys.stdin.read().splitlines()
    try:
        return listed.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"the list {str(listed)!r} cannot be read: {error.strerror}") from error


def chosen_kinds(names: list[str] | None) -> set[Kind] | None:
    """What `search` and `ask` take; None for all kinds."""
    return {kind for kind in KINDS if kind in names} if names else None


Database = Annotated[
    str, typer.Option("--db", metavar="FILE|URI", help="A Milvus Lite file, or the address of a Milvus server.")
]
Token = Annotated[
    str | None, typer.Option(metavar="TOKEN", envvar="MILVUS_TOKEN", help="For a Milvus server: user:password or key.")
]
Model = Annotated[
    str | None, typer.Option(metavar="NAME", help="The embedder: one of `florence-rag models`, a folder, a repository.")
]
VideoFrames = Annotated[
    Literal["all", "key"], typer.Option(help="Look at all frames of a video, or at its key frames alone: much faster.")
]
ListFile = Annotated[
    Path | None,
    typer.Option("--files-from", metavar="FILE|-", allow_dash=True, help="A list of paths and URLs, one a line."),
]
ImageColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Of tables: the column of the pictures.")]
CaptionColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Of tables: the column of the captions.")]
NearDuplicates = Annotated[
    Literal["keep", "link", "drop"],
    typer.Option(help="Of pictures that look the same: show them as one hit (link), index one (drop), or keep all."),
]
OCRMode = Annotated[
    Literal["auto", "always", "never"], typer.Option("--ocr", help="When to read the words in pictures (OCR).")
]
Describe = Annotated[
    str | None, typer.Option(metavar="NAME|never", help="What captions pictures, such as florence-2-base.")
]
TextModel = Annotated[str | None, typer.Option(metavar="NAME", help="A second embedder, for captions and texts alone.")]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch no model; use what is on this machine.")]
Precision = Annotated[
    Literal["fp32", "bf16", "int8"] | None, typer.Option(help="Of the embedder's numbers: fewer bits are faster.")
]
Backend = Annotated[
    Literal["torch", "compile", "openvino", "onnx"],
    typer.Option(help="What runs the embedder; compile is torch.compile, for GPUs and long runs."),
]
Rerank = Annotated[
    str | None, typer.Option(metavar="NAME", help="A model that looks at the best hits again and reorders them.")
]
IndexType = Annotated[
    str | None,
    typer.Option(
        "--index-type",
        metavar="KIND",
        callback=known_index_type,
        help="How vectors are searched, such as flat, hnsw, diskann; docs/scale.md lists all. "
        "By default what the database has; a new one is flat in a file, hnsw on a server.",
    ),
]
VectorNumbers = Annotated[
    Literal["fp32", "fp16", "bf16"] | None,
    typer.Option("--vector-dtype", help="Numbers of the vectors in a new database; only servers keep half precision."),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="|".join(KINDS), callback=known_kinds, help="Only these. Repeat it for several."),
]
Filter = Annotated[
    str | None, typer.Option(metavar="EXPR", help="Only hits with a Milvus expression, such as 'start_s >= 10'.")
]
Detect = Annotated[
    str | None, typer.Option(metavar="NAME", help="What finds things in images, such as florence-2-base: regions.")
]
Actions = Annotated[
    str | None, typer.Option(metavar="NAME", help="What says what happens in videos, such as florence-tiny: moments.")
]
DetectWith = Annotated[str, typer.Option("--detector", metavar="NAME", help="The model that finds things.")]
PictureBox = Annotated[
    str | None, typer.Option("--box", metavar="L,T,R,B", help="Only this part of the picture: 0.1,0.2,0.5,0.9.")
]
ImageFile = Annotated[Path | None, typer.Option("--image", metavar="FILE", help="A picture, alone or with words.")]
Count = Annotated[int, typer.Option("-k", min=1, help="How many hits.")]
AsJson = Annotated[bool, typer.Option("--json", help="One line of JSON on standard output.")]
ContactSheet = Annotated[
    Path | None, typer.Option("--contact-sheet", metavar="PNG", help="Also draw the hits as a contact sheet.")
]
