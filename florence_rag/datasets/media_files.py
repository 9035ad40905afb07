"""Finds the image and video files of a data set by their names, and the classes that their folders stand for."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from florence_rag.datasets.dataset_io import Id
from florence_rag.errors import InputError
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.text_arguments import to_path
from florence_rag.types import Failure

Medium = Literal["image", "video"]

_NUMBER = re.compile(r"(\d+)$")


def media_below(folder: str | Path, medium: Medium) -> list[Path]:
    """Return the images or videos below a folder, sorted; raise InputError if it is not a folder."""
    top = to_path(folder)
    if not top.is_dir():
        raise InputError(f"{str(top)!r} is not a folder; give the folder of the {medium}s with --{medium}s")
    return [path for path in sorted(top.rglob("*")) if MEDIA_BY_SUFFIX.get(path.suffix.lower()) == medium]


def class_folders(top: Path, medium: Medium) -> Iterator[tuple[Path, str]]:
    """Yield the images or videos of a folder with a folder for each class, each with its class, sorted by class."""
    for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in media_below(folder, medium):
            if not path.name.startswith("."):
                yield path, folder.name


def check_labels_agree(labels: Iterable[tuple[Path, str]], data: str | Path) -> None:
    """Raise InputError if a data set gives two labels to one file."""
    first: dict[Path, str] = {}
    for path, label in labels:
        if (other := first.setdefault(path, label)) != label:
            raise InputError(f"{str(data)!r} labels {str(path)!r} both {other!r} and {label!r}; give it one label")


def image_paths(ids: Iterable[Id], folder: str | Path) -> tuple[dict[Id, Path], dict[Id, Failure]]:
    """Return the image file of each id, and a failure for each id that has none.

    The image with the number 42 is the file whose name ends with it, such as COCO_val2014_000000000042.jpg. An id may
    also be a path below the folder, or a file name with or without suffix. Two files for one id are an InputError.
    """
    top = to_path(folder)
    by_name: dict[str, list[Path]] = {}
    for path in media_below(top, "image"):
        number = _NUMBER.search(path.stem)
        for name in {path.name, path.stem, str(int(number[1])) if number else path.stem}:
            by_name.setdefault(name, []).append(path)
    found: dict[Id, Path] = {}
    failed: dict[Id, Failure] = {}
    for id in ids:
        paths = [top / id] if isinstance(id, str) and (top / id).is_file() else by_name.get(str(id), [])
        if len(paths) > 1:
            two = " and ".join(repr(str(path)) for path in paths[:2])
            raise InputError(f"{two} are both image {id}; give a folder with one of them")
        if paths:
            found[id] = paths[0]
        else:
            failed[id] = Failure(f"image {id}", f"no image in {str(folder)!r} has the name or number {id!r}")
    return found, failed


def not_a_data_set(data: str | Path, layouts: str) -> InputError:
    """Return the error for a path that is missing or of another kind than the layouts of a reader."""
    state = "is not a data set" if os.path.exists(to_path(data)) else "does not exist"
    return InputError(f"{str(data)!r} {state}; give {layouts}")


def videos_by_name(folder: str | Path) -> dict[str, Path]:
    """Return the videos below a folder by the names of their files without suffix."""
    return {path.stem: path for path in media_below(folder, "video")}
