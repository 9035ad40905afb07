import pytest
import torch
from torch.nn import functional as F

from florence_rag.models.layers.deformable import modulated_deform_conv
from tests.models.reference import PUBLIC, arrays, assert_close, needs_parity


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@needs_parity
@pytest.mark.parametrize("stride", [1, 2])
def test_it_equals_the_original_kernel(stride: int) -> None:
    given, expected = (arrays(PUBLIC / "dyhead_small" / f"{name}.npz") for name in ("inputs", "outputs"))
    offset, mask = given[f"dc.offset{stride}"], given[f"dc.mask{stride}"]
    ours = modulated_deform_conv(given["dc.x"], offset, mask, given["dc.w"], given["dc.b"], stride=stride)
    assert_close(ours, expected[f"dc.out_stride{stride}"])


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 7)), (2, (3, 4)), (1, (1, 1))])
def test_without_offsets_it_is_a_convolution(stride: int, size: tuple[int, int]) -> None:
    x = drawn(2, 3, 5, 7) if size != (1, 1) else drawn(2, 3, 1, 1)
    weight, bias = drawn(4, 3, 3, 3, seed=1), drawn(4, seed=2)
    ours = modulated_deform_conv(x, torch.zeros(2, 18, *size), torch.ones(2, 9, *size), weight, bias, stride=stride)
    torch.testing.assert_close(ours, F.conv2d(x, weight, bias, stride, padding=1), atol=1e-5, rtol=1e-5)


def test_an_offset_moves_down_then_right() -> None:
    x = drawn(1, 2, 6, 6)
    offset = torch.zeros(1, 9, 2, 6, 6)
    offset[:, :, 0], offset[:, :, 1] = 1.0, 2.0
    weight = drawn(2, 2, 3, 3, seed=1)
    ours = modulated_deform_conv(x, offset.flatten(1, 2), torch.ones(1, 9, 6, 6), weight)
    plain = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(ours[..., 1:3, 1:3], plain[..., 2:4, 3:5], atol=1e-5, rtol=1e-5)


def test_half_a_pixel_is_the_mean_and_outside_is_zero() -> None:
    x = torch.tensor([[[[2.0, 4.0, 8.0]]]])
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1, 1] = 1.0
    offset = torch.zeros(1, 9, 2, 1, 3)
    offset[:, 4, 1] = 0.5
    ours = modulated_deform_conv(x, offset.flatten(1, 2), torch.ones(1, 9, 1, 3), weight)
    assert ours.flatten().tolist() == pytest.approx([3.0, 6.0, 4.0])


def test_the_mask_weighs_every_tap() -> None:
    x, weight = drawn(1, 2, 4, 4), drawn(3, 2, 3, 3, seed=1)
    mask = torch.zeros(1, 9, 4, 4)
    mask[:, 4] = 0.5
    ours = modulated_deform_conv(x, torch.zeros(1, 18, 4, 4), mask, weight)
    torch.testing.assert_close(ours, 0.5 * F.conv2d(x, weight[:, :, 1:2, 1:2]), atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_finite_differences() -> None:
    x, offset, mask, weight = drawn(1, 1, 4, 4), 0.3 * drawn(1, 18, 4, 4), drawn(1, 9, 4, 4), drawn(1, 1, 3, 3)
    offset.requires_grad_()
    modulated_deform_conv(x, offset, mask, weight).sum().backward()
    step = torch.zeros_like(offset)
    step[0, 3, 2, 2] = 1e-2
    with torch.no_grad():
        after, before = (modulated_deform_conv(x, offset + way * step, mask, weight).sum() for way in (1, -1))
    assert offset.grad is not None
    assert offset.grad[0, 3, 2, 2].item() == pytest.approx(((after - before) / 2e-2).item(), rel=2e-2)
