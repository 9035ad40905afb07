"""Detection in COCO's format, scored by COCO's own code (pycocotools)."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.evaluation.annotations import field, read_json, records
from florence_rag.evaluation.bootstrap import intervals_of
from florence_rag.evaluation.image_dataset import Watch, check_any, readable
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.perception.base import Detection, Detector
from florence_rag.types import Failure

try:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ImportError as error:
    raise MissingExtraError("pycocotools", "eval") from error

ALMOST_ALL = 0.01
"""The least confidence of what is scored: average precision wants the doubtful, too."""
RESAMPLES = 200
"""Of the bootstrap: each sorts all boxes anew."""

_STATS = {"AP": 0, "AP50": 1, "AP75": 2, "AP, small": 3, "AP, medium": 4, "AP, large": 5, "AR, 100 boxes": 8}
_BATCH = 16


class Photo(NamedTuple):
    """One picture of the data set, with its size in pixels as annotated."""

    id: int
    path: Path
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Annotated:
    """The pictures, the names of the categories by number, and the boxes as COCO writes them.

    failed: annotations that are left out, and why.
    """

    photos: tuple[Photo, ...]
    categories: Mapping[int, str]
    boxes: tuple[Mapping[str, Any], ...]
    failed: tuple[Failure, ...] = ()


def read_coco(file: str | Path, images: str | Path | None = None) -> Annotated:
    """file: {"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}], "annotations": [{"id",
    "image_id", "category_id", "bbox": [left, top, width, height] in pixels, "area", "iscrowd"}]}.

    Without area it is that of the box; without iscrowd it is 0. images: the folder of the pictures, by default that of
    the file. InputError names the field that is wrong; boxes that lie outside of their picture are reported. Categories
    that are named alike, as some tools write them, are one.
    """
    top = Path(file).expanduser().parent if images is None else Path(images).expanduser()
    content = read_json(file)
    photos = [_photo(record, where, top) for record, where in records(content, "images", file)]
    named = [_category(record, where) for record, where in records(content, "categories", file)]
    categories, of_id = dict(named), {photo.id: photo for photo in photos}
    for what, known, all_of_them in (("images", of_id, photos), ("categories", categories, named)):
        if len(known) < len(all_of_them):
            raise InputError(f"two of the {what!r} of {str(file)!r} have the same 'id'")
    boxes = [_box(*each, of_id, categories) for each in records(content, "annotations", file)]
    outside = [box for box in boxes if not _inside(box, of_id[box["image_id"]])]
    failed = (
        Failure(f"annotation {box['id']}", f"its box {box['bbox']} lies outside of the picture") for box in outside
    )
    kept = [box for box in boxes if box not in outside] if outside else boxes
    first = {_folded(name): number for number, name in reversed(categories.items())}
    one = {number: first[_folded(name)] for number, name in categories.items()}
    merged = tuple({**box, "category_id": one[box["category_id"]]} for box in kept)
    distinct = {number: name for number, name in categories.items() if one[number] == number}
    return Annotated(tuple(photos), distinct, merged, tuple(failed))


def _category(record: Any, where: str) -> tuple[int, str]:
    name = field(record, "name", str, where)
    if not name.strip():
        raise InputError(f"the field 'name' of {where} is empty")
    return field(record, "id", int, where), name


def _photo(record: Any, where: str, top: Path) -> Photo:
    width, height = field(record, "width", float, where), field(record, "height", float, where)
    if not (width > 0 and height > 0):
        raise InputError(f"{where} is {width} x {height} pixels; both fields, 'width' and 'height', must be above 0")
    return Photo(field(record, "id", int, where), top / field(record, "file_name", str, where), width, height)


def _box(record: Any, where: str, photos: Mapping[int, Photo], categories: Mapping[int, str]) -> dict[str, Any]:
    box = field(record, "bbox", list, where)
    numbers = all(isinstance(edge, int | float) and math.isfinite(edge) for edge in box)
    if len(box) != 4 or not numbers or box[2] < 0 or box[3] < 0:
        raise InputError(f"the field 'bbox' of {where} is {box!r:.80}; it must be [left, top, width, height] in pixels")
    for name, known in (("image_id", photos), ("category_id", categories)):
        if field(record, name, int, where) not in known:
            raise InputError(f"the field {name!r} of {where} is {record[name]}, which the file does not describe")
    area = field(record, "area", float, where) if "area" in record else box[2] * box[3]
    crowd = field(record, "iscrowd", int, where) if "iscrowd" in record else 0
    ids = {name: field(record, name, int, where) for name in ("id", "image_id", "category_id")}
    return {**ids, "bbox": box, "area": area, "iscrowd": crowd}


def _inside(box: Mapping[str, Any], photo: Photo) -> bool:
    left, top, width, height = box["bbox"]
    return bool(left < photo.width and top < photo.height and left + width > 0 and top + height > 0)


def detections(
    data: Annotated, detector: Detector, failed: list[Failure], watch: Watch = iter
) -> tuple[list[Photo], list[dict[str, Any]], set[str]]:
    """The pictures that can be read, what is found in them as COCO writes it, and labels that the data does not have.

    A region without confidence counts as certain, as is usual for models that write their boxes as text.
    """
    numbers = {_folded(name): number for number, name in data.categories.items()}
    photos: list[Photo] = []
    rows: list[dict[str, Any]] = []
    strange: set[str] = set()
    pairs = readable(watch(data.photos), lambda photo: photo.path, failed)
    while batch := list(islice(pairs, _BATCH)):
        for (photo, _), regions in zip(batch, detector.detect([frame for _, frame in batch]), strict=True):
            photos.append(photo)
            strange |= {region.label for region in regions if _folded(region.label) not in numbers}
            known = (region for region in regions if _folded(region.label) in numbers)
            rows += [_row(photo, region, numbers[_folded(region.label)]) for region in known]
    check_any(photos, failed)
    return photos, rows, strange


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())


def _row(photo: Photo, region: Detection, category: int) -> dict[str, Any]:
    left, top, right, bottom = region.box
    box = [left * photo.width, top * photo.height, (right - left) * photo.width, (bottom - top) * photo.height]
    sure = 1.0 if region.confidence is None else region.confidence
    return {"image_id": photo.id, "category_id": category, "bbox": box, "score": sure}


def evaluate_detect(data: Annotated, detector: Detector, name: str, watch: Watch = iter) -> EvaluationReport:
    """COCO's AP (over IoU 0.50 to 0.95), AP50, AP75, AP by size, and AR; intervals over pictures.

    name: of the model, for the report. A size that no annotated box has gets no figure.
    """
    failed = list(data.failed)
    photos, rows, strange = detections(data, detector, failed, watch)
    there = {photo.id for photo in photos}
    seen = replace(data, photos=tuple(photos), boxes=tuple(box for box in data.boxes if box["image_id"] in there))
    notes = (f"The data has no category for {', '.join(sorted(strange)):.200}: not scored.",) if strange else ()
    counts = {"pictures": len(photos), "boxes": len(seen.boxes), "categories": len(data.categories)}
    return EvaluationReport("detect", name, counts, tuple(score(seen, rows)), tuple(failed), notes)


def score(data: Annotated, found: Sequence[Mapping[str, Any]], resamples: int = RESAMPLES) -> Iterator[Figure]:
    """The figures of what was found: [{"image_id", "category_id", "bbox", "score"}]; InputError without a box.

    Those by size and of recall have no interval.
    """
    if not data.boxes:
        raise InputError("there is no annotated box in the pictures that can be read: nothing can be scored")
    with contextlib.redirect_stdout(io.StringIO()):
        judge = _judge(data, found)
        judge.summarize()
        bounds = _bounds(judge, resamples)
    for name, index in _STATS.items():
        value = float(judge.stats[index])
        if value >= 0:  # COCO's -1: there is none of this size
            yield Figure(name, value, *bounds.get(name, (None, None)))


def _judge(data: Annotated, found: Sequence[Mapping[str, Any]]) -> Any:
    truth = COCO()
    truth.dataset = {
        "images": [{"id": photo.id, "width": photo.width, "height": photo.height} for photo in data.photos],
        "categories": [{"id": number, "name": name} for number, name in data.categories.items()],
        # Of their own numbers, as 0 would mean "not matched".
        "annotations": [{**box, "id": number} for number, box in enumerate(data.boxes, start=1)],
    }
    truth.createIndex()
    # loadRes refuses an empty list; a box of no size in a corner is never right.
    nothing = {
        "image_id": data.photos[0].id,
        "category_id": next(iter(data.categories)),
        "bbox": [0, 0, 0, 0],
        "score": 0,
    }
    judge = COCOeval(truth, truth.loadRes([dict(row) for row in found] or [nothing]), "bbox")
    judge.evaluate()
    judge.accumulate()
    return judge


def _bounds(judge: Any, resamples: int) -> dict[str, tuple[float, float]]:
    whole, pictures = judge.evalImgs, len(judge.params.imgIds)
    blocks = [whole[start : start + pictures] for start in range(0, len(whole), pictures)]
    params = copy.copy(judge.params)
    params.areaRng, params.maxDets = params.areaRng[:1], params.maxDets[-1:]  # boxes of any size, 100 a picture

    def figures(drawn: np.ndarray) -> list[float]:
        judge.evalImgs = [block[i] for block in blocks for i in drawn]
        judge.accumulate(params)
        precision = judge.eval["precision"][:, :, :, 0, 0]  # (IoU, recall, category)
        return [_mean(precision), _mean(precision[0]), _mean(precision[5])]

    return dict(zip(("AP", "AP50", "AP75"), intervals_of(figures, pictures, resamples=resamples), strict=True))


def _mean(precision: np.ndarray) -> float:
    """Of the categories that are there: COCO writes -1 for others."""
    there = precision[precision > -1]
    return float(there.mean()) if there.size else math.nan
