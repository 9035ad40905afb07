import torch

from florence_rag.models.layers.dynamic import DynamicReLU
from tests.models.reference import PUBLIC, arrays, assert_close, needs_parity


@needs_parity
def test_dynamic_relu_equals_the_original() -> None:
    given, expected = (arrays(PUBLIC / "dyhead_small" / f"{name}.npz") for name in ("inputs", "outputs"))
    relu = DynamicReLU(8)
    prefix = "dyrelu.weights."
    relu.load_state_dict({key.removeprefix(prefix): x for key, x in expected.items() if key.startswith(prefix)})
    assert_close(relu(given["dyrelu.x"]), expected["dyrelu.out"])


def test_before_training_it_is_a_relu() -> None:
    relu = DynamicReLU(8)
    torch.nn.init.zeros_(relu.fc[2].weight)
    torch.nn.init.zeros_(relu.fc[2].bias)
    x = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(relu(x), x.relu())
