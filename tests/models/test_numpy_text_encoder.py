"""The activations of text encoders on NumPy equal those of PyTorch; the encoders are compared in tests/loading."""

import numpy as np
import pytest
import torch
from transformers.activations import ACT2FN

from florence_rag.models.numpy_text_encoder import ACTIVATIONS


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_those_of_torch(name):
    values = np.linspace(-12, 12, 10_001, dtype=np.float32)
    expected = ACT2FN[name](torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(ACTIVATIONS[name](values), expected, atol=2e-6)
