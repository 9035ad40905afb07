"""Parity of inflation with the original, and the properties of an inflated CoSwin."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.coswin import CoSwinModel
from florence_rag.models.inflation import SWIN_IMAGES, inflate, load_swin_inflated, load_video_swin
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinModel
from tests.models import tiny
from tests.models.fill import fill
from tests.models.layouts import linear, swin, video_swin
from tests.models.reference import EXPECTED, FILL_SEED, arrays, assert_close, needs_parity
from tests.models.video_swin import FIXTURE, LAYOUT, SMALL, as_map, clip


def rebuilt_swin(window: int) -> dict[str, Tensor]:
    weights = fill(swin(window * 32, 16, (2, 2, 2, 1), (1, 2, 4, 8), window) | linear("head", 128, 7), FILL_SEED)
    return SWIN_IMAGES.rename(weights)[0]


@needs_parity
@pytest.mark.parametrize(("number", "window"), [(0, 3), (1, 4)])
@torch.no_grad()
def test_inflation_of_swin_equals_the_original(number: int, window: int) -> None:
    expected = arrays(FIXTURE / "outputs.npz")
    model = load_swin_inflated(FIXTURE / f"swin2d_window{window}.pth", SMALL)
    grown = model.state_dict()
    assert_close(grown["stages.0.embed.proj.weight"], expected[f"inflated{number}:patch_embed.proj.weight"])
    table = "blocks.0.attn.relative_position_bias_table"
    for stage in range(4):
        assert_close(grown[f"stages.{stage}.{table}"], expected[f"inflated{number}:layers.{stage}.{table}"])
    theirs = expected[f"inflated{number}.a.feature_NCTHW"]
    found = model(arrays(FIXTURE / "inputs.npz")["a"].transpose(1, 2)).last_hidden_state
    assert_close(as_map(found, theirs), theirs, "features")


@pytest.mark.parametrize("window", [3, 4])
@torch.no_grad()
def test_inflated_weights_from_names_give_the_recorded_outputs(window: int) -> None:
    expected, model = arrays(EXPECTED / "video_swin_small.npz"), inflate(rebuilt_swin(window), VideoCoSwinModel(SMALL))
    assert_close(model(clip("a")).last_hidden_state[0, ::3, ::8], expected[f"inflated{window}.tokens"])


@pytest.mark.parametrize("convolutional", [True, False])
@torch.no_grad()
def test_an_inflated_network_computes_for_a_static_clip_the_vector_of_its_image(convolutional: bool) -> None:
    torch.manual_seed(0)
    image = CoSwinModel(tiny.coswin(convolutional=convolutional)).eval()
    for name, weight in image.named_parameters():
        if "bias" in name:
            weight.data.normal_()
    video = inflate(image.state_dict(), VideoCoSwinModel(VideoCoSwinConfig.inflating(image.config, frames=(2, 4))))
    images = tiny.images()
    # Only clips of whole windows: others are padded with zeros, which have an influence, as at the edges of an image.
    for frames in (2, 8, 16):
        clips = images[:, None].expand(-1, frames, -1, -1, -1)
        assert_close(video(clips).pooler_output, image(images).pooler_output, str(frames))


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    weights = CoSwinModel(tiny.coswin()).state_dict()
    with pytest.raises(ModelError, match=r"do not fit this VideoCoSwinModel: missing: stages\.1\.blocks\.2"):
        inflate(weights, VideoCoSwinModel(tiny.video(depths=(2, 3))))
    with pytest.raises(ModelError, match=r"of another shape: .*norm\.bias"):
        inflate(weights, VideoCoSwinModel(tiny.video(embed_dim=16)))
    torch.save(fill(video_swin(16, (2, 2, 2, 1), (1, 2, 4, 8), (4, 3), 5), 0), tmp_path / "five.pth")
    with pytest.raises(ModelError, match=r"of another shape: classifier"):
        load_video_swin(tmp_path / "five.pth", SMALL)
    torch.save({**fill(swin(96, 16, (2, 2, 2, 1), (1, 2, 4, 8), 3), 0), "stem": torch.ones(1)}, tmp_path / "stem.pth")
    with pytest.raises(ModelError, match=r"not a Swin image classifier: unexpected stem"):
        load_swin_inflated(tmp_path / "stem.pth", SMALL)


def test_inflation_divides_the_kernel_over_time_and_repeats_the_biases_of_the_window() -> None:
    image = CoSwinModel(tiny.coswin())
    weights = image.state_dict()
    video = inflate(weights, VideoCoSwinModel(VideoCoSwinConfig.inflating(image.config, frames=(2, 4)))).state_dict()
    kernel = "stages.0.embed.proj.weight"
    torch.testing.assert_close(video[kernel].sum(dim=2), weights[kernel])
    table = "stages.0.blocks.0.attn.relative_position_bias_table"
    for rows in video[table].chunk(2 * 2 - 1):
        torch.testing.assert_close(rows, weights[table])


def test_inflation_leaves_the_given_weights_unchanged() -> None:
    image = CoSwinModel(tiny.coswin())
    before = {name: weight.clone() for name, weight in image.state_dict().items()}
    weights = dict(image.state_dict())
    inflate(weights, VideoCoSwinModel(VideoCoSwinConfig.inflating(image.config, frames=(2, 4))))
    assert weights.keys() == before.keys()
    assert all(torch.equal(weights[name], before[name]) for name in before)


def test_a_released_video_swin_opens_with_its_classes(tmp_path: Path) -> None:
    torch.save(fill(LAYOUT, 0), tmp_path / "released.pth")
    model = load_video_swin(tmp_path / "released.pth", SMALL)
    assert not model.training
    assert model(clip("c")).logits.shape == (1, 11)
