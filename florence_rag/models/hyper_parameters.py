"""Settings of networks from checkpoints and configuration files, in the names of the original code or in ours."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from transformers import CLIPVisionConfig, PreTrainedConfig, RobertaConfig

from florence_rag.errors import ModelError
from florence_rag.json_values import parse_json
from florence_rag.models.checkpoint_files import unwrap_settings
from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig
from florence_rag.models.meter import MeterConfig
from florence_rag.models.processing import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from florence_rag.models.safe_pickle import flatten
from florence_rag.models.text_encoder import TextEncoderConfig

_SWIN = "MODEL.IMAGE_ENCODER.SWIN."
_TEXT = "MODEL.TEXT_ENCODER."

UNICL_NAMES = {
    "image_size": "image_config.image_size",
    "DATA.IMG_SIZE": "image_config.image_size",
    "MODEL.IMAGE_ENCODER.IMG_SIZE": "image_config.image_size",
    "MODEL.DIM_PROJECTION": "projection_dim",
    f"{_SWIN}EMBED_DIM": "image_config.embed_dim",
    f"{_SWIN}DEPTHS": "image_config.depths",
    f"{_SWIN}NUM_HEADS": "image_config.num_heads",
    f"{_SWIN}WINDOW_SIZE": "image_config.window_size",
    f"{_SWIN}MLP_RATIO": "image_config.mlp_ratio",
    f"{_SWIN}QKV_BIAS": "image_config.qkv_bias",
    f"{_TEXT}CONTEXT_LENGTH": "text_config.max_position_embeddings",
    f"{_TEXT}WIDTH": "text_config.hidden_size",
    f"{_TEXT}HEADS": "text_config.num_attention_heads",
    f"{_TEXT}LAYERS": "text_config.num_hidden_layers",
}
METER_NAMES = {
    "image_size": "image_config.image_size",
    "max_text_len": "max_text_length",
    "vocab_size": "text_config.vocab_size",
    "input_text_embed_size": "text_config.hidden_size",
    "hidden_size": "hidden_size",
    "num_heads": "num_heads",
    "num_top_layer": "num_layers",
    "drop_rate": "dropout",
    "vqav2_label_size": "num_answers",
}
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "MODEL.IMAGE_ENCODER.TYPE": ("swin",),
    f"{_SWIN}QK_SCALE": (),
    f"{_TEXT}AUTOGRESSIVE": (True,),
    f"{_TEXT}TOKENIZER": ("clip",),
}
"""Settings of the original code of which our networks have only these values."""

TRANSFORMS: dict[str, dict[str, Any]] = {
    "clip": {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "scale_alpha": True},
    "imagenet": {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
    "vit": {"image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5)},
}
"""METER's transforms of images, by their names in val_transform_keys."""


_READERS: dict[str, Callable[[str], Any]] = {
    ".json": parse_json,
    ".yaml": yaml.safe_load,
    ".yml": yaml.safe_load,
    ".toml": tomllib.loads,
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a network that a file records.

    Args:
        origin: The file, in words for an error message.
        values: The settings by our names, in which a dot leads into the configuration of an encoder.
        image: The arguments of the image processor.
    """

    origin: str
    values: dict[str, Any] = field(default_factory=dict)
    image: dict[str, Any] = field(default_factory=dict)


def read_settings_file(path: Path, kind: type[PreTrainedConfig]) -> Settings:
    """Read settings for a FlorenceConfig or a MeterConfig from a JSON, YAML or TOML file that a user wrote.

    Raises:
        ModelError: If the file cannot be read, or holds no setting of this network.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ModelError(f"the configuration {str(path)!r} must be a file that ends in {', '.join(_READERS)}")
    try:
        content = read(path.read_text("utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"the configuration {str(path)!r} cannot be read: {reason[:300]}") from error
    given = dict(flatten(unwrap_settings(content)))
    settings = parse_settings(given, kind, f"the configuration {str(path)!r}")
    if not settings.values and not settings.image:
        names = ", ".join(list(given)[:5]) or "nothing"
        raise ModelError(f"{settings.origin} has no setting of a {kind.model_type} network: {names}")
    return settings


def parse_settings(given: Mapping[str, Any], kind: type[PreTrainedConfig], origin: str) -> Settings:
    """Translate settings, whose keys are joined by dots, and ignore those that do not concern the network."""
    if "roberta" not in (tokenizer := str(given.get("tokenizer", "roberta"))).lower():
        raise ModelError(f"{origin} says tokenizer = {tokenizer!r}, but only METER with RoBERTa can be converted")
    for name, allowed in _SUPPORTED.items():
        if name in given and given[name] not in allowed:
            options = " or ".join(map(repr, allowed)) or "no value"
            raise ModelError(f"{origin} says {name} = {given[name]!r}, but only {options} can be converted")
    original = UNICL_NAMES if kind is FlorenceConfig else METER_NAMES
    own = _own_names(kind) - ({"num_layers"} if "num_top_layer" in given else set())
    values = {name: value for name, value in given.items() if name in own}
    values |= {original[name]: value for name, value in given.items() if name in original}
    ratio, width = given.get("mlp_ratio"), given.get("hidden_size")
    if kind is MeterConfig and isinstance(ratio, int | float) and isinstance(width, int):
        values["intermediate_size"] = int(ratio * width)
    return Settings(origin, values, _image_options(given, origin))


def _image_options(given: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Return how the original code prepared images, as far as the settings say it."""
    options: dict[str, Any] = {}
    if keys := given.get("val_transform_keys"):
        name = str(keys[0] if isinstance(keys, list) else keys).removesuffix("_randaug")
        if name not in TRANSFORMS:
            allowed = ", ".join(TRANSFORMS)
            raise ModelError(f"{origin} says val_transform_keys = {name!r}; the supported transforms are {allowed}")
        options |= TRANSFORMS[name]
    if "TEST.CROP" in given:
        options["fit"] = "crop" if given["TEST.CROP"] else "squash"
    if "DATA.INTERPOLATION" in given:  # UniCL takes the bilinear filter for every other name
        name = str(given["DATA.INTERPOLATION"]).upper()
        name = name if name in ("BICUBIC", "LANCZOS", "HAMMING") else "BILINEAR"
        options["resample"] = int(Image.Resampling[name])
    return options


def _own_names(kind: type[PreTrainedConfig]) -> frozenset[str]:
    """Return the names of our settings of a network, with those of its encoders after a dot."""
    encoders: tuple[type[PreTrainedConfig], ...] = (CoSwinConfig, CLIPVisionConfig)
    text = TextEncoderConfig if kind is FlorenceConfig else RobertaConfig
    general = set(PreTrainedConfig().to_dict())
    names = set(kind().to_dict()) - general - {"text_config", "image_config", "answers", "heads"}
    names |= {f"image_config.{name}" for encoder in encoders for name in set(encoder().to_dict()) - general}
    return frozenset(names | {f"text_config.{name}" for name in set(text().to_dict()) - general})
