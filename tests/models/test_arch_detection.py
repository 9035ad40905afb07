"""Configurations detected from the names and shapes of weights."""

import pytest
import torch

from florence_rag.errors import ModelError
from florence_rag.models.arch_detection import config_of
from tests.models.reference import (
    METER_SIZES,
    PARITY,
    UNICL_LAYOUT,
    UNICL_SIZES,
    UNICL_SMALL,
    meter_layout,
    needs_parity,
    read_json,
)


def empty(layout):
    return {key: torch.empty(shape, device="meta") for key, shape in layout.items()}


@needs_parity
@pytest.mark.parametrize("name", [*UNICL_SIZES, *METER_SIZES])
def test_every_released_checkpoint_is_recognized(name):
    config = config_of(empty(read_json(PARITY / "keys" / f"{name}.keys.json")))
    known = {**UNICL_SIZES, **METER_SIZES}[name]
    wanted = type(known)(**known.to_dict())
    wanted.heads = sorted(wanted.heads) if hasattr(wanted, "heads") else None
    config.heads = sorted(config.heads) if hasattr(config, "heads") else None
    if "irtr" in name:
        assert config.max_text_length == 40
        wanted.max_text_length = 40
    assert config.to_dict() == wanted.to_dict()


def test_a_dual_encoder_of_any_size_and_with_alternative_names():
    config = config_of(empty(UNICL_LAYOUT))
    assert config.image_config.to_dict() == UNICL_SMALL.image_config.to_dict()
    assert config.text_config.num_attention_heads == 1, "shapes do not determine it"
    alternatives = {
        key.replace("image_encoder.", "visual.").replace("text_encoder.", "text."): shape
        for key, shape in UNICL_LAYOUT.items()
    }
    assert config_of(empty(alternatives)).to_dict() == config.to_dict()


@pytest.mark.parametrize(("encoder", "size"), [("clip16", 64), ("clip16", 96), ("swin", 192)])
def test_meter_of_any_size_with_its_heads(encoder, size):
    config = config_of(empty(meter_layout(encoder, size, "vqa", "itm")))
    assert (config.image_config.image_size, config.heads, config.num_answers) == (size, ["vqa", "itm"], 61)
    assert config.image_pooling == ("first" if encoder == "clip16" else "mean")


def test_unknown_weights_are_refused_with_some_of_their_names():
    with pytest.raises(ModelError, match=r"neither UniCL's nor METER's: a\.weight, b\.weight"):
        config_of({"b.weight": torch.zeros(1), "a.weight": torch.zeros(1)})
