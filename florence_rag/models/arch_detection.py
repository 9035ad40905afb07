"""Which network a released checkpoint is, read from the names and shapes of its weights and from its settings.

Settings that neither determines follow the released models: attention heads of 64 channels in CLIP and RoBERTa, texts
of 50 tokens in METER and of 40 for ranking, windows of 7 over 224 pixels in UniCL's Swin and of a 32nd of the image in
METER's. They are reported as guessed; for a checkpoint that differs, pass its configuration.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, RobertaConfig

from florence_rag.errors import ModelError
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.hyper_parameters import Settings
from florence_rag.models.meter import MeterConfig
from florence_rag.models.text_encoder import TextEncoderConfig

HEAD_WIDTH = 64
HEADS = {
    "vqa": "vqa_classifier.",
    "itm": "itm_score.",
    "mlm": "mlm_score.",
    "rank": "rank_output.",
    "nlvr2": "nlvr2_classifier.",
    "snli": "snli_classifier.",
}
"""What the names of the weights of each head begin with."""

_METER_PREFIXES = ("cross_modal_", "vit_model.", "text_transformer.", *HEADS.values())
_UNICL_PREFIXES = (("image_encoder.", "text_encoder."), ("visual.", "text."))

_OTHER_KINDS = {
    "a Dynamic Head detector": r"backbone\.dyhead_tower\.",
    "Video Swin": r"backbone\.layers\.|cls_head\.fc_cls\.",
    "OpenAI's CLIP": r"visual\.(class_embedding|conv1\.weight)$",
    "an OpenCLIP model": r"visual\.trunk\.|text\.transformer\.",
    "a CLIP or SigLIP of transformers": r"(vision_model|text_model)\.",
    "Florence-2": r"(model\.)?vision_tower\.|language_model\.",
    "ViLT": r"text_embeddings\.|transformer\.blocks\.",
    "BLIP": r"visual_encoder\.|text_decoder\.",
    "a Swin without a text encoder": r"patch_embed\.proj\.|layers\.\d+\.blocks\.",
    "a text encoder such as BERT": r"((ro)?bert(a)?\.)?(embeddings\.word_embeddings|encoder\.layer\.\d+)\.",
    "a language model": r"(model\.)?(layers\.\d+\.self_attn|embed_tokens)\.|lm_head\.",
    "a ViT": r"blocks\.\d+\.attn\.|cls_token$",
    "a network that florence-rag saved: name its folder": r"image_encoder\.stages\.|meter\.|heads\.",
}
"""Patterns of the names of weights of other networks."""

Config = FlorenceConfig | MeterConfig


@dataclass(slots=True)
class Facts:
    """What is known of a network, by the names of its configuration; a dot leads into that of an encoder.

    Args:
        fixed: What the shapes of the weights determine.
        layout: What the shapes suggest, and a user may change: the weights are then resized.
        guessed: What the released models have.
    """

    fixed: dict[str, Any] = field(default_factory=dict)
    layout: dict[str, Any] = field(default_factory=dict)
    guessed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """The configuration of a checkpoint, and those of its values that neither its weights nor a setting determine."""

    config: Config
    guessed: dict[str, Any]


class Weights(dict[str, Tensor]):
    """Weights whose names begin with a prefix, which is removed. A missing one is a ModelError that names it."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str = "") -> None:
        super().__init__({key.removeprefix(prefix): each for key, each in weights.items() if key.startswith(prefix)})
        self.prefix = getattr(weights, "prefix", "") + prefix

    def __missing__(self, key: str) -> Tensor:
        raise ModelError(f"these weights are incomplete, missing: {self.prefix}{key}")

    def shape(self, key: str, dimensions: int) -> tuple[int, ...]:
        """Return the shape of a tensor; a ModelError if it has another number of dimensions, or no values."""
        shape = tuple(self[key].shape)
        if len(shape) != dimensions or 0 in shape:
            raise ModelError(f"these weights are of another shape: {self.prefix}{key} {shape}, of {dimensions} sides")
        return shape

    def count(self, pattern: str) -> int:
        """Return how many numbers the pattern finds; it is a ModelError if they are not 0, 1, 2 and so on."""
        found = {int(match[1]) for key in self if (match := re.match(pattern, key))}
        gap = next(number for number in range(len(found) + 1) if number not in found)
        if gap < len(found) or not found:
            name = pattern.replace(r"(\d+)", str(gap)).replace("\\", "")
            raise ModelError(f"these weights are incomplete, missing: {self.prefix}{name}*")
        return len(found)


def family_of(weights: Mapping[str, Tensor]) -> type[FlorenceConfig] | type[MeterConfig]:
    """Return the configuration class of UniCL's dual encoder or of METER; raise ModelError for any other weights."""
    if sum(key.startswith(_METER_PREFIXES) for key in weights) > len(weights) / 2:
        return MeterConfig
    if _unicl_prefixes(weights):
        return FlorenceConfig
    names = ", ".join(sorted(weights)[:5])
    kinds = (kind for kind, pattern in _OTHER_KINDS.items() if any(re.match(pattern, key) for key in weights))
    looks = f"they look like {kind}; " if (kind := next(kinds, "")) else ""
    raise ModelError(
        f"these weights are neither UniCL's nor METER's: {names}, ...; {looks}`florence-rag models` lists others"
    )


def _unicl_prefixes(weights: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the prefixes of both encoders of UniCL, whose image encoder is a Swin of released names."""
    for image, text in _UNICL_PREFIXES:
        swin = re.compile(re.escape(image) + r"(patch_embed\.|layers\.)")
        words = re.compile(re.escape(text) + r"(resblocks\.|token_embedding\.)")
        if any(map(swin.match, weights)) and any(map(words.match, weights)):
            return image, text
    return None


def detect(
    weights: Mapping[str, Tensor], recorded: Settings | None = None, chosen: Settings | None = None
) -> Architecture:
    """Return the configuration of UniCL's dual encoder or of METER.

    Args:
        weights: The weights by their released names.
        recorded: The settings that the checkpoint records.
        chosen: The settings of the user, which take precedence.

    Raises:
        ModelError: If the weights are another network's or incomplete, or if settings contradict them.
    """
    family = family_of(weights)
    facts = _meter(Weights(weights)) if family is MeterConfig else _unicl(Weights(weights))
    recorded, chosen = recorded or Settings("the checkpoint"), chosen or Settings("the configuration")
    _check_agreement(recorded, facts.layout | facts.fixed, chosen.values)
    _check_agreement(chosen, facts.fixed)
    for settings in (recorded, chosen):
        _check_numbers(settings, facts.layout | facts.guessed)
    values = {**facts.guessed, **facts.layout, **recorded.values, **chosen.values, **facts.fixed}
    if family is MeterConfig and "image_config.window_size" in facts.layout.keys() - chosen.values.keys():
        values["image_config.window_size"] = values["image_config.image_size"] // 32
    origin = chosen.origin if chosen.values else recorded.origin
    _check_multiples(values, origin)
    known = recorded.values.keys() | chosen.values.keys()
    guessed = {name: value for name, value in facts.guessed.items() if name not in known}
    return Architecture(_build(family, values, origin), guessed)


def _check_agreement(settings: Settings, known: Mapping[str, Any], except_for: Iterable[str] = ()) -> None:
    """Raise a ModelError if settings contradict what the weights say."""
    for name in sorted(settings.values.keys() & known.keys() - set(except_for)):
        said, found = settings.values[name], known[name]
        if said != found:
            raise ModelError(
                f"{settings.origin} says {name} = {said!r}, but the weights have {found!r}; "
                "the file of `florence-rag convert --config` can correct it"
            )


def _check_numbers(settings: Settings, known: Mapping[str, Any]) -> None:
    for name in settings.values.keys() & known.keys():
        value = settings.values[name]
        if type(value) is not int or value < 1:
            raise ModelError(f"{settings.origin} says {name} = {value!r}; it must be a positive whole number")


def _check_multiples(values: Mapping[str, Any], origin: str) -> None:
    """Check that widths divide into heads, and images into patches, which the networks themselves do not explain."""
    widths = [
        ("text_config.hidden_size", "text_config.num_attention_heads"),
        ("image_config.hidden_size", "image_config.num_attention_heads"),
        ("hidden_size", "num_heads"),
        ("image_config.image_size", "image_config.patch_size"),
    ]
    pairs = [(whole, values[part], part) for whole, part in widths if whole in values and part in values]
    if "image_config.depths" in values:
        stages = len(values["image_config.depths"])
        pairs.append(("image_config.image_size", 4 * 2 ** (stages - 1), f"the side of a token after {stages} stages"))
    for whole, part, name in pairs:
        if values[whole] % part:
            raise ModelError(f"{origin}: {whole} {values[whole]} is not a multiple of {part}, {name}")


def _build(family: type[FlorenceConfig] | type[MeterConfig], values: Mapping[str, Any], origin: str) -> Config:
    """Return the configuration that has these values."""
    nested: dict[str, dict[str, Any]] = {"": {}, "text_config": {}, "image_config": {}}
    for name, value in values.items():
        encoder, _, last = name.rpartition(".")
        nested[encoder][last] = value
    kind: Any = CoSwinConfig if "depths" in nested["image_config"] else CLIPVisionConfig
    text_kind: Any = TextEncoderConfig if family is FlorenceConfig else RobertaConfig
    try:
        image, text = kind(**nested["image_config"]), text_kind(**nested["text_config"])
        return family(image_config=image, text_config=text, **nested[""])
    except ModelError as error:
        raise ModelError(f"{origin}: {error}") from error
    except Exception as error:  # the classes of transformers check types, and raise errors of their own
        reason = " ".join(str(error).split())
        raise ModelError(f"the settings of {origin} do not make a network: {reason[:300]}") from error


def _unicl(weights: Weights) -> Facts:
    image_prefix, text_prefix = _unicl_prefixes(weights) or _UNICL_PREFIXES[0]
    text, facts = Weights(weights, text_prefix), _swin(Weights(weights, image_prefix))
    vocab_size, width = text.shape("token_embedding.weight", 2)
    facts.fixed |= {
        "text_config.vocab_size": vocab_size,
        "text_config.hidden_size": width,
        "text_config.num_hidden_layers": text.count(r"resblocks\.(\d+)\."),
        "text_config.max_position_embeddings": text.shape("positional_embedding", 2)[0],
        # The last two words of CLIP's vocabulary: the network reads the largest id of a text.
        "text_config.bos_token_id": vocab_size - 2,
        "text_config.eos_token_id": vocab_size - 1,
        "projection_dim": weights.shape("text_projection", 2)[1],
    }
    facts.guessed["text_config.num_attention_heads"] = _heads(width)
    return facts


def _meter(weights: Weights) -> Facts:
    tower, text = Weights(weights, "vit_model."), Weights(weights, "text_transformer.")
    over_clip = any(key.startswith("visual.") for key in tower)
    facts = _clip(Weights(tower, "visual.")) if over_clip else _swin(tower)
    heads = [head for head, prefix in HEADS.items() if any(key.startswith(prefix) for key in weights)]
    (hidden_size,) = weights.shape("cross_modal_text_transform.bias", 1)
    facts.fixed |= {
        **_roberta(text),
        "hidden_size": hidden_size,
        "num_layers": weights.count(r"cross_modal_text_layers\.(\d+)\."),
        "intermediate_size": weights.shape("cross_modal_text_layers.0.intermediate.dense.bias", 1)[0],
        "image_pooling": "first" if over_clip else "mean",
        "num_token_types": weights.shape("token_type_embeddings.weight", 2)[0],
        "heads": heads,
    }
    if "vqa" in heads:
        facts.fixed["num_answers"] = weights.shape("vqa_classifier.3.bias", 1)[0]
    facts.guessed |= {
        "text_config.num_attention_heads": _heads(facts.fixed["text_config.hidden_size"]),
        "num_heads": _heads(hidden_size),
        "max_text_length": min(40 if "rank" in heads else 50, facts.fixed["text_config.max_position_embeddings"] - 2),
    }
    return facts


def _roberta(weights: Weights) -> dict[str, Any]:
    vocab_size, width = weights.shape("embeddings.word_embeddings.weight", 2)
    types = weights.shape("embeddings.token_type_embeddings.weight", 2)[0]
    if types != 1:
        raise ModelError(
            f"this METER has {types} types of tokens in its text encoder, as BERT; only RoBERTa is supported"
        )
    shape = {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "num_hidden_layers": weights.count(r"encoder\.layer\.(\d+)\."),
        "intermediate_size": weights.shape("encoder.layer.0.intermediate.dense.bias", 1)[0],
        "max_position_embeddings": weights.shape("embeddings.position_embeddings.weight", 2)[0],
        "type_vocab_size": types,
        "layer_norm_eps": 1e-5,
    }
    return {f"text_config.{name}": value for name, value in shape.items()}


def _clip(weights: Weights) -> Facts:
    width, _, patch, _ = weights.shape("conv1.weight", 4)
    side = math.isqrt(weights.shape("positional_embedding", 2)[0] - 1)
    shape = {
        "hidden_size": width,
        "intermediate_size": weights.shape("transformer.resblocks.0.mlp.c_fc.bias", 1)[0],
        "num_hidden_layers": weights.count(r"transformer\.resblocks\.(\d+)\."),
        "num_attention_heads": _heads(width),  # as CLIP's own code has it
        "patch_size": patch,
    }
    fixed = {f"image_config.{name}": value for name, value in shape.items()}
    return Facts(fixed, {"image_config.image_size": side * patch})


def _swin(weights: Weights) -> Facts:
    stages = weights.count(r"layers\.(\d+)\.")
    tables = [weights.shape(f"layers.{stage}.blocks.0.attn.relative_position_bias_table", 2) for stage in range(stages)]
    window = (math.isqrt(tables[0][0]) + 1) // 2
    embed_dim = weights.shape("patch_embed.proj.bias", 1)[0]
    fixed = {
        "embed_dim": embed_dim,
        "depths": [weights.count(rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in range(stages)],
        "num_heads": [heads for _, heads in tables],
        "mlp_ratio": weights.shape("layers.0.blocks.0.mlp.fc1.bias", 1)[0] / embed_dim,
        "qkv_bias": any(key.endswith("attn.qkv.bias") for key in weights),
        "convolutional": False,
    }
    facts = Facts({f"image_config.{name}": value for name, value in fixed.items()})
    facts.layout["image_config.window_size"] = window
    # The mask of shifted windows has a row for each window of the first stage.
    mask = weights.get("layers.0.blocks.1.attn_mask")
    size = 32 * window if mask is None else 4 * window * math.isqrt(len(mask))
    (facts.guessed if mask is None else facts.layout)["image_config.image_size"] = size
    return facts


def _heads(width: int) -> int:
    """Return the number of attention heads of about 64 channels that a width divides into."""
    return next(heads for heads in range(max(1, width // HEAD_WIDTH), 0, -1) if width % heads == 0)
