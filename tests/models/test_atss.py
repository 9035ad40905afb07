import pytest
import torch
from torch import Tensor

from florence_rag.models.atss import Points, assign, centerness, detection_loss, edge_distances, focal_loss

POINTS = Points.of([torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 4, 4)], [4, 8])


def assigned(*boxes: tuple[float, ...]) -> Tensor:
    return assign(POINTS, torch.tensor(boxes).reshape(-1, 4), top_k=9, anchor_scale=4.0)


def test_points_are_the_centers_of_cells() -> None:
    assert POINTS.counts == (64, 16)
    assert POINTS.xy[[0, 1, 8, 64, 65]].tolist() == [[2, 2], [6, 2], [2, 6], [4, 4], [12, 4]]


def test_distances_and_boxes_are_inverse() -> None:
    box = torch.tensor([[3.0, 5.0, 20.0, 9.0]]).expand(80, -1)
    torch.testing.assert_close(POINTS.boxes(edge_distances(POINTS.xy, box)), box)


@pytest.mark.parametrize("box", [(4, 4, 20, 20), (0, 0, 32, 32), (9, 9, 14, 15), (1, 9, 31, 23)])
def test_a_box_is_learned_by_points_inside_it(box: tuple[float, ...]) -> None:
    owners = assigned(box)
    inside = POINTS.xy[owners == 0]
    assert len(inside)
    left, top, right, bottom = box
    assert ((inside > torch.tensor([left, top])) & (inside < torch.tensor([right, bottom]))).all()


def test_a_point_learns_the_box_that_it_fits_better() -> None:
    owners = assigned((4, 4, 20, 20), (5, 5, 30, 30))
    assert {-1, 0, 1} == set(owners.tolist())


def test_without_boxes_every_point_is_background() -> None:
    assert set(assigned().tolist()) == {-1}


def test_centerness() -> None:
    distances = torch.tensor([[2.0, 2.0, 2.0, 2.0], [1.0, 2.0, 4.0, 2.0], [0.0, 1.0, 2.0, 1.0]])
    assert centerness(distances).tolist() == pytest.approx([1.0, 0.5, 0.0], abs=1e-3)


def test_focal_loss_by_hand() -> None:
    """p = 0.5 for both: 0.25 and 0.75 times 0.25 times log 2."""
    loss = focal_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(0.25 * 0.6931, abs=1e-4)


def test_the_loss_is_smallest_for_correct_outputs() -> None:
    boxes, classes = torch.tensor([[4.0, 4.0, 20.0, 20.0]]), torch.tensor([1])
    owner = assign(POINTS, boxes, top_k=9, anchor_scale=4.0) == 0
    logits = torch.full((1, 80, 2), -12.0)
    logits[0, owner, 1] = 12.0
    right = edge_distances(POINTS.xy, boxes.expand(80, -1))[None].clamp(min=0.1)
    centers = torch.logit(centerness(right[0]).clamp(1e-4, 1 - 1e-4))[None]

    def loss(logits: Tensor, distances: Tensor) -> float:
        return detection_loss(POINTS, logits, distances, centers, [(boxes, classes)], top_k=9, anchor_scale=4.0).item()

    best = loss(logits, right)
    assert best < loss(logits.flip(-1), right)
    assert best < loss(logits, right + 3)
