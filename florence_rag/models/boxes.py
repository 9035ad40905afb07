"""Arithmetic of boxes (left, top, right, bottom): overlap and non-maximum suppression."""

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]).clamp(min=0) * (boxes[..., 3] - boxes[..., 1]).clamp(min=0)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other: (..., 4), (..., 4) -> (...) in [0, 1]."""
    return _overlap(a, b)[0]


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., 4), (..., 4) -> (...) in [-1, 1]: IoU minus the empty fraction of the hull of both (arXiv 1902.09630)."""
    overlap, union = _overlap(a, b)
    around = torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], dim=-1)
    hull = area(around).clamp(min=1e-7)
    return overlap - (hull - union) / hull


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection over union, and the union."""
    common = torch.cat([torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])], dim=-1)
    shared = area(common)
    union = area(a) + area(b) - shared
    return shared / union.clamp(min=1e-7), union


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression inside each label.

    boxes (N, 4), scores (N,), labels (N,) -> indices of the kept boxes, best first. threshold: the largest IoU of two
    kept boxes.
    """
    order = scores.argsort(descending=True, stable=True)
    same = labels[order][:, None] == labels[order][None]
    rivals = (iou(boxes[order][:, None], boxes[order][None]) > threshold) & same
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for index in range(len(order)):
        if alive[index]:
            alive[index + 1 :] &= ~rivals[index, index + 1 :]
    return order[alive]
