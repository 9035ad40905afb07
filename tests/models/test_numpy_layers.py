"""The parts of networks on NumPy equal those of PyTorch; whole text encoders are compared in tests/loading."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers.activations import ACT2FN

from florence_rag.errors import ModelError
from florence_rag.models.numpy_layers import ACTIVATIONS, Weights, attend, convolve, normalize


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_those_of_torch(name):
    values = np.linspace(-12, 12, 10_001, dtype=np.float32)
    expected = ACT2FN[name](torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](values), expected, atol=2e-6)


def test_layers_equal_those_of_torch():
    torch.manual_seed(0)
    image, kernel, bias = torch.randn(3, 17, 22), torch.randn(5, 3, 7, 7), torch.randn(5)
    expected = F.conv2d(image[None], kernel, bias, stride=4, padding=2)[0].permute(1, 2, 0)
    found = convolve(image.permute(1, 2, 0).numpy(), (kernel.numpy(), bias.numpy()), stride=4, padding=2)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    x, scale, shift = torch.randn(4, 8), torch.randn(8), torch.randn(8)
    expected = F.layer_norm(x, (8,), scale, shift, eps=0.1)
    np.testing.assert_allclose(normalize(x.numpy(), (scale.numpy(), shift.numpy()), 0.1), expected, atol=2e-6)
    query, key, mask = torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(4, 3, 5)
    heads = [x.unflatten(-1, (4, 2)).transpose(1, 2) for x in (query, key, key)]
    expected = F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
    found = attend(query.numpy(), key.numpy(), key.numpy(), 4, mask.numpy())
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_weights_are_read_from_all_files_as_fp32(tmp_path):
    half, single = torch.randn(3, 4, dtype=torch.float16), torch.randn(5)
    save_file({"a.weight": half, "b": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "1.safetensors", {"k": "v"})
    save_file({"c.weight": half.float(), "c.bias": single}, tmp_path / "2.safetensors")
    weights = Weights(tmp_path)
    np.testing.assert_array_equal(weights.tensor("a.weight"), half.float())
    np.testing.assert_array_equal(weights.rows("a.weight")[[2, 0, 2]], half.float()[[2, 0, 2]])
    np.testing.assert_array_equal(weights.layer("c")[1], single)
    np.testing.assert_array_equal(weights.layer("a")[1], 0)
    for name in ("b", "d"):  # bf16, which NumPy lacks, and a weight that is missing
        with pytest.raises(KeyError):
            weights.tensor(name)


def _cut(content: bytes) -> bytes:
    return content[:-1]


def _without_header(content: bytes) -> bytes:
    return content[8:]


def _with_offsets_outside(content: bytes) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [8], "data_offsets": [1 << 40, (1 << 40) + 32]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(32)


@pytest.mark.parametrize("damage", [_cut, _without_header, _with_offsets_outside, lambda _: b""])
def test_a_damaged_file_is_an_error(tmp_path: Path, damage):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(8)}, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises((ValueError, KeyError)):
        Weights(tmp_path)


def test_weights_in_use_survive_an_overwritten_file(tmp_path):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4096, 4)}, file)
    weights = Weights(tmp_path)
    layer, rows = weights.tensor("a"), weights.rows("a")
    with pytest.raises(IndexError):
        rows[[4096]]
    file.write_bytes(b"")
    assert layer.sum() == 4096 * 4
    with pytest.raises(ModelError, match="has changed since the model was opened"):
        rows[[0]]
