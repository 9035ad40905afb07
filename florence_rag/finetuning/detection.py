"""Fine-tunes a detector, a Dynamic Head over the image encoder of a dual encoder, on boxes in COCO's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from florence_rag.datasets.coco import CocoBox, CocoFiles, read_coco
from florence_rag.datasets.dataset_io import splits_by_name
from florence_rag.errors import InputError
from florence_rag.finetuning.average_precision import MatchedBoxes
from florence_rag.finetuning.boxed_images import CROP_PROBABILITY, BoxCollator, BoxedImage, crop_boxed_image
from florence_rag.finetuning.card import summarize_names
from florence_rag.finetuning.image_dataset import ImageCache, usable_examples
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.splits import split_examples
from florence_rag.finetuning.trainer import FineTuning, start_run
from florence_rag.models.configuration_dyhead import DyHeadConfig, DyHeadDetectorConfig
from florence_rag.models.detection_processor import DetectionImageProcessor
from florence_rag.models.dyhead import DyHeadForObjectDetection, found_objects
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.strict_loading import open_strictly
from florence_rag.types import Box


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


def open_or_build_detector(folder: Path, base_model: Path, labels: Sequence[str]) -> DyHeadForObjectDetection:
    """Return the detector in a folder if it has these labels, or else a new one over the dual encoder."""
    if (folder / "config.json").is_file():
        known = open_strictly(DyHeadForObjectDetection, folder)
        if list((known.config.id2label or {}).values()) == list(labels):
            return known
    return build_detector(base_model, labels)


def build_detector(start: Path, labels: Sequence[str], *, channels: int = 64) -> DyHeadForObjectDetection:
    """Build a detector with a new head over the trained image encoder of the dual encoder in the folder `start`."""
    florence = FlorenceModel.from_pretrained(start, dtype=torch.float32)
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


def train_detector(
    files: CocoFiles,
    out: Path,
    base_model: Path,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Train a detector and write it to out/detector; a call with the same arguments resumes an interrupted run.

    Args:
        files: A data set that `florence_rag.datasets.coco.find_coco_files` finds. Files with "val" in their names
            validate, where there are also others.
        out: The folder of the trained model, and of its log in runs/detector.
        base_model: The folder of the dual encoder to start from. If the folder "detector" next to it holds a detector
            with the labels of the data, training continues with that.
        name: The name of the base model in the model card, by default its folder.
        settings: How to train.
        progress: Is called at each log entry.

    Raises:
        InputError: The data cannot be learned from, or `out` holds another run.
    """
    settings = start_run(settings)
    examples = read_boxes(files)
    labels = sorted({label for example in examples for label in example.labels})
    model = open_or_build_detector(base_model.parent / "detector", base_model, labels)
    known: Any = FlorenceProcessor.from_pretrained(base_model).image_processor
    # Boxes are relative to the whole image, so nothing may be cropped.
    view = {"fit": "squash", "enlarge": 1.0, "image_mean": known.image_mean, "image_std": known.image_std}
    processor = DetectionImageProcessor(size=known.size, **view)
    cache = ImageCache((each.path for each in examples), processor)
    usable = usable_examples(examples, cache.failed, files.annotations[0], lambda each: each.path)
    learn, check = split_examples(usable, settings.validation, settings.seed)
    validation = BoxDataset(check, cache, labels, augment=False)
    boxes, skipped = sum(len(each.boxes) for each in usable), sum(each.skipped for each in usable)
    task = FineTuning(
        part="detector",
        data=files.annotations,
        model=model,
        processor=processor,
        train=BoxDataset(learn, cache, labels, augment=True),
        validation=validation,
        collate=BoxCollator(processor),
        metrics=lambda: detection_metrics(model, processor, validation),
        details={
            "labels": summarize_names(labels),
            "boxes": f"{boxes}, {skipped} skipped (crowds, outside the image)",
        },
        identity={"labels": labels},
        failed=cache.failed.values(),
    )
    return task.run(out, name or str(base_model), settings, progress)


@torch.inference_mode()
def detection_metrics(
    model: DyHeadForObjectDetection,
    processor: DetectionImageProcessor,
    data: BoxDataset | Sequence[BoxedImage],
    batch: int = 16,
) -> dict[str, float]:
    """Return "AP50", the mean over labels of the average precision at an IoU of 0.5; nothing if there is no box."""
    model.eval()
    matched = MatchedBoxes()
    for start in range(0, len(data), batch):
        images = [data[i] for i in range(start, min(start + batch, len(data)))]
        pixels = processor([each.image for each in images])["pixel_values"].to(model.device)
        for image, found in zip(images, found_objects(model(pixel_values=pixels), threshold=0.01), strict=True):
            matched.add(image, {key: value.cpu() for key, value in found.items()})
    value = matched.mean_average_precision()
    return {} if value is None else {"AP50": value}
