import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.models.boxes import area, generalized_iou, iou, suppress

UNIT = torch.tensor([0.0, 0.0, 1.0, 1.0])
share = st.floats(0, 1, width=32)
boxes = st.lists(st.tuples(share, share, share, share), min_size=1, max_size=12).map(
    lambda rows: torch.tensor([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows])
)


def test_areas_and_overlaps() -> None:
    half, away = torch.tensor([0.0, 0.0, 0.5, 1.0]), torch.tensor([2.0, 0.0, 3.0, 1.0])
    assert area(half).item() == 0.5
    assert iou(UNIT, half).item() == 0.5
    assert iou(UNIT, away).item() == 0.0
    assert generalized_iou(UNIT, away).item() == pytest.approx(-1 / 3)
    assert generalized_iou(UNIT, UNIT).item() == pytest.approx(1.0)


@given(boxes, boxes)
def test_overlaps_are_fractions_and_symmetric(a: torch.Tensor, b: torch.Tensor) -> None:
    one, other = iou(a[:, None], b[None]), iou(b[:, None], a[None])
    assert ((one >= 0) & (one <= 1 + 1e-5)).all()
    torch.testing.assert_close(one, other.T)
    wide = generalized_iou(a[:, None], b[None])
    assert (wide <= one + 1e-5).all() and (wide >= -1 - 1e-5).all()


@given(boxes, st.floats(0.05, 0.95))
def test_kept_boxes_overlap_little_and_dropped_boxes_overlap_a_kept_one(found: torch.Tensor, threshold: float) -> None:
    scores = torch.linspace(1, 0, len(found))
    labels = torch.zeros(len(found), dtype=torch.long)
    kept = suppress(found, scores, labels, threshold).tolist()
    assert kept == sorted(kept) and kept[0] == 0
    overlaps = iou(found[:, None], found[None])
    for index in range(len(found)):
        rivals = [overlaps[index, other] > threshold for other in kept if other < index]
        assert any(rivals) != (index in kept)


def test_boxes_of_different_labels_do_not_suppress_each_other() -> None:
    twice = torch.stack([UNIT, UNIT])
    assert suppress(twice, torch.tensor([0.2, 0.9]), torch.tensor([0, 1]), 0.5).tolist() == [1, 0]
    assert suppress(twice, torch.tensor([0.2, 0.9]), torch.tensor([1, 1]), 0.5).tolist() == [1]


def test_no_boxes_are_no_error() -> None:
    empty = torch.zeros(0)
    assert suppress(torch.zeros(0, 4), empty, empty.long(), 0.5).tolist() == []
