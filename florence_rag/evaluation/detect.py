"""Object detection, scored by COCO's own code (pycocotools)."""

import contextlib
import copy
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.datasets.coco import CocoBox, CocoDataset, CocoImage, fold_label
from florence_rag.errors import InputError, MissingExtraError
from florence_rag.evaluation.bootstrap import bootstrap_intervals
from florence_rag.evaluation.image_reading import Track, read_images
from florence_rag.evaluation.report import EvaluationReport, Metric
from florence_rag.perception.base import Detection, Detector
from florence_rag.types import Failure

try:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ImportError as error:
    raise MissingExtraError("pycocotools", "eval") from error

MIN_CONFIDENCE = 0.01
"""The confidence from which boxes are scored: average precision includes doubtful ones."""
RESAMPLES = 200
"""Resampled data sets for the intervals; each of them sorts all boxes again."""

_STATS = {"AP": 0, "AP50": 1, "AP75": 2, "AP, small": 3, "AP, medium": 4, "AP, large": 5, "AR, 100 boxes": 8}
_BATCH = 16
CocoResult = dict[str, Any]
"""A detected box as COCO writes it: image_id, category_id, bbox, score."""


def detect_boxes(
    data: CocoDataset, detector: Detector, failed: list[Failure], track: Track = iter
) -> tuple[list[CocoImage], list[CocoResult], set[str]]:
    """Return the readable images, their detected boxes, and the detected labels that the data set does not have.

    A detection without confidence counts as certain, as is usual for models that write their boxes as text.
    """
    ids = {fold_label(name): id for id, name in data.categories.items()}
    images: list[CocoImage] = []
    results: list[CocoResult] = []
    unknown: set[str] = set()
    for batch in batched(read_images(track(data.images), failed), _BATCH):
        for (image, _), detections in zip(batch, detector.detect([frame for _, frame in batch]), strict=True):
            images.append(image)
            unknown |= {each.label for each in detections if fold_label(each.label) not in ids}
            known = (each for each in detections if fold_label(each.label) in ids)
            results += [_result(image, each, ids[fold_label(each.label)]) for each in known]
    return images, results, unknown


def _result(image: CocoImage, detection: Detection, category: object) -> CocoResult:
    left, top, right, bottom = detection.box
    box = [left * image.width, top * image.height, (right - left) * image.width, (bottom - top) * image.height]
    confidence = 1.0 if detection.confidence is None else detection.confidence
    return {"image_id": image.id, "category_id": category, "bbox": box, "score": confidence}


def evaluate_detect(data: CocoDataset, detector: Detector, name: str, track: Track = iter) -> EvaluationReport:
    """Measure COCO's AP (over IoU 0.50 to 0.95), AP50, AP75, AP by size, and AR; intervals are over images.

    Unreadable images and boxes outside of their images are reported. The detector needs a confidence threshold of
    MIN_CONFIDENCE. InputError is raised if the readable images have no annotated box.
    """
    outside: list[Failure] = []
    failed: list[Failure] = []
    size = {image.id: (image.width, image.height) for image in data.images}
    inside: list[CocoBox] = []
    for box in (box for box in data.boxes if box.image_id in size):
        (left, top, width, height), (image_width, image_height) = box.bbox, size[box.image_id]
        if left < image_width and top < image_height and left + width > 0 and top + height > 0:
            inside.append(box)
        else:
            outside.append(Failure(f"annotation {box.id}", f"its box {box.bbox} lies outside of the image"))
    images, results, unknown = detect_boxes(data, detector, failed, track)
    readable = {image.id for image in images}
    scored = tuple(box for box in inside if box.image_id in readable)
    metrics = tuple(score(replace(data, images=tuple(images), boxes=scored), results))
    notes = (f"The data has no category for {', '.join(sorted(unknown)):.200}: not scored.",) if unknown else ()
    counts = {"images": len(images), "boxes": len(scored), "categories": len(data.categories)}
    return EvaluationReport("detect", name, counts, metrics, (*outside, *failed), notes)


def score(data: CocoDataset, results: Sequence[Mapping[str, Any]], resamples: int = RESAMPLES) -> Iterator[Metric]:
    """Yield the metrics of detected boxes: [{"image_id", "category_id", "bbox", "score"}].

    Metrics by size and of recall have no interval. A size that no annotated box has gets no metric. InputError is
    raised if the data set has no box.
    """
    if not data.boxes:
        raise InputError("there is no annotated box in the images that can be read: nothing can be scored")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _coco_eval(data, results)
        evaluation.summarize()
        bounds = _bounds(evaluation, resamples)
    for name, index in _STATS.items():
        value = float(evaluation.stats[index])
        if value >= 0:  # COCO writes -1 if there is no box of this size
            yield Metric(name, value, *bounds.get(name, (None, None)))


def _coco_eval(data: CocoDataset, results: Sequence[Mapping[str, Any]]) -> Any:
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image.id, "width": image.width, "height": image.height} for image in data.images],
        "categories": [{"id": id, "name": name} for id, name in data.categories.items()],
        # The boxes are numbered from 1 because pycocotools takes the id 0 for "not matched".
        "annotations": [{**box._asdict(), "id": number} for number, box in enumerate(data.boxes, start=1)],
    }
    truth.createIndex()
    # loadRes refuses an empty list; an empty box in a corner is never right.
    nothing = {"image_id": data.images[0].id, "category_id": next(iter(data.categories)), "bbox": [0] * 4, "score": 0}
    evaluation = COCOeval(truth, truth.loadRes([dict(row) for row in results] or [nothing]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _bounds(evaluation: Any, resamples: int) -> dict[str, tuple[float, float]]:
    everything, count = evaluation.evalImgs, len(evaluation.params.imgIds)
    blocks = [everything[start : start + count] for start in range(0, len(everything), count)]
    params = copy.copy(evaluation.params)
    params.areaRng, params.maxDets = params.areaRng[:1], params.maxDets[-1:]  # boxes of any size, 100 for each image

    def metrics(drawn: np.ndarray) -> list[float]:
        evaluation.evalImgs = [block[i] for block in blocks for i in drawn]
        evaluation.accumulate(params)
        precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoU, recall, category)
        # COCO writes -1 for the categories that do not occur.
        occurring = [each[each > -1] for each in (precision, precision[0], precision[5])]
        return [float(each.mean()) if each.size else math.nan for each in occurring]

    return dict(zip(("AP", "AP50", "AP75"), bootstrap_intervals(metrics, count, resamples=resamples), strict=True))
