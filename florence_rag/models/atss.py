"""Which points of the pyramid learn which box, and what the detection head loses when it is wrong.

Paper: ATSS (arXiv 1912.02424, section 4, algorithm 1), with centerness and distances from
FCOS (arXiv 1904.01355, equations 1 and 3), focal loss (arXiv 1708.02002) and GIoU loss (arXiv 1902.09630).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from florence_rag.models.boxes import generalised_iou, iou


@dataclass(frozen=True)
class Points:
    """Every place of every level that can hold a box, levels from fine to coarse.

    xy: (P, 2) pixels. stride: (P,) pixels between neighbors. counts: points of each level.
    """

    xy: Tensor
    stride: Tensor
    counts: tuple[int, ...]

    @classmethod
    def of(cls, levels: Sequence[Tensor], strides: Sequence[int]) -> Points:
        """The middles of the cells of maps (B, C, H_i, W_i), row by row."""
        grids = [_middles(level, stride) for level, stride in zip(levels, strides, strict=True)]
        spacing = [grid.new_full((len(grid),), stride) for grid, stride in zip(grids, strides, strict=True)]
        return cls(torch.cat(grids), torch.cat(spacing), tuple(map(len, grids)))

    def boxes(self, distances: Tensor) -> Tensor:
        """(..., P, 4) pixels to the left, top, right and bottom edge -> (..., P, 4) boxes."""
        return torch.cat([self.xy - distances[..., :2], self.xy + distances[..., 2:]], dim=-1)

    def distances(self, boxes: Tensor) -> Tensor:
        """The inverse of boxes: to the edges of a box each, (P, 4), negative where the point lies outside."""
        return torch.cat([self.xy - boxes[:, :2], boxes[:, 2:] - self.xy], dim=-1)


def _middles(level: Tensor, stride: int) -> Tensor:
    rows, columns = (torch.arange(side, device=level.device) + 0.5 for side in level.shape[-2:])
    y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def assign(points: Points, boxes: Tensor, *, top_k: int, anchor_scale: float) -> Tensor:
    """The box that each point is to learn: (P,) index into boxes (N, 4), or -1 for background.

    Of each level the top_k points nearest to the middle of a box are its candidates; those stay that lie inside and
    whose square anchor, of anchor_scale strides, overlaps the box more than mean plus deviation of all candidates do.
    Unlike in the paper the best of those inside always stays, so that a box which all anchors resemble alike is
    learned, too.
    """
    if not len(boxes):
        return torch.full((len(points.xy),), -1, device=points.xy.device)
    half = points.stride[:, None] * anchor_scale / 2
    overlaps = iou(torch.cat([points.xy - half, points.xy + half], dim=1)[:, None], boxes[None])
    candidates = _nearest(points, (boxes[:, :2] + boxes[:, 2:]) / 2, top_k)
    theirs = overlaps.gather(0, candidates)
    inside = _inside(points, boxes)
    best = theirs.masked_fill(~inside.gather(0, candidates), -1.0).amax(dim=0)
    threshold = torch.minimum(theirs.mean(dim=0) + theirs.std(dim=0), best)
    chosen = torch.zeros_like(overlaps, dtype=torch.bool).scatter_(0, candidates, theirs >= threshold) & inside
    # A point that two boxes want learns the one that its anchor overlaps more.
    overlap, index = overlaps.masked_fill(~chosen, -1.0).max(dim=1)
    return index.where(overlap >= 0, torch.full_like(index, -1))


def _nearest(points: Points, middles: Tensor, top_k: int) -> Tensor:
    """(K, N) indices of points."""
    distance = torch.cdist(points.xy, middles)
    found, start = [], 0
    for count in points.counts:
        part = distance[start : start + count]
        found.append(part.topk(min(top_k, count), dim=0, largest=False).indices + start)
        start += count
    return torch.cat(found)


def _inside(points: Points, boxes: Tensor) -> Tensor:
    """(P, N): whether a point lies in a box."""
    x, y = points.xy[:, :1], points.xy[:, 1:]
    return (x > boxes[:, 0]) & (y > boxes[:, 1]) & (x < boxes[:, 2]) & (y < boxes[:, 3])


def centerness(distances: Tensor) -> Tensor:
    """(N, 4) positive distances to the edges -> (N,): 1 in the middle, 0 at an edge (FCOS, equation 3)."""
    left, top, right, bottom = distances.clamp(min=1e-6).unbind(-1)
    across = torch.minimum(left, right) / torch.maximum(left, right)
    down = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (across * down).sqrt()


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sum over logits and targets, both (N, L): easy background points contribute little."""
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
    """Focal loss, GIoU loss weighted by centerness (times 2), and cross-entropy of centerness, for each positive point.

    logits: (B, P, L). distances: (B, P, 4) pixels. centers: (B, P) logits. labels: for each image its boxes (N_i, 4)
    in pixels and their classes (N_i,). Returns ().
    """
    owners = [assign(points, boxes, top_k=top_k, anchor_scale=anchor_scale) for boxes, _ in labels]
    targets = torch.zeros_like(logits)
    wanted, hit = [], torch.stack(owners) >= 0
    for row, ((boxes, classes), owner) in enumerate(zip(labels, owners, strict=True)):
        positive = owner >= 0
        targets[row, positive, classes[owner[positive]]] = 1.0
        wanted.append(boxes[owner[positive]])
    goal = torch.cat(wanted)
    xy = points.xy.expand(len(logits), -1, -1)[hit]
    weight = centerness(torch.cat([xy - goal[:, :2], goal[:, 2:] - xy], dim=-1))
    apart = 1 - generalised_iou(points.boxes(distances)[hit], goal)
    count = hit.sum().clamp(min=1)
    return (
        focal_loss(logits, targets) / count
        + 2 * (apart * weight).sum() / weight.sum().clamp(min=1e-6)
        + F.binary_cross_entropy_with_logits(centers[hit], weight, reduction="sum") / count
    )
