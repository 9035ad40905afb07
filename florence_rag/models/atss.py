"""ATSS: assigns boxes to the points of the pyramid, and computes the loss of the detection head.

Paper: ATSS (arXiv 1912.02424, section 4, algorithm 1), with centerness and distances from
FCOS (arXiv 1904.01355, equations 1 and 3), focal loss (arXiv 1708.02002) and GIoU loss (arXiv 1902.09630).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from florence_rag.models.boxes import generalized_iou, iou


@dataclass(frozen=True)
class Points:
    """The points of all levels, from fine to coarse, that can hold a box.

    xy: (P, 2) pixels. stride: (P,) pixels between neighbors. counts: points of each level.
    """

    xy: Tensor
    stride: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, levels: Sequence[Tensor], strides: Sequence[int]) -> Points:
        """Return the centers of the cells of maps (B, C, H_i, W_i), row by row."""
        grids = []
        for level, stride in zip(levels, strides, strict=True):
            rows, columns = ((torch.arange(side, device=level.device) + 0.5) * stride for side in level.shape[-2:])
            grids.append(torch.cartesian_prod(rows, columns).flip(-1))
        spacing = [grid.new_full((len(grid),), stride) for grid, stride in zip(grids, strides, strict=True)]
        return cls(torch.cat(grids), torch.cat(spacing), tuple(map(len, grids)))

    def boxes(self, distances: Tensor) -> Tensor:
        """(..., P, 4) pixels to the left, top, right and bottom edge -> (..., P, 4) boxes."""
        return torch.cat([self.xy - distances[..., :2], self.xy + distances[..., 2:]], dim=-1)


def edge_distances(xy: Tensor, boxes: Tensor) -> Tensor:
    """Return the inverse of `Points.boxes`: (P, 2) points, (P, 4) boxes -> (P, 4); negative if a point is outside."""
    return torch.cat([xy - boxes[:, :2], boxes[:, 2:] - xy], dim=-1)


def assign(points: Points, boxes: Tensor, *, top_k: int, anchor_scale: float) -> Tensor:
    """Assign a box to each point (algorithm 1): (P,) index into boxes (N, 4), or -1 for background.

    The candidates of a box are the top_k points of each level nearest to its center. A candidate is positive if it
    lies inside and its square anchor, of anchor_scale strides, overlaps the box by at least the mean plus the standard
    deviation of all candidates. Unlike in the paper, the best candidate inside is always positive, so that a box that
    all anchors overlap alike is learned, too.
    """
    if not len(boxes):
        return torch.full((len(points.xy),), -1, device=points.xy.device)
    half = points.stride[:, None] * anchor_scale / 2
    overlaps = iou(torch.cat([points.xy - half, points.xy + half], dim=1)[:, None], boxes[None])
    candidates = _nearest(points, (boxes[:, :2] + boxes[:, 2:]) / 2, top_k)
    candidate_overlaps = overlaps.gather(0, candidates)
    x, y = points.xy[:, :1], points.xy[:, 1:]
    inside = (x > boxes[:, 0]) & (y > boxes[:, 1]) & (x < boxes[:, 2]) & (y < boxes[:, 3])
    best = candidate_overlaps.masked_fill(~inside.gather(0, candidates), -1.0).amax(dim=0)
    threshold = torch.minimum(candidate_overlaps.mean(dim=0) + candidate_overlaps.std(dim=0), best)
    chosen = torch.zeros_like(inside).scatter_(0, candidates, candidate_overlaps >= threshold) & inside
    # A point that is positive for two boxes learns the one that its anchor overlaps more.
    overlap, index = overlaps.masked_fill(~chosen, -1.0).max(dim=1)
    return index.where(overlap >= 0, torch.full_like(index, -1))


def _nearest(points: Points, centers: Tensor, top_k: int) -> Tensor:
    """Return the indices of the top_k points of each level nearest to each center, (K, N)."""
    nearest, start = [], 0
    for part in torch.cdist(points.xy, centers).split(points.counts):
        nearest.append(part.topk(min(top_k, len(part)), dim=0, largest=False).indices + start)
        start += len(part)
    return torch.cat(nearest)


def centerness(distances: Tensor) -> Tensor:
    """(N, 4) positive distances to the edges -> (N,): 1 in the middle, 0 at an edge (FCOS, equation 3)."""
    left, top, right, bottom = distances.clamp(min=1e-6).unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the focal loss, summed over logits and targets (N, L): easy background points contribute little."""
    probability = logits.sigmoid()
    wrong = probability * (1 - targets) + (1 - probability) * targets
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weight * wrong**gamma * entropy).sum()


def detection_loss(
    points: Points,
    logits: Tensor,
    distances: Tensor,
    centers: Tensor,
    labels: Sequence[tuple[Tensor, Tensor]],
    *,
    top_k: int,
    anchor_scale: float,
) -> Tensor:
    """Return focal loss + 2 * GIoU loss weighted by centerness + cross-entropy of centerness, per positive point.

    logits: (B, P, L). distances: (B, P, 4) pixels. centers: (B, P) logits. labels: for each image its boxes (N_i, 4)
    in pixels and their classes (N_i,). Returns ().
    """
    owners = [assign(points, boxes, top_k=top_k, anchor_scale=anchor_scale) for boxes, _ in labels]
    targets = torch.zeros_like(logits)
    assigned, is_positive = [], torch.stack(owners) >= 0
    for row, ((boxes, classes), owner) in enumerate(zip(labels, owners, strict=True)):
        positive = owner >= 0
        targets[row, positive, classes[owner[positive]]] = 1.0
        assigned.append(boxes[owner[positive]])
    goal = torch.cat(assigned)
    xy = points.xy.expand(len(logits), -1, -1)[is_positive]
    weight = centerness(edge_distances(xy, goal))
    distance = 1 - generalized_iou(points.boxes(distances)[is_positive], goal)
    count = is_positive.sum().clamp(min=1)
    return (
        focal_loss(logits, targets) / count
        + 2 * (distance * weight).sum() / weight.sum().clamp(min=1e-6)
        + F.binary_cross_entropy_with_logits(centers[is_positive], weight, reduction="sum") / count
    )
