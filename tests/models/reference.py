"""Outputs of the original code: the paths of its files, the equivalent configurations, and comparisons."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, RobertaConfig

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.meter import MeterConfig
from florence_rag.models.text_encoder import TextEncoderConfig
from tests.models.layouts import (
    Layout,
    clip_leftovers,
    clip_text,
    clip_vision,
    fusion,
    heads,
    prefixed,
    roberta,
    swin,
    unicl,
)

PARITY = Path(__file__).parents[3] / "shared" / "parity"
PUBLIC = PARITY / "public"
EXPECTED = Path(__file__).parent / "expected"
FILL_SEED = 20211122

needs_parity = pytest.mark.skipif(not PARITY.is_dir(), reason="the reference files are not here")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def arrays(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


def assert_close(ours: Tensor, theirs: Tensor, what: str = "") -> None:
    """Two correct implementations differ by 4e-6."""
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5, msg=lambda text: f"{what}: {text}")


@contextmanager
def outputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of the named modules during the block."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: outputs.__setitem__(name, output)

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    yield outputs
    for hook in hooks:
        hook.remove()


# The small reference checkpoints, as their config files describe them.

UNICL_SMALL = FlorenceConfig(
    image_config=CoSwinConfig(
        image_size=128,
        embed_dim=16,
        depths=(2, 2, 3, 2),
        num_heads=(1, 2, 4, 8),
        window_size=4,
        convolutional=False,
    ),
    text_config=TextEncoderConfig(
        vocab_size=1024,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        bos_token_id=1022,
        eos_token_id=1023,
    ),
    projection_dim=48,
)


def small_clip(image_size: int) -> CLIPVisionConfig:
    """Three of four blocks: METER drops CLIP's last one."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=image_size,
        patch_size=16,
    )


def small_swin(image_size: int) -> CoSwinConfig:
    """The windows of METER are proportional to the image."""
    return CoSwinConfig(
        image_size=image_size,
        embed_dim=16,
        depths=(2, 2, 2, 2),
        num_heads=(1, 2, 4, 8),
        window_size=image_size // 32,
        convolutional=False,
    )


def meter_small(encoder: str, image_size: int, *heads: str) -> MeterConfig:
    return MeterConfig(
        text_config=RobertaConfig(
            vocab_size=600,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=160,
            max_position_embeddings=32,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        ),
        image_config=small_clip(image_size) if encoder == "clip16" else small_swin(image_size),
        hidden_size=96,
        num_layers=2,
        num_heads=4,
        intermediate_size=192,
        image_pooling="first" if encoder == "clip16" else "mean",
        max_text_length=20,
        heads=heads,
        num_answers=61,
    )


UNICL_LAYOUT = unicl(swin(128, 16, (2, 2, 3, 2), (1, 2, 4, 8), 4), clip_text(1024, 77, 64, 3), 128, 64, 48)


def meter_layout(encoder: str, image_size: int, *names: str) -> Layout:
    encoders = {
        "clip16": {**clip_leftovers(9, 64), **prefixed("visual.", clip_vision(image_size, 16, 128, 3))},
        "swin": swin(image_size, 16, (2, 2, 2, 2), (1, 2, 4, 8), image_size // 32),
    }
    return {
        **prefixed("vit_model.", encoders[encoder]),
        **prefixed("text_transformer.", roberta(600, 32, 64, 2, 160)),
        **fusion(64, 128, 96, 192, 2),
        **heads(names, 96, 61, 600),
    }


# The released sizes.


def unicl_swin(embed_dim: int, depths: tuple[int, ...], num_heads: tuple[int, ...]) -> FlorenceConfig:
    swin = CoSwinConfig(embed_dim=embed_dim, depths=depths, num_heads=num_heads, convolutional=False)
    return FlorenceConfig(image_config=swin, text_config=TextEncoderConfig(), projection_dim=512)


def meter_base(encoder: str, image_size: int, *heads: str) -> MeterConfig:
    clip = CLIPVisionConfig(num_hidden_layers=11, image_size=image_size, patch_size=16)
    swin = CoSwinConfig(
        image_size=image_size,
        embed_dim=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        window_size=image_size // 32,
        convolutional=False,
    )
    return MeterConfig(
        text_config=RobertaConfig(max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5),
        image_config=clip if encoder == "clip16" else swin,
        image_pooling="first" if encoder == "clip16" else "mean",
        heads=heads,
        num_token_types=3 if "nlvr2" in heads else 2,
    )


UNICL_SIZES = {
    "unicl_swin_tiny": unicl_swin(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "unicl_swin_base": unicl_swin(128, (2, 2, 18, 2), (4, 8, 16, 32)),
}
METER_SIZES = {
    "meter_clip16_roberta_pretrain288": meter_base("clip16", 288, "mlm", "itm"),
    "meter_clip16_roberta_vqa576": meter_base("clip16", 576, "vqa"),
    "meter_clip16_roberta_irtr384": meter_base("clip16", 384, "itm", "rank"),
    "meter_clip16_roberta_nlvr2_288": meter_base("clip16", 288, "nlvr2"),
    "meter_swinbase_roberta_pretrain384": meter_base("swin", 384, "mlm", "itm"),
    "meter_swinbase_roberta_vqa384": meter_base("swin", 384, "vqa"),
}


def full_inputs(name: str) -> dict[str, Tensor]:
    inputs = arrays(PUBLIC / "fullsize" / f"{name}.inputs.npz")
    return {**inputs, "image": inputs["image"].float()}


def assert_corners_close(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Compare with tensors whose names, such as "img.norm[:, :8, :8]", give the recorded part."""
    compared = 0
    for name, tensor in expected.items():
        key, bracket, corner = name.partition("[:, :")
        if key in outputs:
            rows, columns = (int(part.strip(" :]")) for part in corner.split(",")) if bracket else (None, None)
            ours = outputs[key][:, :rows, :columns] if bracket else outputs[key]
            assert_close(ours, tensor, name)
            compared += 1
    assert compared >= 4
