"""Image encoders on NumPy return the vectors of PyTorch, with every weight at random."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig, FlorenceModel
from florence_rag.models.numpy_image_encoder import ImageNetworkSettings, open_image_encoder
from florence_rag.models.numpy_layers import Weights
from florence_rag.models.text_encoder import TextEncoderConfig

VISION = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3}
IMAGE = {"image_size": 36, "patch_size": 12}
TEXT = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}


def assert_equal_vectors(model, settings, shape, folder):
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    save_file({name: weight.contiguous() for name, weight in model.state_dict().items()}, folder / "model.safetensors")
    pixels = torch.randn(3, *shape)
    with torch.inference_mode():
        found = model.eval().get_image_features(pixels[None])
    expected = getattr(found, "pooler_output", found)[0].numpy()
    vector = open_image_encoder(Weights(folder), settings)(pixels.permute(1, 2, 0).numpy())
    assert vector.dtype == np.float32
    unit = expected / np.linalg.norm(expected)
    np.testing.assert_allclose(vector / np.linalg.norm(vector), unit, atol=2e-5)


@pytest.mark.parametrize("convolutional", [True, False])
@pytest.mark.parametrize("image_size", [64, 112])  # the last stage is smaller than a window, and larger than one
@pytest.mark.parametrize("shape", [(0, 0), (-13, 9)])
def test_coswin_and_swin(convolutional, image_size, shape, tmp_path):
    depths, heads = (1, 2, 2), (1, 2, 4)
    image = CoSwinConfig(
        image_size=image_size, embed_dim=8, depths=depths, num_heads=heads, window_size=5, convolutional=convolutional
    )
    text = TextEncoderConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=9)
    model = FlorenceModel(FlorenceConfig(image_config=image, text_config=text, projection_dim=16))
    settings = ImageNetworkSettings("florence", depths, heads, image.layer_norm_eps, "gelu")
    sides = tuple(image_size + more for more in shape)
    assert_equal_vectors(model, settings, sides, tmp_path)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_clip(activation, tmp_path):
    vision = VISION | IMAGE | {"hidden_act": activation, "layer_norm_eps": 1e-3}
    model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=16))
    assert_equal_vectors(model, ImageNetworkSettings("clip", (2,), (3,), 1e-3, activation), (36, 36), tmp_path)


def test_siglip(tmp_path):
    model = SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION | IMAGE))
    settings = ImageNetworkSettings("siglip", (2,), (3,), 1e-6, "gelu_pytorch_tanh")
    assert_equal_vectors(model, settings, (36, 36), tmp_path)
