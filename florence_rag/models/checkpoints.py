"""Released UniCL, METER and Dynamic Head weights in our networks: explicit key maps, loaded strictly.

Reference code: microsoft/UniCL, zdou0830/METER, microsoft/DynamicHead. Every key of a file matches a rule or is listed
as unused, and every weight of the network comes from the file. Otherwise an error lists the differences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.dyhead import DyHeadConfig, DyHeadModel
from florence_rag.models.florence import FlorenceConfig, FlorenceModel
from florence_rag.models.meter import MeterConfig
from florence_rag.models.meter_heads import MeterForMultipleTasks, MeterForVisualReasoning

Model = TypeVar("Model", bound=PreTrainedModel)


class Rule(NamedTuple):
    """Renames a key that matches the whole pattern; `part` selects a part or a view of its tensor."""

    pattern: str
    name: str
    part: Callable[[Tensor], Tensor] = torch.Tensor.detach


@dataclass(frozen=True)
class KeyMap:
    """The rules of one kind of file, and patterns of its keys that no network uses.

    Every rule that matches a key applies, so that one tensor can fill several weights.
    """

    rules: tuple[Rule, ...]
    unused: tuple[str, ...]

    def rename(self, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Return the tensors under our names, and the keys that match neither a rule nor an unused pattern."""
        renamed: dict[str, Tensor] = {}
        unknown = []
        for key, tensor in weights.items():
            hits = [(rule, match) for rule in self.rules if (match := re.fullmatch(rule.pattern, key))]
            renamed |= {match.expand(rule.name): rule.part(tensor) for rule, match in hits}
            if not hits and not any(re.fullmatch(pattern, key) for pattern in self.unused):
                unknown.append(key)
        return renamed, unknown


def prefixed(prefix: str, ours: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the rules for a network that is a part of another one; `prefix` is a pattern without groups."""
    return tuple(Rule(prefix + rule.pattern, ours + rule.name, rule.part) for rule in rules)


def qkv_slice(index: int) -> Callable[[Tensor], Tensor]:
    """Return a function that selects query, key or value from a tensor that stacks the three."""
    return lambda stacked: stacked.chunk(3)[index]


# Buffers that every network computes itself.
STRUCTURAL = r".*(relative_position_index|attn_mask|position_ids)"

SWIN = (
    Rule(r"patch_embed\.(proj|norm)\.(weight|bias)", r"stages.0.embed.\1.\2"),
    *(
        # The original merges at the end of a stage, ours at the start of the next.
        Rule(rf"layers\.{stage}\.downsample\.(norm|reduction)\.(weight|bias)", rf"stages.{stage + 1}.embed.\1.\2")
        for stage in range(9)
    ),
    Rule(r"layers\.(\d+)\.blocks\.(\d+)\.(norm1|norm2)\.(weight|bias)", r"stages.\1.blocks.\2.\3.\4"),
    Rule(r"layers\.(\d+)\.blocks\.(\d+)\.attn\.(qkv|proj)\.(weight|bias)", r"stages.\1.blocks.\2.attn.\3.\4"),
    Rule(
        r"layers\.(\d+)\.blocks\.(\d+)\.attn\.relative_position_bias_table",
        r"stages.\1.blocks.\2.attn.relative_position_bias_table",
    ),
    Rule(r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc1\.(weight|bias)", r"stages.\1.blocks.\2.mlp.0.\3"),
    Rule(r"layers\.(\d+)\.blocks\.(\d+)\.mlp\.fc2\.(weight|bias)", r"stages.\1.blocks.\2.mlp.2.\3"),
    Rule(r"norm\.(weight|bias)", r"norm.\1"),
)

CLIP_TEXT = (
    Rule(r"token_embedding\.weight", "token_embedding.weight"),
    Rule(r"positional_embedding", "position_embedding"),
    Rule(r"resblocks\.(\d+)\.ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    Rule(r"resblocks\.(\d+)\.attn\.in_proj_(weight|bias)", r"blocks.\1.qkv.\2"),
    Rule(r"resblocks\.(\d+)\.attn\.out_proj\.(weight|bias)", r"blocks.\1.proj.\2"),
    Rule(r"resblocks\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"blocks.\1.fc1.\2"),
    Rule(r"resblocks\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"blocks.\1.fc2.\2"),
    Rule(r"ln_final\.(weight|bias)", r"norm.\1"),
)

CLIP_VISION = (
    Rule(r"class_embedding", "embeddings.class_embedding"),
    Rule(r"positional_embedding", "embeddings.position_embedding.weight"),
    Rule(r"conv1\.weight", "embeddings.patch_embedding.weight"),
    Rule(r"ln_pre\.(weight|bias)", r"pre_layrnorm.\1"),
    Rule(r"ln_post\.(weight|bias)", r"post_layernorm.\1"),
    *(
        Rule(
            r"transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)",
            rf"encoder.layers.\1.self_attn.{name}_proj.\2",
            qkv_slice(index),
        )
        for index, name in enumerate("qkv")
    ),
    Rule(r"transformer\.resblocks\.(\d+)\.attn\.out_proj\.(weight|bias)", r"encoder.layers.\1.self_attn.out_proj.\2"),
    Rule(r"transformer\.resblocks\.(\d+)\.ln_([12])\.(weight|bias)", r"encoder.layers.\1.layer_norm\2.\3"),
    Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(weight|bias)", r"encoder.layers.\1.mlp.fc1.\2"),
    Rule(r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(weight|bias)", r"encoder.layers.\1.mlp.fc2.\2"),
)

UNICL = KeyMap(
    rules=(
        *prefixed(r"(?:image_encoder|visual)\.", "image_encoder.", SWIN),
        *prefixed(r"(?:text_encoder|text)\.", "text_encoder.", CLIP_TEXT),
        # The file stores (in, out) for x @ P; a linear layer needs (out, in).
        Rule(r"(?:image|vision)_projection", "image_projection.weight", Tensor.t),
        Rule(r"text_projection", "text_projection.weight", Tensor.t),
        Rule(r"logit_scale", "logit_scale"),
    ),
    unused=(STRUCTURAL,),
)

_BLOCK = r"backbone\.dyhead_tower\.(\d+)\."
_FUSION = r"cross_modal_(text|image)_layers\.(\d+)\."
_FUSION_NAME = r"meter.\1_layers.\2."

METER = KeyMap(
    rules=(
        *prefixed(r"vit_model\.visual\.", "meter.image_encoder.", CLIP_VISION),
        *prefixed(r"vit_model\.", "meter.image_encoder.", SWIN),
        Rule(r"text_transformer\.(embeddings|encoder)\.(.+)\.(weight|bias)", r"meter.text_encoder.\1.\2.\3"),
        Rule(r"cross_modal_(text|image)_transform\.(weight|bias)", r"meter.\1_projection.\2"),
        Rule(r"cross_modal_(text|image)_pooler\.dense\.(weight|bias)", r"meter.\1_pooler.dense.\2"),
        Rule(r"token_type_embeddings\.weight", "meter.token_types.weight"),
        *(
            rule
            for theirs, name in (("attention", "self_attention"), ("crossattention", "cross_attention"))
            for rule in (
                Rule(rf"{_FUSION}{theirs}\.self\.(query|key|value)\.(weight|bias)", rf"{_FUSION_NAME}{name}.\3.\4"),
                Rule(rf"{_FUSION}{theirs}\.output\.dense\.(weight|bias)", rf"{_FUSION_NAME}{name}.output.\3"),
                Rule(rf"{_FUSION}{theirs}\.output\.LayerNorm\.(weight|bias)", rf"{_FUSION_NAME}{name}.norm.\3"),
            )
        ),
        Rule(rf"{_FUSION}intermediate\.dense\.(weight|bias)", rf"{_FUSION_NAME}feed_forward.up.\3"),
        Rule(rf"{_FUSION}output\.dense\.(weight|bias)", rf"{_FUSION_NAME}feed_forward.down.\3"),
        Rule(rf"{_FUSION}output\.LayerNorm\.(weight|bias)", rf"{_FUSION_NAME}feed_forward.norm.\3"),
        Rule(r"(vqa|nlvr2|snli)_classifier\.(\d)\.(weight|bias)", r"heads.\1.\2.\3"),
        Rule(r"itm_score\.fc\.(weight|bias)", r"heads.itm.\1"),
        Rule(r"rank_output\.(weight|bias)", r"heads.rank.\1"),
        Rule(r"mlm_score\.transform\.dense\.(weight|bias)", r"heads.mlm.dense.\1"),
        Rule(r"mlm_score\.transform\.LayerNorm\.(weight|bias)", r"heads.mlm.norm.\1"),
        Rule(r"mlm_score\.decoder\.weight", "heads.mlm.decoder.weight"),
        Rule(r"mlm_score\.bias", "heads.mlm.decoder.bias"),
    ),
    unused=(
        STRUCTURAL,
        r"vit_model\.positional_embedding",  # of CLIP's text encoder, which METER does not use
        r"vit_model\.ln_final\.(weight|bias)",
        r"text_transformer\.pooler\.dense\.(weight|bias)",
    ),
)

DYHEAD = KeyMap(
    rules=(
        *(
            rule
            for index, name in enumerate(("from_coarser", "from_same", "from_finer"))
            for rule in (
                Rule(rf"{_BLOCK}DyConv\.{index}\.conv\.(weight|bias)", rf"blocks.\1.{name}.conv.\2"),
                Rule(rf"{_BLOCK}DyConv\.{index}\.bn\.(weight|bias)", rf"blocks.\1.{name}.norm.\2"),
            )
        ),
        Rule(rf"{_BLOCK}AttnConv\.1\.(weight|bias)", r"blocks.\1.scale.\2"),
        Rule(rf"{_BLOCK}relu\.fc\.([02])\.(weight|bias)", r"blocks.\1.task.fc.\2.\3"),
        Rule(rf"{_BLOCK}offset\.(weight|bias)", r"blocks.\1.offset.\2"),
    ),
    unused=(r"(?!backbone\.dyhead_tower\.).+",),  # the backbone and the heads around the Dynamic Head
)


def resize_positions(positions: Tensor, count: int) -> Tensor:
    """Resize CLIP's positions (1 + side^2, C), class token first, to (count, C), bicubic over the grid as in METER."""
    return torch.cat([positions[:1], resize_grid(positions[1:], count - 1)])


def resize_grid(rows: Tensor, count: int) -> Tensor:
    """Resize a square grid of vectors (side^2, C) to (count, C), bicubic as in METER."""
    old, new = round(len(rows) ** 0.5), round(count**0.5)
    if old * old != len(rows) or new * new != count:
        raise ModelError(f"cannot resize {len(rows)} positions to {count}: only square grids can be resized")
    grid = rows.T.reshape(1, -1, old, old)
    return F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False).flatten(2)[0].T


RESIZE = {
    "embeddings.position_embedding.weight": resize_positions,
    "relative_position_bias_table": resize_grid,
}


def map_state_dict(weights: Mapping[str, Tensor], key_map: KeyMap, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a file under the names of a model, resized to the resolution of the model.

    Raises:
        ModelError: If a weight is missing, unexpected or of another shape; the message lists all of them.
    """
    renamed, unknown = key_map.rename(weights)
    wanted = model.state_dict()
    for name, tensor in renamed.items():
        resize = next((resize for suffix, resize in RESIZE.items() if name.endswith(suffix)), None)
        if resize and name in wanted and len(tensor) != len(wanted[name]):
            renamed[name] = resize(tensor, len(wanted[name]))
    check_state_dict(renamed, model, unknown)
    return renamed


def check_state_dict(weights: Mapping[str, Tensor], model: nn.Module, unknown: Iterable[str] = ()) -> None:
    """Raise a ModelError that lists all differences between weights and those of a model."""
    wanted = model.state_dict()
    problems = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "unexpected": [*unknown, *sorted(weights.keys() - wanted.keys())],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & weights.keys())
            if weights[name].shape != wanted[name].shape
        ],
    }
    if any(problems.values()):
        lists = "; ".join(f"{problem}: {', '.join(names)}" for problem, names in problems.items() if names)
        raise ModelError(f"these weights do not fit this {type(model).__name__}: {lists}; check its configuration")


def load_into(model: Model, weights: Mapping[str, Tensor], key_map: KeyMap) -> Model:
    """Load the weights of a file into a model and set it to evaluation mode."""
    model.load_state_dict(map_state_dict(weights, key_map, model), strict=True)
    return model.eval()


def load_released(
    weights: Mapping[str, Tensor], config: FlorenceConfig | MeterConfig
) -> FlorenceModel | MeterForMultipleTasks | MeterForVisualReasoning:
    """Load a checkpoint of microsoft/UniCL with a Swin, or of zdou0830/METER with the heads of the configuration."""
    if isinstance(config, FlorenceConfig):
        return load_into(FlorenceModel(config), weights, UNICL)
    if "nlvr2" in config.heads:
        return load_into(MeterForVisualReasoning(config), weights, METER)
    return load_into(MeterForMultipleTasks(config), weights, METER)


def load_dyhead(path: str | Path, config: DyHeadConfig) -> DyHeadModel:
    """Load the Dynamic Head of a detector of microsoft/DynamicHead; `config` needs coarse="released"."""
    return load_into(DyHeadModel(config), read_weights(path), DYHEAD)
