"""Released UniCL, METER and Dynamic Head weights in our networks: explicit key maps, loaded strictly.

Reference code: microsoft/UniCL, zdou0830/METER, microsoft/DynamicHead. The tables are in
key_maps.toml. Every key of a file matches a rule or is listed as unused, and every weight of the network comes from the
file; otherwise an error lists the differences.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
from florence_rag.models.strict_loading import listed

Model = TypeVar("Model", bound=PreTrainedModel)

_LISTED = 30


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

    def uses(self, key: str) -> bool:
        """Return whether a rule matches the key."""
        return any(re.fullmatch(rule.pattern, key) for rule in self.rules)

    def check_finite(self, weights: Mapping[str, Tensor]) -> None:
        """Raise a ModelError that names the used tensors with values that are not numbers, or infinite."""
        used = {key: tensor for key, tensor in weights.items() if self.uses(key)}
        if bad := [key for key, tensor in used.items() if not tensor.float().isfinite().all()]:
            raise ModelError(f"these weights are damaged, not all values are finite numbers in: {', '.join(bad)}")

    def original_name(self, name: str, weights: Mapping[str, Tensor]) -> str:
        """Return the key that fills a weight of the network, as the file with these other keys would spell it."""
        for rule in self.rules:
            template = re.sub(r"\\\\(\d)", r"(?P<part\1>.+)", re.escape(rule.name))
            if match := re.fullmatch(template, name):
                key = _fill_pattern(rule.pattern, match.groupdict(), weights)
                if re.fullmatch(rule.pattern, key):
                    return key
        return name


def _fill_pattern(pattern: str, parts: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """Return a key that matches a pattern, from what its groups contain."""
    choice = re.fullmatch(r"\(\?:(.+?)\)(.+)", pattern)
    starts, rest = (choice[1].split("|"), choice[2]) if choice else ([""], pattern)
    numbers = count(1)
    rest = re.sub(r"\([^()]*\)", lambda _: parts.get(f"part{next(numbers)}", ""), rest).replace("\\", "")
    return next((start for start in starts if any(key.startswith(start) for key in weights)), starts[0]) + rest


_TABLES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("key_maps.toml").read_text("utf-8"))


def read_rules(table: str, prefix: str = "", ours: str = "") -> tuple[Rule, ...]:
    """Return the rules of a table of key_maps.toml for a part of a network; `prefix` is a pattern without groups."""
    rules: list[Rule] = []
    for pattern, name in _TABLES[table].items():
        if isinstance(name, str):
            rules.append(Rule(prefix + pattern, ours + name))
        else:
            rules += [Rule(prefix + pattern, ours + part, qkv_slice(index)) for index, part in enumerate(name)]
    return tuple(rules)


def qkv_slice(index: int) -> Callable[[Tensor], Tensor]:
    """Return a function that selects query, key or value from a tensor that stacks the three."""
    return lambda stacked: stacked.chunk(3)[index]


# Buffers that every network computes itself.
STRUCTURAL = r".*(relative_position_index|attn_mask|position_ids)"

UNICL = KeyMap(
    rules=(
        *read_rules("swin", r"(?:image_encoder|visual)\.", "image_encoder."),
        *read_rules("clip_text", r"(?:text_encoder|text)\.", "text_encoder."),
        # The file stores (in, out) for x @ P; a linear layer needs (out, in).
        Rule(r"(?:image|vision)_projection", "image_projection.weight", Tensor.t),
        Rule(r"text_projection", "text_projection.weight", Tensor.t),
        Rule(r"logit_scale", "logit_scale"),
    ),
    unused=(STRUCTURAL,),
)

METER = KeyMap(
    rules=(
        *read_rules("clip_vision", r"vit_model\.visual\.", "meter.image_encoder."),
        *read_rules("swin", r"vit_model\.", "meter.image_encoder."),
        *read_rules("meter"),
        *read_rules("meter_fusion", "cross_modal_", "meter."),
    ),
    unused=(
        STRUCTURAL,
        r"vit_model\.positional_embedding",  # of CLIP's text encoder, which METER does not use
        r"vit_model\.ln_final\.(weight|bias)",
        r"text_transformer\.pooler\.dense\.(weight|bias)",
    ),
)

DYHEAD = KeyMap(
    rules=read_rules("dyhead", r"backbone\.dyhead_tower\.", "blocks."),
    unused=(r"(?!backbone\.dyhead_tower\.).+",),  # the backbone and the heads around the Dynamic Head
)


def resize_positions(positions: Tensor, count: int) -> Tensor:
    """Resize CLIP's positions (1 + side^2, C), class token first, to (count, C), bicubic over the grid as in METER."""
    return torch.cat([positions[:1], resize_grid(positions[1:], count - 1)])


def resize_grid(rows: Tensor, count: int) -> Tensor:
    """Resize a square grid of vectors (side^2, C) to (count, C), bicubic as in METER."""
    old, new = round(len(rows) ** 0.5), round(count**0.5)
    if not old or old * old != len(rows) or new * new != count:
        raise ModelError(f"cannot resize {len(rows)} positions to {count}: only square grids can be resized")
    grid = rows.T.reshape(1, -1, old, old)
    return F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False).flatten(2)[0].T


RESIZE = {
    "embeddings.position_embedding.weight": resize_positions,
    "relative_position_bias_table": resize_grid,
}


def map_state_dict(weights: Mapping[str, Tensor], key_map: KeyMap, model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a file by the names and in the resolution of a model; raise ModelError if one differs."""
    renamed, unknown = key_map.rename(weights)
    wanted = model.state_dict()
    for name, tensor in renamed.items():
        resize = next((resize for suffix, resize in RESIZE.items() if name.endswith(suffix)), None)
        if resize and name in wanted and tensor.dim() == 2 and tensor.shape[:1] != wanted[name].shape[:1]:
            renamed[name] = resize(tensor.float(), len(wanted[name]))
    check_state_dict(renamed, model, unknown, lambda name: key_map.original_name(name, weights))
    return renamed


def check_state_dict(
    weights: Mapping[str, Tensor],
    model: nn.Module,
    unknown: Iterable[str] = (),
    original_name: Callable[[str], str] = str,
) -> None:
    """Raise a ModelError that lists the differences between weights and those of a model.

    Args:
        weights: The weights by the names of the model.
        model: The model.
        unknown: Further names that no weight of the model has.
        original_name: Returns the name of a missing weight in the file.
    """
    wanted = model.state_dict()
    problems = {
        "missing": sorted({original_name(name) for name in wanted.keys() - weights.keys()}),
        "unexpected": [*unknown, *sorted(weights.keys() - wanted.keys())],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} for {tuple(wanted[name].shape)}"
            for name in sorted(wanted.keys() & weights.keys())
            if weights[name].shape != wanted[name].shape
        ],
        "no floating-point numbers": sorted(
            name
            for name in weights
            if wanted.get(name, weights[name]).is_floating_point() > weights[name].is_floating_point()
        ),
    }
    if any(problems.values()):
        lists = "; ".join(f"{problem}: {listed(names, _LISTED)}" for problem, names in problems.items() if names)
        raise ModelError(f"these weights do not fit this {type(model).__name__}: {lists}; check its configuration")


def load_into(model: Model, weights: Mapping[str, Tensor], key_map: KeyMap) -> Model:
    """Load the weights of a file into a model and set it to evaluation mode."""
    mapped = map_state_dict(weights, key_map, model)
    key_map.check_finite(weights)
    model.load_state_dict(mapped, strict=True)
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
