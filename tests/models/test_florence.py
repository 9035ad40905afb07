import numpy as np
import pytest
import torch

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.florence import FlorenceConfig, FlorenceModel, unicl_loss
from florence_rag.models.text_encoder import TextEncoderConfig
from tests.models.reference import PUBLIC, arrays, needs_parity


def pairs(labels: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(2, len(labels), 5, generator=generator, dtype=torch.float64)
    image, text = torch.nn.functional.normalize(embeds, dim=-1)
    return image, text, torch.tensor(labels)


def loss_by_hand(image: np.ndarray, text: np.ndarray, scale: float, positives: np.ndarray) -> float:
    """Equation by equation, one image and one text at a time."""
    logits, total = scale * image @ text.T, 0.0
    for similar, fits in ((logits, positives), (logits.T, positives.T)):
        for row, fit in zip(similar, fits, strict=True):
            shares = np.exp(row) / np.exp(row).sum()
            total -= np.log(shares[fit]).mean() / len(logits)
    return total


@needs_parity
@pytest.mark.parametrize("case", ["dup", "all_unique", "all_same"])
def test_loss_and_gradients_are_the_papers(case: str) -> None:
    file = {key.partition(".")[2]: x for key, x in arrays(PUBLIC / "unicl_loss" / "loss.npz").items() if case in key}
    image, text = file["image"].requires_grad_(), file["text"].requires_grad_()
    scale = file["logit_scale"].requires_grad_()
    loss = unicl_loss(image, text, scale.exp(), file["y"])
    loss.backward()
    expected = file["i2t_mean"] + file["t2i_mean"]
    torch.testing.assert_close(loss.detach(), expected, rtol=0, atol=1e-12)
    for ours, theirs in ((image, "grad_image"), (text, "grad_text"), (scale, "grad_logit_scale")):
        torch.testing.assert_close(ours.grad, file[theirs], rtol=0, atol=1e-12)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 2], [7, 7, 7, 7]])
def test_loss_by_hand(labels: list[int]) -> None:
    image, text, y = pairs(labels)
    positives = y[:, None] == y[None]
    expected = loss_by_hand(image.numpy(), text.numpy(), 3.0, positives.numpy())
    assert unicl_loss(image, text, torch.tensor(3.0), y).item() == pytest.approx(expected, abs=1e-12)
    assert unicl_loss(image, text, torch.tensor(3.0), positives).item() == pytest.approx(expected, abs=1e-12)


def test_positives_need_not_be_symmetric() -> None:
    image, text, _ = pairs([0, 1, 2])
    positives = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=torch.bool)
    expected = loss_by_hand(image.numpy(), text.numpy(), 2.0, positives.numpy())
    assert unicl_loss(image, text, torch.tensor(2.0), positives).item() == pytest.approx(expected, abs=1e-12)


def test_loss_with_distinct_labels_is_clips_summed() -> None:
    image, text, y = pairs([0, 1, 2, 3, 4])
    logits = 10 * image @ text.T
    clip = torch.nn.functional.cross_entropy(logits, y) + torch.nn.functional.cross_entropy(logits.T, y)
    torch.testing.assert_close(unicl_loss(image, text, torch.tensor(10.0), y), clip)


def test_the_model_returns_this_loss_and_unit_vectors() -> None:
    torch.manual_seed(0)
    config = FlorenceConfig(
        image_config=CoSwinConfig(image_size=32, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4),
        text_config=TextEncoderConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, bos_token_id=1, eos_token_id=2
        ),
        projection_dim=6,
    )
    model = FlorenceModel(config).eval()
    texts = torch.tensor([[1, 5, 2, 0], [1, 7, 9, 2], [1, 2, 0, 0]])
    output = model(torch.randn(3, 3, 32, 32), texts, positives=torch.tensor([0, 1, 0]))
    torch.testing.assert_close(output.image_embeds.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(output.text_embeds.norm(dim=-1), torch.ones(3))
    expected = unicl_loss(output.image_embeds, output.text_embeds, model.logit_scale.exp(), torch.tensor([0, 1, 0]))
    torch.testing.assert_close(output.loss, expected)


def test_the_scale_is_limited_in_training_only() -> None:
    config = FlorenceConfig(
        image_config=CoSwinConfig(image_size=32, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=4),
        text_config=TextEncoderConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, bos_token_id=1, eos_token_id=2
        ),
        projection_dim=6,
        logit_scale_init_value=5.0,
    )
    labels = torch.tensor([0, 1])
    output = FlorenceModel(config).eval()(torch.randn(2, 3, 32, 32), torch.tensor([[1, 5, 2], [1, 7, 2]]), labels)
    cosines = output.image_embeds @ output.text_embeds.T
    torch.testing.assert_close(output.logits_per_image, torch.tensor(5.0).exp() * cosines)
    limited = unicl_loss(output.image_embeds, output.text_embeds, torch.tensor(100.0), labels)
    torch.testing.assert_close(output.loss, limited)


def test_the_sizes_of_the_paper() -> None:
    """Width, depths and windows are guesses that must give 637M parameters for images and 256M for texts."""
    with torch.device("meta"):
        model = FlorenceModel(FlorenceConfig.paper())
    counts = {
        name: sum(parameter.numel() for parameter in encoder.parameters())
        for name, encoder in (("image", model.image_encoder), ("text", model.text_encoder))
    }
    assert counts["image"] == pytest.approx(637e6, rel=0.05)
    assert counts["text"] == pytest.approx(256e6, rel=0.05)
    assert sum(counts.values()) == pytest.approx(893e6, rel=0.05)
