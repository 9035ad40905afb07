"""Fine-tunes a detector, a Dynamic Head over the image encoder of a dual encoder, on boxes in COCO's format."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from florence_rag.datasets.coco import CocoBox, CocoFiles, read_coco
from florence_rag.datasets.dataset_io import splits_by_name
from florence_rag.errors import InputError
from florence_rag.finetuning.examples import ImageCache, split_examples, usable_examples
from florence_rag.finetuning.settings import Settings, summarize_names
from florence_rag.finetuning.trainer import Collator, TrainingSetup, batches
from florence_rag.models.boxes import iou
from florence_rag.models.dyhead import DyHeadConfig, DyHeadDetectorConfig, DyHeadForObjectDetection, detect_objects
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import DetectionImageProcessor, FlorenceProcessor
from florence_rag.models.strict_loading import open_processor, open_strictly
from florence_rag.types import Box

MIN_IOU = 0.5
"""The least IoU of a right detection with its annotated box (AP50)."""
CROP_PROBABILITY = 0.25
"""Share of the training images that are replaced by a crop of themselves."""
MIN_VISIBLE = 0.5
"""Least share of a box's area that must lie in a crop for the box to stay a target."""


@dataclass(frozen=True)
class BoxedImage:
    """An image with its boxes, (N, 4) xyxy in [0, 1], and the index of each box's label, (N,) int64."""

    image: Image.Image
    boxes: np.ndarray
    classes: np.ndarray


def crop_boxed_image(boxed: BoxedImage, window: Box) -> BoxedImage:
    """Return the window, xyxy in [0, 1], scaled to the size of the image, with the boxes that are visible enough."""
    left, top, right, bottom = window
    width, height = boxed.image.size
    image = boxed.image.resize(
        boxed.image.size, Image.Resampling.BICUBIC, (left * width, top * height, right * width, bottom * height)
    )
    boxes = (boxed.boxes - [left, top, left, top]) / [right - left, bottom - top, right - left, bottom - top]
    clipped = boxes.clip(0, 1)
    area, visible_area = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, clipped))
    visible = visible_area >= MIN_VISIBLE * area
    return BoxedImage(image, clipped[visible].astype(np.float32), boxed.classes[visible])


@dataclass(slots=True)
class BoxExample:
    """An image of a size in pixels, with boxes (left, top, right, bottom in pixels) and their labels.

    `skipped` counts the boxes that hold crowds, or have no area inside the image.
    """

    path: Path
    size: tuple[float, float]
    split: str = ""
    boxes: list[Box] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: int = 0

    def add(self, box: CocoBox, label: str) -> None:
        """Add the part of a box that lies inside the image, or count the box as skipped."""
        (width, height), (x, y, w, h) = self.size, box.bbox
        left, right = (min(max(edge, 0.0), width) for edge in (x, x + w))
        top, bottom = (min(max(edge, 0.0), height) for edge in (y, y + h))
        if box.iscrowd or not (right - left >= 1 and bottom - top >= 1):
            self.skipped += 1
            return
        self.boxes.append((left, top, right, bottom))
        self.labels.append(label)


def read_boxes(files: CocoFiles) -> list[BoxExample]:
    """Return all images with their boxes, also those without a box; raise InputError if there is no box at all."""
    found: list[BoxExample] = []
    for path, split in splits_by_name(files.annotations).items():
        data = read_coco(path, files.images)
        examples = {image.id: BoxExample(image.path, (image.width, image.height), split) for image in data.images}
        for box in data.boxes:
            examples[box.image_id].add(box, data.categories[box.category_id])
        found += examples.values()
    if not any(each.boxes for each in found):
        raise InputError(f"there is no usable box in {', '.join(repr(str(path)) for path in files.annotations):.200}")
    return found


class BoxDataset(Dataset[BoxedImage]):
    """Images with their boxes in [0, 1]; augmentation replaces some of them by a crop."""

    def __init__(
        self, examples: Sequence[BoxExample], images: ImageCache, labels: Sequence[str], *, augment: bool
    ) -> None:
        self.examples, self.images, self.augment = examples, images, augment
        self.index = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> BoxedImage:
        example = self.examples[index]
        scale = np.array([*example.size, *example.size], np.float32)
        boxes = np.array(example.boxes, dtype=np.float32).reshape(-1, 4) / scale
        classes = np.array([self.index[label] for label in example.labels], dtype=np.int64)
        boxed = BoxedImage(Image.fromarray(self.images[example.path]), boxes, classes)
        if not self.augment or float(torch.rand(())) >= CROP_PROBABILITY:
            return boxed
        width, height = (0.5 + 0.5 * torch.rand(2)).tolist()
        left, top = (torch.rand(2) * torch.tensor([1 - width, 1 - height])).tolist()
        return crop_boxed_image(boxed, (left, top, left + width, top + height))


def collate_boxes(processor: DetectionImageProcessor, rows: Sequence[BoxedImage]) -> dict[str, Any]:
    """Return pixel_values (B, 3, H, W) and labels, one dict per image, for DyHeadForObjectDetection.forward."""
    labels = [{"boxes": torch.from_numpy(row.boxes), "class_labels": torch.from_numpy(row.classes)} for row in rows]
    return {**processor([row.image for row in rows]), "labels": labels}


def open_or_build_detector(folder: Path, base_model: Path, labels: Sequence[str]) -> DyHeadForObjectDetection:
    """Return the detector in a folder if it has these labels, or else a new one over the dual encoder."""
    if (folder / "config.json").is_file():
        known = open_strictly(DyHeadForObjectDetection, folder)
        if list((known.config.id2label or {}).values()) == list(labels):
            return known
    return build_detector(base_model, labels)


def build_detector(start: Path, labels: Sequence[str], *, channels: int = 64) -> DyHeadForObjectDetection:
    """Build a detector with a new head over the trained image encoder of the dual encoder in the folder `start`."""
    florence = open_strictly(FlorenceModel, start)
    config = DyHeadDetectorConfig(
        backbone_config=florence.config.image_config,
        head_config=DyHeadConfig(channels=channels, num_blocks=2, groups=8),
        # Objects are 10 to 50 pixels wide in an image of 112 x 112 pixels.
        stages=(0, 1, 2),
        extra_levels=0,
        anchor_scale=4.0,
        id2label=dict(enumerate(labels)),
    )
    model = DyHeadForObjectDetection(config)
    model.backbone.stages.load_state_dict(florence.image_encoder.stages.state_dict())
    return model


@dataclass(frozen=True)
class DetectorTask:
    """Trains a detector over a dual encoder; the network is written to the folder detector.

    If the folder detector next to the dual encoder holds a detector with the labels of the data, training continues
    with that.

    Args:
        files: A data set that `florence_rag.datasets.coco.find_coco_files` finds. Files with "val" in their names
            validate, where there are also others.
    """

    files: CocoFiles

    def prepare(self, base_model: Path, settings: Settings) -> TrainingSetup:
        """Read the boxes, and open or build a detector over the dual encoder in a folder."""
        examples = read_boxes(self.files)
        labels = sorted({label for example in examples for label in example.labels})
        model = open_or_build_detector(base_model.parent / "detector", base_model, labels)
        known = open_processor(FlorenceProcessor, base_model).image_processor
        # Boxes are relative to the whole image, so nothing may be cropped.
        view = {"fit": "squash", "enlarge": 1.0, "image_mean": known.image_mean, "image_std": known.image_std}
        processor = DetectionImageProcessor(size=known.size, **view)
        cache = ImageCache((each.path for each in examples), processor)
        usable = usable_examples(examples, cache.failed, self.files.annotations[0], lambda each: each.path)
        train, held_out = split_examples(usable, settings.validation, settings.seed)
        boxes, skipped = sum(len(each.boxes) for each in usable), sum(each.skipped for each in usable)
        return TrainingSetup(
            part="detector",
            data=self.files.annotations,
            model=model,
            processor=processor,
            train=BoxDataset(train, cache, labels, augment=True),
            validation=BoxDataset(held_out, cache, labels, augment=False),
            collate=partial(collate_boxes, processor),
            metrics=detection_metrics,
            details={
                "labels": summarize_names(labels),
                "boxes": f"{boxes}, {skipped} skipped (crowds, outside the image)",
            },
            identity={"labels": labels},
            failed=cache.failed.values(),
        )


@torch.inference_mode()
def detection_metrics(
    model: DyHeadForObjectDetection, collate: Collator, data: BoxDataset | Sequence[BoxedImage], batch: int = 16
) -> dict[str, float]:
    """Return "AP50", the mean over labels of the average precision at an IoU of 0.5; nothing if there is no box."""
    model.eval()
    annotated: Counter[int] = Counter()
    detections: dict[int, list[tuple[float, bool]]] = {}
    for inputs in batches(data, collate, batch):
        output = model(pixel_values=inputs["pixel_values"].to(model.device))
        for target, found in zip(inputs["labels"], detect_objects(output, threshold=0.01), strict=True):
            annotated.update(target["class_labels"].tolist())
            for label, score, right in match_detections(target, found):
                detections.setdefault(label, []).append((score, right))
    values = [average_precision(detections.get(label, []), count) for label, count in annotated.items()]
    return {"AP50": sum(values) / len(values)} if values else {}


def match_detections(target: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> Iterator[tuple[int, float, bool]]:
    """Yield the label, the confidence and whether it is right of each detection of an image, best first.

    A detection is right if it overlaps a box of its label that no better one has. `target` has class_labels (N,) and
    boxes (N, 4), `found` has scores (M,), labels (M,) and boxes (M, 4), xyxy in [0, 1].
    """
    overlaps = iou(found["boxes"].cpu()[:, None], target["boxes"][None]).numpy()  # (M, N)
    free, own = np.ones(overlaps.shape[1], bool), target["class_labels"].numpy()
    for score, label, row in zip(found["scores"].tolist(), found["labels"].tolist(), overlaps, strict=True):
        candidates = np.where(free & (own == label), row, -1.0)
        right = bool(candidates.max(initial=-1.0) >= MIN_IOU)
        if right:
            free[candidates.argmax()] = False
        yield label, score, right


def average_precision(detections: list[tuple[float, bool]], annotated: int) -> float:
    """Return the area below precision over recall, where each precision is the best at its recall or a higher one."""
    right = np.cumsum([hit for _, hit in sorted(detections, key=lambda each: -each[0])] or [False])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    gained = np.diff(right, prepend=0) > 0
    return float((precision * gained).sum() / annotated)
