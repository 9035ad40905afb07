"""Contracts of every network: shapes, gradients, independence of rows, saving and loading."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForObjectDetection,
    AutoModelForVideoClassification,
    AutoModelForVisualQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
)

from florence_rag.models.coswin import CoSwinModel
from florence_rag.models.dyhead import DyHeadForObjectDetection
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.meter import MeterModel
from florence_rag.models.meter_heads import (
    MeterForImageTextMatching,
    MeterForImageTextRetrieval,
    MeterForMaskedLM,
    MeterForMultipleTasks,
    MeterForQuestionAnswering,
    MeterForVisualEntailment,
    MeterForVisualReasoning,
)
from florence_rag.models.text_encoder import TextEncoderModel
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification, VideoCoSwinModel
from tests.models import tiny

PIXELS = {"pixel_values": tiny.images()}
CLIPS = {"pixel_values": tiny.clips()}
QUESTIONS = {**PIXELS, **tiny.texts()}
ALL_HEADS = ("vqa", "itm", "mlm", "rank", "snli")


@dataclass(frozen=True)
class Case:
    """A network, inputs of three rows, and the shapes of its outputs."""

    network: type[PreTrainedModel]
    config: PreTrainedConfig
    inputs: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    auto: Any = AutoModel

    def build(self) -> PreTrainedModel:
        torch.manual_seed(0)
        return self.network(self.config).eval()


CLIP_METER = {"image_config": tiny.clip(), "image_pooling": "first", "num_image_positions": 0}
FEATURES = {"last_hidden_state": (3, 16, 16), "pooler_output": (3, 16)}
FUSED = {"text_states": (3, 6, 24), "image_states": (3, 16, 24), "pooler_output": (3, 48)}

CASES = {
    "coswin": Case(CoSwinModel, tiny.coswin(), PIXELS, FEATURES),
    "swin": Case(CoSwinModel, tiny.coswin(convolutional=False), PIXELS, FEATURES),
    "text": Case(
        TextEncoderModel,
        tiny.text_encoder(),
        {"input_ids": QUESTIONS["input_ids"]},
        {"last_hidden_state": (3, 6, 16), "pooler_output": (3, 16)},
    ),
    "florence": Case(
        FlorenceModel,
        tiny.florence(),
        QUESTIONS,
        {"image_embeds": (3, 12), "text_embeds": (3, 12), "logits_per_image": (3, 3)},
    ),
    "meter": Case(MeterModel, tiny.meter(), QUESTIONS, FUSED),
    "meter_clip": Case(MeterModel, tiny.meter(**CLIP_METER), QUESTIONS, {**FUSED, "image_states": (3, 17, 24)}),
    "vqa": Case(
        MeterForQuestionAnswering,
        tiny.meter(heads=("vqa",)),
        QUESTIONS,
        {"logits": (3, 3)},
        AutoModelForVisualQuestionAnswering,
    ),
    "itm": Case(MeterForImageTextMatching, tiny.meter(heads=("itm",)), QUESTIONS, {"logits": (3, 2)}, None),
    "rank": Case(MeterForImageTextRetrieval, tiny.meter(heads=("rank",)), QUESTIONS, {"logits": (3,)}, None),
    "snli": Case(MeterForVisualEntailment, tiny.meter(heads=("snli",)), QUESTIONS, {"logits": (3, 3)}, None),
    "mlm": Case(MeterForMaskedLM, tiny.meter(heads=("mlm",)), QUESTIONS, {"logits": (3, 6, 40)}, AutoModelForMaskedLM),
    "nlvr2": Case(
        MeterForVisualReasoning,
        tiny.meter(heads=("nlvr2",), num_token_types=3),
        {**tiny.texts(), "pixel_values": torch.stack([tiny.images(), tiny.images(seed=1)], dim=1)},
        {"logits": (3, 2)},
        None,
    ),
    "detector": Case(
        DyHeadForObjectDetection,
        tiny.detector(),
        PIXELS,
        {"logits": (3, 84, 3), "center_logits": (3, 84), "boxes": (3, 84, 4)},
        AutoModelForObjectDetection,
    ),
    "video": Case(VideoCoSwinModel, tiny.video(), CLIPS, {"last_hidden_state": (3, 48, 16), "pooler_output": (3, 16)}),
    "actions": Case(
        VideoCoSwinForVideoClassification, tiny.video(), CLIPS, {"logits": (3, 3)}, AutoModelForVideoClassification
    ),
    "video swin": Case(
        VideoCoSwinForVideoClassification,
        tiny.video(convolutional=False, clamped_bias="released", pooling="mean", attributes=None),
        CLIPS,
        {"logits": (3, 3)},
        AutoModelForVideoClassification,
    ),
    "tasks": Case(MeterForMultipleTasks, tiny.meter(heads=ALL_HEADS), QUESTIONS, {}, None),
}


def tensors(output: Mapping[str, Any]) -> dict[str, Tensor]:
    """All tensors of an output, also those one level down."""
    found = {}
    for name, value in output.items():
        if isinstance(value, Mapping):
            found.update({f"{name}.{inner}": tensor for inner, tensor in tensors(value).items()})
        elif isinstance(value, Tensor):
            found[name] = value
    return found


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_shapes_and_finite_values(case: Case) -> None:
    output = tensors(case.build()(**case.inputs))
    assert {name: tuple(output[name].shape) for name in case.shapes} == dict(case.shapes)
    assert all(tensor.isfinite().all() for tensor in output.values())


def parameters_without_gradient(network: PreTrainedModel, total: Tensor) -> list[str]:
    total.backward()
    return [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_every_parameter_gets_a_gradient(case: Case) -> None:
    network = case.build().train()
    total = sum((x * torch.randn_like(x)).sum() for x in tensors(network(**case.inputs)).values())
    # The biases of keys have no gradient in any transformer, because they shift all logits of a softmax alike.
    dead = parameters_without_gradient(network, total)
    assert [name for name in dead if not name.endswith(("key.bias", "k_proj.bias"))] == []


def test_every_weight_is_initialized(case: Case) -> None:
    for name, parameter in case.build().named_parameters():
        assert parameter.isfinite().all(), name
        assert parameter.ndim < 2 or parameter.std() > 0, name


def alone(inputs: Mapping[str, Tensor], row: int) -> dict[str, Tensor]:
    """One row, without the padding that the longest row caused."""
    one = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
    if "attention_mask" in one:
        length = int(one["attention_mask"].sum())
        one.update(input_ids=one["input_ids"][:, :length], attention_mask=one["attention_mask"][:, :length])
    return one


@torch.no_grad()
def test_a_batch_of_one_equals_a_batch_of_many(case: Case) -> None:
    network = case.build()
    batch = tensors(network(**case.inputs))
    for row in range(3):
        for name, ours in tensors(network(**alone(case.inputs, row))).items():
            theirs = batch[name][row : row + 1]
            if name == "logits_per_image":
                theirs = theirs[:, row : row + 1]
            if theirs.ndim > 2 and theirs.shape[1] != ours.shape[1]:
                theirs = theirs[:, : ours.shape[1]]
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


@torch.no_grad()
def test_a_saved_and_loaded_network_gives_equal_outputs(case: Case, tmp_path: Path) -> None:
    network = case.build()
    network.save_pretrained(tmp_path)
    loaders: list[Callable[..., PreTrainedModel]] = [case.network.from_pretrained]
    if case.auto is not None:
        loaders.append(case.auto.from_pretrained)
    expected = tensors(network(**case.inputs))
    for load in loaders:
        loaded = load(tmp_path)
        assert type(loaded) is case.network and not loaded.training
        weights = loaded.state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in network.state_dict().items())
        for name, tensor in tensors(loaded(**case.inputs)).items():
            torch.testing.assert_close(tensor, expected[name])


def test_auto_config_loads_the_configuration(case: Case, tmp_path: Path) -> None:
    case.config.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert type(config) is type(case.config)
    assert config.to_json_string() == case.config.to_json_string()


@torch.no_grad()
def test_half_precision(case: Case) -> None:
    network = case.build().to(torch.bfloat16)
    inputs = {k: x.to(torch.bfloat16) if x.is_floating_point() else x for k, x in case.inputs.items()}
    assert all(tensor.isfinite().all() for tensor in tensors(network(**inputs)).values())
