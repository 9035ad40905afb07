import numpy as np
import pytest
import torch

from florence_rag.models.layers.embedding import ConvEmbedding, PatchEmbedding, PatchMerging
from tests.models.reference import PUBLIC, arrays, assert_close, needs_parity


def cvt_stage(index: int) -> ConvEmbedding:
    """The convolutional token embedding of the original's stage, with its weights."""
    weights = torch.load(PUBLIC / "cvt_small" / "checkpoint.pth", weights_only=True)
    prefix = f"stage{index}.patch_embed."
    ours = {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}
    out_channels, in_channels = ours["proj.weight"].shape[:2]
    embedding = ConvEmbedding(in_channels, out_channels, first=index == 0)
    embedding.load_state_dict(ours)
    return embedding


@needs_parity
def test_convolutional_embedding_equals_cvt() -> None:
    inputs, expected = arrays(PUBLIC / "cvt_small" / "inputs.npz"), arrays(PUBLIC / "cvt_small" / "outputs.npz")
    entering = (inputs["image"], expected["stage0.out"], expected["stage1.out"])
    for stage, x in enumerate(entering):
        ours = cvt_stage(stage)(x).permute(0, 3, 1, 2)
        assert_close(ours, expected[f"stage{stage}.conv_embed"], f"stage {stage}")


@needs_parity
def test_convolutional_embedding_of_odd_sides_equals_cvt() -> None:
    x, expected = arrays(PUBLIC / "cvt_small" / "inputs.npz")["image_odd"], arrays(PUBLIC / "cvt_small" / "outputs.npz")
    for stage in range(3):
        x = cvt_stage(stage)(x).permute(0, 3, 1, 2)
        assert_close(x, expected[f"conv_embed_odd.stage{stage}"], f"stage {stage}")


@pytest.mark.parametrize(("first", "kernel", "stride", "padding"), [(True, 7, 4, 2), (False, 3, 2, 1)])
def test_convolutional_embedding_by_hand(first: bool, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    embedding = ConvEmbedding(3, 5, first=first)
    image = torch.randn(1, 3, 15, 14)
    weight, bias = embedding.proj.weight.detach().numpy(), embedding.proj.bias.detach().numpy()
    padded = np.pad(image[0].numpy(), ((0, 0), (padding, padding), (padding, padding)))
    tokens = embedding(image)[0]
    for row, column in ((0, 0), (1, 2), (tokens.shape[0] - 1, tokens.shape[1] - 1)):
        patch = padded[:, row * stride : row * stride + kernel, column * stride : column * stride + kernel]
        value = (weight * patch).sum(axis=(1, 2, 3)) + bias
        normed = (value - value.mean()) / np.sqrt(value.var() + 1e-5)
        assert_close(tokens[row, column], torch.from_numpy(normed), f"token {row}, {column}")


def test_merging_concatenates_neighbors_in_the_order_of_the_released_weights() -> None:
    merging = PatchMerging(1, 4)
    seen: list[torch.Tensor] = []
    merging.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    merging(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert seen[0].flatten().tolist() == [1.0, 3.0, 2.0, 4.0]


@pytest.mark.parametrize(("module", "stride"), [(PatchEmbedding(3, 8), 4), (PatchMerging(3, 8), 2)])
def test_sides_that_do_not_divide_are_padded_with_zeros(module: torch.nn.Module, stride: int) -> None:
    image = torch.randn(2, 3, 11, 9)
    padded = torch.zeros(2, 3, 12, 12 if stride == 4 else 10)
    padded[:, :, :11, :9] = image
    assert torch.equal(module(image), module(padded))
