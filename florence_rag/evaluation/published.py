"""The headline results of the Florence article (arXiv 2111.11432), which reports print next to measured metrics.

Florence's weights were never released. A result in percent holds for the data set that it names, and for no other.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Task = Literal["retrieval", "video retrieval", "vqa", "classify", "detect", "actions"]


class Published(NamedTuple):
    """One result of the article, in percent."""

    data: str
    metric: str
    value: float


_R1 = {
    "Flickr30k, zero-shot": (90.9, 76.7),
    "Flickr30k, fine-tuned": (97.2, 87.9),
    "COCO, zero-shot": (64.7, 47.2),
    "COCO, fine-tuned": (81.8, 63.2),
}

HEADLINES: dict[Task, tuple[Published, ...]] = {
    "retrieval": tuple(
        Published(data, f"{direction} R@1", value)
        for data, values in _R1.items()
        for direction, value in zip(("image to text", "text to image"), values, strict=True)
    ),
    "video retrieval": (Published("MSR-VTT, zero-shot", "text to video R@1", 37.6),),
    "vqa": (Published("VQAv2 test-dev", "accuracy", 80.16), Published("VQAv2 test-std", "accuracy", 80.36)),
    "classify": (Published("ImageNet, zero-shot", "top-1", 83.7), Published("ImageNet, zero-shot", "top-5", 97.2)),
    "detect": (
        Published("COCO", "AP", 62.4),
        Published("Object365", "AP", 39.3),
        Published("Visual Genome", "AP50", 16.2),
    ),
    "actions": (Published("Kinetics-400", "top-1", 86.5), Published("Kinetics-600", "top-1", 87.8)),
}
