"""Images with boxes in COCO's format (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from florence_rag.datasets.dataset_io import (
    Id,
    evaluation_files,
    field,
    find_json,
    id_field,
    read_json,
    records,
    text_field,
)
from florence_rag.datasets.media_files import media_below
from florence_rag.errors import InputError


class CocoFiles(NamedTuple):
    """The annotation files of a data set, and the folder with its images."""

    annotations: tuple[Path, ...]
    images: Path

    def evaluation_file(self) -> Path:
        """Return the only file, or the only one with "val" in its name; raise InputError if there are several."""
        files = evaluation_files(self.annotations)
        if len(files) > 1:
            names = ", ".join(repr(str(path)) for path in files)
            raise InputError(f"there are several files of annotations, {names:.200}; name one with --annotations")
        return files[0]


class CocoImage(NamedTuple):
    """One image and its size in pixels as annotated."""

    id: Id
    path: Path
    width: float
    height: float


class CocoBox(NamedTuple):
    """One annotation: `bbox` is left, top, width, height in pixels; `iscrowd` is 1 for a crowd of objects, else 0."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: list[float]
    area: float
    iscrowd: int


@dataclass(frozen=True, slots=True)
class CocoDataset:
    """The images, the names of the categories by id, and the boxes of one annotation file."""

    images: tuple[CocoImage, ...]
    categories: Mapping[Id, str]
    boxes: tuple[CocoBox, ...]


def find_coco_files(data: Path | None, annotations: Sequence[Path] = (), images: Path | None = None) -> CocoFiles:
    """Find the files of a data set in COCO's format; raise InputError if there is none.

    Args:
        data: An annotation file, or a folder with annotation files at any depth: those with "instances" in their names
            as COCO has, or else all JSON files.
        annotations: The annotation files, instead of those in the folder.
        images: The folder with the images, by default the data folder or the folder of the first annotation file.
    """
    files = tuple(annotations)
    if not files and data is None:
        raise InputError("give a folder with annotations and images, or --annotations")
    if not files and data is not None:
        files = (find_json(data, "instances") or find_json(data, "")) if data.is_dir() else (data,)
    if not files:
        raise InputError(f"there is no file *.json in {str(data)!r}; name one with --annotations")
    return CocoFiles(files, images or (data if data is not None and data.is_dir() else files[0].parent))


def read_coco(file: str | Path, images: str | Path | None = None) -> CocoDataset:
    """Return the content of one annotation file; raise InputError if it has another form.

    Categories with equal names, as some tools write them, become one.

    Args:
        file: {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}], "annotations":
            [{"image_id", "category_id", "bbox": [left, top, width, height] in pixels}]}. An annotation may also have
            "id", "area" (by default that of the box) and "iscrowd" (by default 0).
        images: The folder with the images, by default that of the file. An image that is not at its "file_name" is
            looked up by name anywhere below the folder.
    """
    top = Path(file).expanduser().parent if images is None else Path(images).expanduser()
    content, file_by_name = read_json(file), cache(lambda: {path.name: path for path in media_below(top, "image")})
    shown = [_image(record, where, top, file_by_name) for record, where in records(content, "images", file)]
    named = [
        (id_field(record, "id", where), text_field(record, "name", where))
        for record, where in records(content, "categories", file)
    ]
    categories, image_ids = dict(named), {image.id for image in shown}
    for name, distinct, total in (("images", image_ids, len(shown)), ("categories", categories, len(named))):
        if len(distinct) < total:
            raise InputError(f"two of the {name!r} of {str(file)!r} have the same 'id'")
    rows = enumerate(records(content, "annotations", file, allow_empty=True))
    boxes = [_box(record, where, number, image_ids, categories) for number, (record, where) in rows]
    first = {fold_label(name): id for id, name in reversed(categories.items())}
    merged = {id: first[fold_label(name)] for id, name in categories.items()}
    return CocoDataset(
        tuple(shown),
        {id: name for id, name in categories.items() if merged[id] == id},
        tuple(box._replace(category_id=merged[box.category_id]) for box in boxes),
    )


def _image(record: Any, where: str, top: Path, file_by_name: Callable[[], dict[str, Path]]) -> CocoImage:
    id, name = id_field(record, "id", where), field(record, "file_name", str, where)
    width, height = field(record, "width", float, where), field(record, "height", float, where)
    if not (width > 0 and height > 0):
        raise InputError(f"{where} is {width} x {height} pixels; both fields, 'width' and 'height', must be above 0")
    path = top / name
    if not path.is_file() and top.is_dir():
        path = file_by_name().get(path.name, path)
    return CocoImage(id, path, width, height)


def _box(record: Any, where: str, number: int, images: Collection[Id], categories: Collection[Id]) -> CocoBox:
    bbox = field(record, "bbox", list, where)
    finite = all(isinstance(edge, int | float) and math.isfinite(edge) for edge in bbox)
    if len(bbox) != 4 or not finite or bbox[2] < 0 or bbox[3] < 0:
        raise InputError(
            f"the field 'bbox' of {where} is {bbox!r:.80}; it must be [left, top, width, height] in pixels"
        )
    for name, known in (("image_id", images), ("category_id", categories)):
        if id_field(record, name, where) not in known:
            raise InputError(f"the field {name!r} of {where} is {record[name]!r}, which the file does not describe")
    return CocoBox(
        id_field(record, "id", where, number),
        record["image_id"],
        record["category_id"],
        bbox,
        field(record, "area", float, where, bbox[2] * bbox[3]),
        field(record, "iscrowd", int, where, 0),
    )


def fold_label(label: str) -> str:
    """Return a label in the form that labels are compared in: in lower case, with single spaces."""
    return " ".join(label.casefold().split())
