"""Which network a released checkpoint is, read from the names and shapes of its weights.

Settings that shapes do not determine follow the released models: attention heads of 64 channels in CLIP and RoBERTa,
texts of 50 tokens in METER and of 40 for ranking, windows of 7 over 224 pixels in UniCL's Swin and of a 32nd of the
image in METER's. For a checkpoint that differs, pass its configuration.
"""

import math
import re
from collections.abc import Mapping

from torch import Tensor
from transformers import CLIPVisionConfig, RobertaConfig

from florence_rag.errors import ModelError
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.meter import MeterConfig
from florence_rag.models.text_encoder import TextEncoderConfig

HEAD_WIDTH = 64
HEAD_KEYS = {
    "vqa": "vqa_classifier.3.bias",
    "itm": "itm_score.fc.bias",
    "mlm": "mlm_score.bias",
    "rank": "rank_output.bias",
    "nlvr2": "nlvr2_classifier.3.bias",
    "snli": "snli_classifier.3.bias",
}

Weights = Mapping[str, Tensor]


def config_of(weights: Weights) -> FlorenceConfig | MeterConfig:
    """Return the configuration of UniCL's dual encoder or of METER; raise ModelError for any other weights."""
    if "cross_modal_text_transform.weight" in weights:
        return _meter(weights)
    for image, text in (("image_encoder.", "text_encoder."), ("visual.", "text.")):
        if f"{image}patch_embed.proj.weight" in weights and f"{text}token_embedding.weight" in weights:
            return _unicl(_below(weights, image), _below(weights, text), weights["text_projection"].shape[1])
    names = ", ".join(sorted(weights)[:5])
    raise ModelError(f"these weights are neither UniCL's nor METER's: {names}, ...; `florence-rag models` lists others")


def _unicl(image: Weights, text: Weights, projection: int) -> FlorenceConfig:
    vocab_size, width = text["token_embedding.weight"].shape
    return FlorenceConfig(
        image_config=_swin(image),
        text_config=TextEncoderConfig(
            vocab_size=vocab_size,
            hidden_size=width,
            num_hidden_layers=_count(text, r"resblocks\.(\d+)\."),
            num_attention_heads=max(1, width // HEAD_WIDTH),
            max_position_embeddings=len(text["positional_embedding"]),
            # The last two words of CLIP's vocabulary.
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
        ),
        projection_dim=projection,
    )


def _meter(weights: Weights) -> MeterConfig:
    tower = _below(weights, "vit_model.")
    over_clip = "visual.conv1.weight" in tower
    text = _below(weights, "text_transformer.")
    vocab_size, text_width = text["embeddings.word_embeddings.weight"].shape
    hidden_size = len(weights["cross_modal_text_transform.bias"])
    positions = len(text["embeddings.position_embeddings.weight"])
    heads = tuple(head for head, key in HEAD_KEYS.items() if key in weights)
    return MeterConfig(
        text_config=RobertaConfig(
            vocab_size=vocab_size,
            hidden_size=text_width,
            num_hidden_layers=_count(text, r"encoder\.layer\.(\d+)\."),
            num_attention_heads=max(1, text_width // HEAD_WIDTH),
            intermediate_size=len(text["encoder.layer.0.intermediate.dense.bias"]),
            max_position_embeddings=positions,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
        ),
        image_config=_clip(_below(tower, "visual.")) if over_clip else _swin(tower),
        hidden_size=hidden_size,
        num_layers=_count(weights, r"cross_modal_text_layers\.(\d+)\."),
        num_heads=max(1, hidden_size // HEAD_WIDTH),
        intermediate_size=len(weights["cross_modal_text_layers.0.intermediate.dense.bias"]),
        image_pooling="first" if over_clip else "mean",
        num_token_types=len(weights["token_type_embeddings.weight"]),
        max_text_length=min(40 if "rank" in heads else 50, positions - 2),
        heads=heads,
        num_answers=len(weights[HEAD_KEYS["vqa"]]) if "vqa" in heads else 3129,
    )


def _clip(weights: Weights) -> CLIPVisionConfig:
    width, _, patch, _ = weights["conv1.weight"].shape
    side = math.isqrt(len(weights["positional_embedding"]) - 1)
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=_count(weights, r"transformer\.resblocks\.(\d+)\."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        image_size=side * patch,
        patch_size=patch,
    )


def _swin(weights: Weights) -> CoSwinConfig:
    depths = [
        _count(weights, rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in range(_count(weights, r"layers\.(\d+)\."))
    ]
    tables = [weights[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in range(len(depths))]
    window = (math.isqrt(len(tables[0])) + 1) // 2
    # The mask of shifted windows has a row for each window of the first stage.
    mask = weights.get("layers.0.blocks.1.attn_mask")
    return CoSwinConfig(
        image_size=32 * window if mask is None else 4 * window * math.isqrt(len(mask)),
        embed_dim=len(weights["patch_embed.proj.bias"]),
        depths=depths,
        num_heads=[table.shape[1] for table in tables],
        window_size=window,
        convolutional=False,
    )


def _below(weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}


def _count(weights: Weights, pattern: str) -> int:
    """How many different numbers the pattern finds."""
    return len({match[1] for key in weights if (match := re.match(pattern, key))})
