from typing import Any

import pytest
import torch

from florence_rag.errors import ModelError
from florence_rag.models.meter import MeterModel
from tests.models import tiny

TEXTS, IMAGES = tiny.texts(), tiny.images()


def meter(**changes: Any) -> MeterModel:
    torch.manual_seed(0)
    return MeterModel(tiny.meter(**changes)).eval()


@torch.no_grad()
def test_questions_about_one_image_share_its_encoding() -> None:
    model = meter()
    tokens = model.encode_images(IMAGES[:1])
    shared = model(**TEXTS, image_embeds=tokens, image_index=torch.zeros(3, dtype=torch.long))
    apart = model(**TEXTS, pixel_values=IMAGES[:1].repeat(3, 1, 1, 1))
    torch.testing.assert_close(shared.pooler_output, apart.pooler_output)


@torch.no_grad()
def test_each_text_is_fused_with_its_image() -> None:
    model = meter()
    crossed = model(**TEXTS, pixel_values=IMAGES, image_index=torch.tensor([2, 0, 1]))
    reordered = model(**TEXTS, pixel_values=IMAGES[[2, 0, 1]])
    torch.testing.assert_close(crossed.pooler_output, reordered.pooler_output)
    straight = model(**TEXTS, pixel_values=IMAGES)
    assert not torch.allclose(crossed.pooler_output, straight.pooler_output)


@torch.no_grad()
def test_without_a_mask_every_token_counts() -> None:
    model = meter()
    whole = {"input_ids": TEXTS["input_ids"][:1]}  # the longest text has no padding
    with_mask = model(**whole, attention_mask=torch.ones_like(whole["input_ids"]), pixel_values=IMAGES[:1])
    without = model(**whole, pixel_values=IMAGES[:1])
    torch.testing.assert_close(with_mask.pooler_output, without.pooler_output)


@torch.no_grad()
def test_padding_has_no_influence() -> None:
    model = meter()
    other = TEXTS["input_ids"].clone()
    # Ids of words where the mask has padding; the positions of the other words do not change.
    other[1, 4:] = 30
    ours = model(**TEXTS, pixel_values=IMAGES)
    theirs = model(other, attention_mask=TEXTS["attention_mask"], pixel_values=IMAGES)
    torch.testing.assert_close(ours.pooler_output, theirs.pooler_output)
    torch.testing.assert_close(ours.image_states, theirs.image_states)


@torch.no_grad()
def test_the_order_of_image_tokens_matters_only_with_positions() -> None:
    """Shuffled image tokens are the same set without positions, and another image with them."""
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for positions, same in ((0, True), (16, False)):
        model = meter(num_image_positions=positions)
        tokens = model.encode_images(IMAGES)
        ours = model(**TEXTS, image_embeds=tokens).pooler_output
        shuffled = model(**TEXTS, image_embeds=tokens[:, order]).pooler_output
        assert torch.allclose(ours, shuffled, atol=1e-6) is same


@torch.no_grad()
def test_cross_attentions_of_each_word_sum_to_one() -> None:
    output = meter()(**TEXTS, pixel_values=IMAGES, output_cross_attentions=True)
    assert len(output.cross_attentions) == len(meter().text_layers)
    for weights in output.cross_attentions:
        assert weights.shape == (3, 6, 16)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))


@torch.no_grad()
def test_cross_attentions_are_the_weights_of_the_layer() -> None:
    """If values and output are the identity, with one head, the layer adds the weights times the tokens."""
    layer = meter(num_heads=1).text_layers[-1].cross_attention
    identity = torch.eye(24)
    for linear in (layer.value, layer.output):
        linear.weight.copy_(identity)
        linear.bias.zero_()
    states, memory = torch.randn(1, 5, 24), torch.randn(1, 7, 24)
    mixed = layer.weights(states, memory) @ memory
    torch.testing.assert_close(layer(states, memory, None), layer.norm(states + mixed))


def test_both_streams_attend_to_the_previous_state_of_the_other() -> None:
    model = meter()
    seen: dict[str, list[torch.Tensor]] = {"text": [], "image": []}
    for name, layer in (("text", model.text_layers[0]), ("image", model.image_layers[0])):
        layer.register_forward_pre_hook(lambda module, inputs, name=name: seen[name].extend(inputs[:2]))
    model(**TEXTS, pixel_values=IMAGES)
    assert torch.equal(seen["text"][0], seen["image"][1])
    assert torch.equal(seen["text"][1], seen["image"][0])


@pytest.mark.parametrize("inputs", [{}, {"pixel_values": IMAGES, "image_embeds": torch.zeros(3, 16, 16)}])
def test_pixels_or_embeddings(inputs: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ModelError, match="either pixel_values or image_embeds"):
        meter()(**TEXTS, **inputs)


def test_images_of_another_size() -> None:
    with pytest.raises(ModelError, match="36 image tokens, but this model learned 16 positions"):
        meter()(**TEXTS, pixel_values=torch.randn(3, 3, 48, 48))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": ("vqa", "caption")}, "unknown METER heads"),
        ({"num_heads": 5}, "not a multiple of num_heads 5"),
        ({"max_text_length": 13}, "exceeds the 12 positions"),
    ],
)
def test_invalid_configurations(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        tiny.meter(**changes)


def test_the_answers_are_part_of_the_configuration() -> None:
    config = tiny.meter(answers=("red", "blue"))
    assert config.num_answers == 2
    assert config.id2label == {0: "red", 1: "blue"} and config.label2id == {"red": 0, "blue": 1}
    again = type(config).from_dict(config.to_dict())
    assert again.answers == ["red", "blue"] and again.to_dict() == config.to_dict()
