"""Images with boxes in COCO's format (https://cocodataset.org/#format-data)."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from florence_rag.datasets.dataset_io import Id, Record, evaluation_files, find_json, read_json
from florence_rag.datasets.media_files import media_below
from florence_rag.errors import InputError
from florence_rag.text_arguments import to_path


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

    `data` is an annotation file, or a folder with annotation files at any depth: those with "instances" in their names,
    as COCO has, or else all JSON files. The images lie in `data` or next to the first annotation file by default.
    """
    folder = data if data is not None and data.is_dir() else None
    files = tuple(annotations)
    if not files and data is None:
        raise InputError("give a folder with annotations and images, or --annotations")
    if not files and data is not None:
        files = (data,) if folder is None else find_json(folder, "instances") or find_json(folder, "")
    if not files:
        raise InputError(f"there is no file *.json in {str(data)!r}; name one with --annotations")
    return CocoFiles(files, images or folder or files[0].parent)


def read_coco(file: str | Path, images: str | Path | None = None) -> CocoDataset:
    """Return the content of one annotation file; raise InputError if it has another form.

    A file is {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}], "annotations":
    [{"image_id", "category_id", "bbox": [left, top, width, height] in pixels}]}. An annotation may also have "id",
    "area" and "iscrowd". Categories with equal names, as some tools write them, become one. The images lie in the
    folder of the file by default; one that is not at its "file_name" is searched by name at any depth.
    """
    top = to_path(file).parent if images is None else to_path(images)
    content, file_by_name = read_json(file), cache(lambda: {path.name: path for path in media_below(top, "image")})
    images_read = tuple(_image(record, top, file_by_name) for record in content.records("images"))
    named = [(record.id("id"), record.text("name")) for record in content.records("categories")]
    categories, image_ids = dict(named), {image.id for image in images_read}
    for name, distinct, total in (("images", image_ids, images_read), ("categories", categories, named)):
        if len(distinct) < len(total):
            raise InputError(f"two of the {name!r} of {str(file)!r} have the same 'id'")
    first = {fold_label(name): id for id, name in reversed(categories.items())}
    merged = {id: first[fold_label(name)] for id, name in categories.items()}
    rows = enumerate(content.records("annotations", allow_empty=True))
    return CocoDataset(
        images_read,
        {id: name for id, name in categories.items() if merged[id] == id},
        tuple(_box(record, number, image_ids, merged) for number, record in rows),
    )


def _image(record: Record, top: Path, file_by_name: Callable[[], dict[str, Path]]) -> CocoImage:
    id, path = record.id("id"), top / record.get("file_name", str)
    width, height = record.get("width", float), record.get("height", float)
    if not (width > 0 and height > 0):
        raise InputError(
            f"{record.where} is {width} x {height} pixels; both fields, 'width' and 'height', must be above 0"
        )
    if not path.is_file() and top.is_dir():
        path = file_by_name().get(path.name, path)
    return CocoImage(id, path, width, height)


def _box(record: Record, number: int, images: Collection[Id], categories: Mapping[Id, Id]) -> CocoBox:
    bbox = record.get("bbox", list)
    finite = all(isinstance(edge, int | float) and math.isfinite(edge) for edge in bbox)
    if len(bbox) != 4 or not finite or bbox[2] < 0 or bbox[3] < 0:
        raise InputError(
            f"the field 'bbox' of {record.where} is {bbox!r:.80}; it must be [left, top, width, height] in pixels"
        )
    for name, known in (("image_id", images), ("category_id", categories)):
        if (id := record.id(name)) not in known:
            raise InputError(f"the field {name!r} of {record.where} is {id!r}, which the file does not describe")
    return CocoBox(
        record.id("id", number),
        record.id("image_id"),
        categories[record.id("category_id")],
        bbox,
        record.get("area", float, bbox[2] * bbox[3]),
        record.get("iscrowd", int, 0),
    )


def fold_label(label: str) -> str:
    """Return a label in the form that labels are compared in: in lower case, with single spaces."""
    return " ".join(label.casefold().split())
