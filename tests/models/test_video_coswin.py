"""Parity of Video Swin and of inflation with the original, and the properties of an inflated CoSwin."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoints import load_into
from florence_rag.models.coswin import CoSwinModel
from florence_rag.models.inflation import SWIN_IMAGES, VIDEO_SWIN, inflate, load_swin_inflated, load_video_swin
from florence_rag.models.layers.window import from_windows, relative_position_index, to_windows
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification, VideoCoSwinModel
from tests.models import tiny
from tests.models.fill import fill, fill_value
from tests.models.layouts import linear, swin, video_swin
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    PUBLIC,
    arrays,
    assert_close,
    needs_parity,
    outputs_of,
    read_json,
)

FIXTURE = PUBLIC / "video_swin_small"
SIZES = {"a": (2, 16, 3, 56, 64), "b": (1, 8, 3, 48, 48), "c": (1, 5, 3, 42, 44)}
SMALL = VideoCoSwinConfig(
    embed_dim=16,
    depths=(2, 2, 2, 1),
    num_heads=(1, 2, 4, 8),
    windows=((4, 3),) * 4,
    convolutional=False,
    clamped_bias="released",
    id2label={i: str(i) for i in range(11)},
)
LAYOUT = video_swin(16, (2, 2, 2, 1), (1, 2, 4, 8), (4, 3), 11)


def clip(name: str) -> Tensor:
    """A clip by the rule of the weights, so that it needs no file."""
    numbers = torch.from_numpy(fill_value(f"clip.{name}", SIZES[name], 0))
    return numbers / numbers.std()


def rebuilt() -> VideoCoSwinForVideoClassification:
    return load_into(VideoCoSwinForVideoClassification(SMALL), fill(LAYOUT, FILL_SEED), VIDEO_SWIN)


def rebuilt_swin(window: int) -> dict[str, Tensor]:
    weights = fill(swin(window * 32, 16, (2, 2, 2, 1), (1, 2, 4, 8), window) | linear("head", 128, 7), FILL_SEED)
    return SWIN_IMAGES.rename(weights)[0]


def as_map(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, N, C) -> (B, C, T, H, W)."""
    return tokens.transpose(1, 2).reshape(like.shape)


@needs_parity
def test_the_layout_of_the_tests_is_the_released_one() -> None:
    shapes = {key: tuple(shape) for key, shape in read_json(FIXTURE / "keys.json").items()}
    assert shapes == LAYOUT


@needs_parity
@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_it_equals_video_swin(name: str) -> None:
    inputs, expected = arrays(FIXTURE / "inputs.npz"), arrays(FIXTURE / "outputs.npz")
    model = load_video_swin(FIXTURE / "checkpoint.pth", SMALL)
    stages = model.video_coswin.stages
    # The original merges at the end of a stage, ours at the start of the next.
    embeds = {"patch_embed": stages[0].embed, **{f"stage{i}.out": stages[i + 1].embed for i in range(3)}}
    with outputs_of(embeds) as outputs:
        found = model(inputs[name].transpose(1, 2))
    for part, ours in outputs.items():
        assert_close(ours.permute(0, 4, 1, 2, 3), expected[f"{name}.{part}"], part)
    features = model.video_coswin(inputs[name].transpose(1, 2)).last_hidden_state
    theirs = expected[f"{name}.feature_NCTHW"]
    assert_close(as_map(features, theirs), theirs, "features")
    assert_close(found.logits, expected[f"{name}.logits"], "logits")


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


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_weights_from_names_give_the_recorded_outputs(name: str) -> None:
    """The expected numbers were recorded when the outputs were equal to the original."""
    expected, model = arrays(EXPECTED / "video_swin_small.npz"), rebuilt()
    assert_close(model(clip(name)).logits, expected[f"{name}.logits"])
    assert_close(model.video_coswin(clip(name)).last_hidden_state[0, ::3, ::8], expected[f"{name}.tokens"])


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


@torch.no_grad()
def test_the_order_of_the_frames_matters() -> None:
    torch.manual_seed(0)
    network = VideoCoSwinModel(tiny.video()).eval()
    clips = tiny.clips()
    assert (network(clips).pooler_output - network(clips.flip(1)).pooler_output).abs().max() > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("size", [(32, 32), (20, 44), (4, 4)])
@torch.no_grad()
def test_clips_of_any_length_and_size(frames: int, size: tuple[int, int]) -> None:
    network = VideoCoSwinForVideoClassification(tiny.video()).eval()
    assert network(torch.randn(1, frames, 3, *size)).logits.isfinite().all()


def test_video_windows_and_back() -> None:
    x = torch.arange(2 * 4 * 6 * 8 * 3).view(2, 4, 6, 8, 3)
    windows = to_windows(x, (2, 3, 4))
    assert windows.shape == (2 * 8, 24, 3)
    assert torch.equal(windows[0, :4], x[0, 0, 0, :4])
    assert torch.equal(windows[0, 12], x[0, 1, 0, 0])
    assert torch.equal(from_windows(windows, (2, 3, 4), (4, 6, 8)), x)


def test_the_biases_of_a_clamped_window() -> None:
    full, part = (3, 3, 3), (2, 2, 2)
    whole = relative_position_index(full, full, "exact")
    inside = [frame * 9 + row * 3 + column for frame in (0, 1) for row in (0, 1) for column in (0, 1)]
    assert torch.equal(relative_position_index(part, full, "exact"), whole[inside][:, inside])
    assert torch.equal(relative_position_index(part, full, "released"), whole[:8, :8])


def test_it_learns_its_training_clips() -> None:
    torch.manual_seed(0)
    network = VideoCoSwinForVideoClassification(tiny.video()).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    labels = {"color": torch.tensor([0, 1, -100]), "object": torch.tensor([1, 0, -100])}
    for _ in range(80):
        found = network(tiny.clips(), labels=torch.tensor([0, 1, 2]), attribute_labels=labels)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
    assert found.loss < 0.1
    assert found.attribute_logits["object"][:2].argmax(dim=1).tolist() == [1, 0]


def test_clips_without_attributes_have_a_finite_loss() -> None:
    network = VideoCoSwinForVideoClassification(tiny.video())
    nobody = {name: torch.full((3,), -100) for name in ("color", "object")}
    assert network(tiny.clips(), labels=torch.tensor([0, 1, 2]), attribute_labels=nobody).loss.isfinite()


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
