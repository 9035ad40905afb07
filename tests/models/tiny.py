"""Every network of the package at a small size, with inputs for it."""

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, RobertaConfig

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.dyhead import DyHeadConfig, DyHeadDetectorConfig
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.meter import MeterConfig
from florence_rag.models.text_encoder import TextEncoderConfig
from florence_rag.models.video_coswin import VideoCoSwinConfig

BOS, PAD, EOS = 0, 1, 2


def coswin(**changes: Any) -> CoSwinConfig:
    shape = {"image_size": 32, "embed_dim": 8, "depths": (2, 2), "num_heads": (1, 2), "window_size": 4}
    return CoSwinConfig(**{**shape, **changes})


def text_encoder() -> TextEncoderConfig:
    return TextEncoderConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
    )


def florence() -> FlorenceConfig:
    return FlorenceConfig(image_config=coswin(), text_config=text_encoder(), projection_dim=12)


def detector(**changes: Any) -> DyHeadDetectorConfig:
    """Levels at strides 4, 8 and 16; three classes."""
    shape = {
        "backbone_config": coswin(),
        "head_config": DyHeadConfig(channels=16, num_blocks=2, groups=4),
        "stages": (0, 1),
        "extra_levels": 1,
        "anchor_scale": 2.0,
        "id2label": {0: "cat", 1: "dog", 2: "cow"},
    }
    return DyHeadDetectorConfig(**{**shape, **changes})


def video(**changes: Any) -> VideoCoSwinConfig:
    """Three classes, two attributes of two values; windows that are shifted in time and space in the first stage."""
    shape = {
        "image_size": 32,
        "num_frames": 6,
        "embed_dim": 8,
        "depths": (2, 1),
        "num_heads": (1, 2),
        "windows": ((2, 4), (4, 4)),
        "id2label": {0: "stops", 1: "starts", 2: "stands"},
        "attributes": {"color": ["red", "blue"], "object": ["car", "bus"]},
        "pooling": "trajectory",
    }
    return VideoCoSwinConfig(**{**shape, **changes})


def clip() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )


def meter(**changes: Any) -> MeterConfig:
    """Two fusion layers over CoSwin; heads for questions and matching; three answers."""
    roberta = RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=14,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    )
    shape = {
        "text_config": roberta,
        "image_config": coswin(),
        "hidden_size": 24,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 48,
        "image_pooling": "mean",
        "num_image_positions": 16,
        "max_text_length": 12,
        "heads": ("vqa", "itm"),
        "answers": ["red", "blue", "yes"],
    }
    return MeterConfig(**{**shape, **changes})


def images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def clips(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def texts() -> dict[str, Tensor]:
    """Three texts, two of them padded."""
    words = ([5, 6, 7, 8], [9, 10], [11, 12, 13])
    rows = [[BOS, *row, EOS] + [PAD] * (4 - len(row)) for row in words]
    input_ids = torch.tensor(rows)
    return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long()}
