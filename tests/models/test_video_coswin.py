"""Parity of Video Swin with the original, and the properties of Video CoSwin."""

import pytest
import torch

from florence_rag.models.checkpoints import load_into
from florence_rag.models.inflation import VIDEO_SWIN, load_video_swin
from florence_rag.models.layers.window import from_windows, relative_position_index, to_windows
from florence_rag.models.video_coswin import VideoCoSwinForVideoClassification, VideoCoSwinModel
from tests.models import tiny
from tests.models.fill import fill
from tests.models.reference import (
    EXPECTED,
    FILL_SEED,
    arrays,
    assert_close,
    needs_parity,
    outputs_of,
    read_json,
)
from tests.models.video_swin import FIXTURE, LAYOUT, SIZES, SMALL, as_map, clip


def rebuilt() -> VideoCoSwinForVideoClassification:
    return load_into(VideoCoSwinForVideoClassification(SMALL), fill(LAYOUT, FILL_SEED), VIDEO_SWIN)


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


@pytest.mark.parametrize("name", SIZES)
@torch.no_grad()
def test_weights_from_names_give_the_recorded_outputs(name: str) -> None:
    """The expected numbers were recorded when the outputs were equal to the original."""
    expected, model = arrays(EXPECTED / "video_swin_small.npz"), rebuilt()
    assert_close(model(clip(name)).logits, expected[f"{name}.logits"])
    assert_close(model.video_coswin(clip(name)).last_hidden_state[0, ::3, ::8], expected[f"{name}.tokens"])


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
