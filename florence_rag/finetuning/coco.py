"""Pictures with boxes, in COCO's form (cocodataset.org/#format-data): images, annotations, categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from florence_rag.errors import InputError
from florence_rag.finetuning import dataset_io as reading
from florence_rag.finetuning.pairs import Part
from florence_rag.types import Box

NUMBER = (int, float)


@dataclass(slots=True)
class Boxed:
    """A picture; boxes in its pixels: left, top, right, bottom; classes: the label of each. skipped: boxes that have no
    area inside the picture, or stand for crowds."""

    image: Path
    size: tuple[float, float]
    part: Part | None = None
    boxes: list[Box] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: int = 0


def find_annotations(data: Path | None, annotations: Sequence[Path] = ()) -> tuple[Path, ...]:
    """The files that are given, or all JSON files in the folder."""
    found = tuple(annotations) or (tuple(sorted(data.rglob("*.json"))) if data is not None and data.is_dir() else ())
    if not found and data is None:
        raise InputError("give a folder with annotations and pictures, or --annotations")
    if not found:
        raise InputError(f"there is no file *.json in {str(data)!r}; name one with --annotations")
    return found


def read_boxes(files: Sequence[Path], images: Path) -> list[Boxed]:
    """All pictures, also those with nothing in them; images: the folder in which they lie, at any depth.

    Files with "val" in their names, where there are also others, are to be left out. Boxes that reach beyond their
    picture are cut. InputError for files of another form, which names the field, and where there is no box at all.
    """
    mixed = len({"val" in path.name.casefold() for path in files}) == 2
    known = {path.name: path for path in sorted(images.rglob("*")) if path.suffix and path.suffix != ".json"}
    found: list[Boxed] = []
    for path in files:
        part: Part | None = ("validation" if "val" in path.name.casefold() else "train") if mixed else None
        found += _of_file(path, images, known, part)
    if not any(each.boxes for each in found):
        raise InputError(f"there is not one usable box in {', '.join(repr(str(path)) for path in files):.200}")
    return found


def _of_file(path: Path, images: Path, known: Mapping[str, Path], part: Part | None) -> list[Boxed]:
    content = reading.read_json(path)
    pictures: dict[Any, Boxed] = {}
    for where, row in _rows(content, "images", path):
        name = reading.field(row, "file_name", str, where)
        size = tuple(float(reading.field(row, side, NUMBER, where)) for side in ("width", "height"))
        place = images / name if (images / name).is_file() else known.get(Path(name).name, images / name)
        pictures[reading.field(row, "id", (int, str), where)] = Boxed(place, (size[0], size[1]), part)
    labels = dict(_category(row, where) for where, row in _rows(content, "categories", path))
    for name, told in (("images", pictures), ("categories", labels)):
        if len(told) < len(content[name]):
            raise InputError(f"two of the {name!r} of {str(path)!r} have the same 'id'")
    for where, row in _rows(content, "annotations", path):
        picture = pictures.get(reading.field(row, "image_id", (int, str), where))
        label = labels.get(reading.field(row, "category_id", (int, str), where))
        box = reading.field(row, "bbox", list, where)
        if picture is None or label is None:
            name = "image_id" if picture is None else "category_id"
            raise InputError(f"the field {name!r} of {where} is {row[name]!r:.60}, which is not in the file")
        if len(box) != 4 or not all(isinstance(edge, NUMBER) for edge in box):
            raise InputError(f"the field 'bbox' of {where} is {box!r:.60}; it must be [x, y, width, height]")
        _add(picture, label, box, crowd=bool(row.get("iscrowd")))
    return list(pictures.values())


def _category(row: dict[str, Any], where: str) -> tuple[Any, str]:
    name = reading.field(row, "name", str, where)
    if not name.strip():
        raise InputError(f"the field 'name' of {where} is empty")
    return reading.field(row, "id", (int, str), where), name


def _rows(content: Any, name: str, path: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(f"{name}[{i}] of {str(path)!r}", row) for i, row in enumerate(reading.listed(content, name, path))]


def _add(picture: Boxed, label: str, box: Sequence[float], *, crowd: bool) -> None:
    """Cut to what lies in the picture."""
    (width, height), (x, y, w, h) = picture.size, box
    left, right = (min(max(edge, 0.0), width) for edge in (x, x + w))
    top, bottom = (min(max(edge, 0.0), height) for edge in (y, y + h))
    if crowd or not (right - left >= 1 and bottom - top >= 1):
        picture.skipped += 1
        return
    picture.boxes.append((left, top, right, bottom))
    picture.classes.append(label)
