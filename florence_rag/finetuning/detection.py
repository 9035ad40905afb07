"""Fine-tunes a detector, Dynamic Head over the image encoder of a dual tower, on boxes in COCO's form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from florence_rag.finetuning.coco import Boxed, read_boxes
from florence_rag.finetuning.dataset_io import counted, left_out
from florence_rag.finetuning.image_dataset import Pictures, readable
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.trainer import Lesson, begun
from florence_rag.models.boxes import iou
from florence_rag.models.detection_processor import DetectionImageProcessor
from florence_rag.models.dyhead import DyHeadForObjectDetection, found_objects
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_strictly
from florence_rag.training.detector import ZOOMED, BoxCollator, Picture, build_detector, zoomed

OVERLAP = 0.5
"""Least IoU of a box that was found with the one that is meant (AP50)."""


class BoxedPictures(Dataset[Picture]):
    """Pictures with their boxes in shares; in training only a part of some of them is shown."""

    def __init__(self, rows: Sequence[Boxed], pictures: Pictures, labels: Sequence[str], *, varied: bool) -> None:
        self.rows, self.pictures, self.varied = rows, pictures, varied
        self.number = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Picture:
        row = self.rows[index]
        boxes = np.array(row.boxes, dtype=np.float32).reshape(-1, 4) / np.array([*row.size, *row.size], np.float32)
        classes = np.array([self.number[label] for label in row.classes], dtype=np.int64)
        picture = Picture(Image.fromarray(self.pictures[row.image]), boxes, classes)
        if not self.varied or float(torch.rand(())) >= ZOOMED:
            return picture
        width, height = (0.5 + 0.5 * torch.rand(2)).tolist()
        left, top = (torch.rand(2) * torch.tensor([1 - width, 1 - height])).tolist()
        return zoomed(picture, (left, top, left + width, top + height))


def starting_detector(known_in: Path, tower: Path, labels: Sequence[str]) -> DyHeadForObjectDetection:
    """The detector in a folder, if there is one of these labels; otherwise one with a fresh head over the tower."""
    if (known_in / "config.json").is_file():
        known = open_strictly(DyHeadForObjectDetection, known_in)
        if list((known.config.id2label or {}).values()) == list(labels):
            return known
    return build_detector(tower, labels)


def train_detector(
    annotations: Sequence[Path],
    images: Path,
    out: Path,
    start: Path,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Train a detector; it is written to out/detector, its log to out/runs/detector.

    annotations: files in COCO's form; images: the folder with the pictures. start: folder of the tower to begin with,
    whose neighbour "detector" is gone on with where it has the same labels; name: what that is called. Called again
    with the same, a run that was cut off goes on. Raises InputError for data that cannot be learned from.
    """
    settings = begun(settings)
    rows = read_boxes(annotations, images)
    model = starting_detector(start.parent / "detector", start, sorted({each for row in rows for each in row.classes}))
    labels = list((model.config.id2label or {}).values())
    seen: Any = FlorenceProcessor.from_pretrained(start).image_processor
    # Boxes are shares of the whole picture, so that nothing may be cut off.
    look = {"fit": "squash", "enlarge": 1.0, "image_mean": seen.image_mean, "image_std": seen.image_std}
    processor = DetectionImageProcessor(size=seen.size, **look)
    pictures = Pictures((each.image for each in rows), processor)
    usable = readable(rows, pictures.failed, annotations[0])
    learn, kept = parted(usable, settings)
    check = BoxedPictures(kept, pictures, labels, varied=False)
    boxes, skipped = sum(len(each.boxes) for each in usable), sum(each.skipped for each in usable)
    lesson = Lesson(
        part="detector",
        data=annotations,
        model=model,
        processor=processor,
        learn=BoxedPictures(learn, pictures, labels, varied=True),
        check=check,
        collate=BoxCollator(processor),
        figures=lambda: detection_figures(model, processor, check),
        facts={
            "labels": counted(labels),
            "boxes": f"{boxes}, {skipped} left away (crowds, outside the picture)",
        },
        same={"labels": labels},
        failed=pictures.failed.values(),
    )
    return lesson.teach(out, name or str(start), settings, progress)


def parted(rows: Sequence[Boxed], settings: Settings) -> tuple[list[Boxed], list[Boxed]]:
    """To learn from, and to look at in between; as the data say, or a share of them."""
    given = [each for each in rows if each.part == "train"], [each for each in rows if each.part == "validation"]
    return given if all(given) else left_out(rows, [None] * len(rows), settings.validation, settings.seed)


@torch.inference_mode()
def detection_figures(
    model: DyHeadForObjectDetection, processor: DetectionImageProcessor, data: BoxedPictures, batch: int = 16
) -> dict[str, float]:
    """ "AP50": the mean over labels of the area below precision over recall, where boxes overlap by half or more."""
    model.eval()
    rows = [data[i] for i in range(len(data))]
    hits: dict[int, list[tuple[float, bool]]] = {}
    meant: dict[int, int] = {}
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        inputs = processor([row.image for row in part])["pixel_values"].to(model.device)
        for row, found in zip(part, found_objects(model(pixel_values=inputs), threshold=0.01), strict=True):
            _count(row, {key: value.cpu() for key, value in found.items()}, hits, meant)
    areas = [_average_precision(hits.get(label, []), count) for label, count in meant.items()]
    return {"AP50": sum(areas) / len(areas)} if areas else {}


def _count(
    row: Picture, found: dict[str, Any], hits: dict[int, list[tuple[float, bool]]], meant: dict[int, int]
) -> None:
    """Best first, each box takes the one of its label that it overlaps most, once."""
    for label in row.classes.tolist():
        meant[label] = meant.get(label, 0) + 1
    boxes, taken = torch.from_numpy(row.boxes), [False] * len(row.boxes)
    for score, label, box in zip(found["scores"], found["labels"].tolist(), found["boxes"], strict=True):
        free = [i for i, of in enumerate(row.classes.tolist()) if of == label and not taken[i]]
        overlaps = iou(box, boxes[free]).tolist() if free else []
        best = max(range(len(free)), key=overlaps.__getitem__, default=None)
        right = best is not None and overlaps[best] >= OVERLAP
        if right and best is not None:
            taken[free[best]] = True
        hits.setdefault(label, []).append((float(score), right))


def _average_precision(hits: list[tuple[float, bool]], meant: int) -> float:
    """Precision is that of the best recall from there on."""
    right = np.cumsum([hit for _, hit in sorted(hits, key=lambda each: -each[0])] or [False])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    gained = np.diff(right, prepend=0) > 0
    return float((precision * gained).sum() / meant)
