import pytest
import torch

from florence_rag.models.layers.window import (
    DropPath,
    SwinBlock,
    from_windows,
    relative_position_index,
    shift_mask,
    to_windows,
)


def test_windows_and_back() -> None:
    x = torch.randn(2, 6, 9, 4)
    windows = to_windows(x, (3, 3))
    assert windows.shape == (2 * 2 * 3, 9, 4)
    assert torch.equal(windows[1], x[0, :3, 3:6].reshape(9, 4))
    assert torch.equal(from_windows(windows, (3, 3), (6, 9)), x)


def test_relative_positions_depend_on_the_offset_only() -> None:
    index = relative_position_index((3, 3), (3, 3))
    for query in range(9):
        for key in range(9):
            down, right = query // 3 - key // 3, query % 3 - key % 3
            assert index[query, key] == (down + 2) * 5 + right + 2


def test_the_shift_mask_separates_tokens_that_are_not_neighbors() -> None:
    height, width, window, shift = 6, 6, 3, 1
    mask = shift_mask((height, width), (window, window), (shift, shift))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    positions = torch.stack([rows, columns], dim=-1).roll((-shift, -shift), dims=(0, 1))[None]
    for tokens, allowed in zip(to_windows(positions, (window, window)), mask == 0, strict=True):
        near = (tokens[:, None] - tokens[None]).abs().amax(-1) < window
        assert torch.equal(allowed, near)


def block(window: int, *, shifted: bool) -> SwinBlock:
    torch.manual_seed(0)
    return SwinBlock(8, 2, window=(window, window), shifted=shifted).eval()


def reach(network: SwinBlock, height: int, width: int, row: int, column: int) -> torch.Tensor:
    """Return the inputs that influence the output at (row, column): (H, W) bool."""
    x = torch.randn(1, height, width, 8, requires_grad=True)
    network(x)[0, row, column].square().sum().backward()
    assert x.grad is not None
    return x.grad[0].abs().sum(-1) > 1e-12  # what is masked weighs exp(-100)


def test_a_token_attends_to_its_window() -> None:
    seen = reach(block(4, shifted=False), 8, 8, 1, 6)
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[:4, 4:] = True
    assert torch.equal(seen, expected)


def test_a_shifted_window_joins_four_and_does_not_wrap_around() -> None:
    middle, corner = reach(block(4, shifted=True), 8, 8, 3, 3), reach(block(4, shifted=True), 8, 8, 0, 0)
    assert middle[2:6, 2:6].all() and middle.sum() == 16
    assert corner[:2, :2].all() and corner.sum() == 4


@pytest.mark.parametrize("shifted", [False, True])
def test_sides_that_windows_do_not_divide(shifted: bool) -> None:
    assert block(4, shifted=shifted)(torch.randn(2, 6, 5, 8)).shape == (2, 6, 5, 8)


def test_training_after_inference() -> None:
    """Cached tensors of a first pass in inference mode must also serve autograd."""
    network = SwinBlock(8, 2, window=(5, 5), shifted=True)
    with torch.inference_mode():
        network(torch.randn(1, 10, 10, 8))
    network(torch.randn(1, 10, 10, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_dropped_paths_keep_the_mean() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25)(torch.ones(4000, 1, 1))
    assert dropped.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert dropped.mean() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(torch.ones(3)), torch.ones(3))
