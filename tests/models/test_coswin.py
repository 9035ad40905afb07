import pytest
import torch

from florence_rag.models.coswin import CoSwinConfig, CoSwinModel
from florence_rag.models.layers.embedding import ConvEmbedding, PatchEmbedding, PatchMerging

TINY = {"image_size": 64, "embed_dim": 8, "depths": (2, 2, 2), "num_heads": (1, 2, 4), "window_size": 4}


def coswin(**changes: object) -> CoSwinModel:
    torch.manual_seed(0)
    return CoSwinModel(CoSwinConfig(**{**TINY, **changes})).eval()


def test_the_pyramid_halves_its_sides_and_doubles_its_channels() -> None:
    output = coswin()(torch.randn(2, 3, 64, 64), output_hidden_states=True)
    assert [tuple(level.shape) for level in output.hidden_states] == [
        (2, 8, 16, 16),
        (2, 16, 8, 8),
        (2, 32, 4, 4),
    ]
    assert output.last_hidden_state.shape == (2, 16, 32)


def test_the_image_vector_is_the_mean_of_its_tokens() -> None:
    output = coswin()(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(output.pooler_output, output.last_hidden_state.mean(1))


def test_convolutions_replace_patches_and_merging_of_swin() -> None:
    kinds = [[type(stage.embed) for stage in coswin(convolutional=c).stages] for c in (True, False)]
    assert kinds == [[ConvEmbedding] * 3, [PatchEmbedding, PatchMerging, PatchMerging]]


@pytest.mark.parametrize("convolutional", [True, False])
def test_sizes_that_were_not_configured(convolutional: bool) -> None:
    output = coswin(convolutional=convolutional)(torch.randn(1, 3, 72, 50), output_hidden_states=True)
    assert output.hidden_states[0].shape[2:] == (18, 12 if convolutional else 13)
    assert output.last_hidden_state.isfinite().all()


def test_a_map_no_larger_than_its_window_is_one_window() -> None:
    last = coswin(window_size=7).stages[2].blocks
    assert [(block.window, block.shifted) for block in last] == [((4, 4), False), ((4, 4), False)]


@pytest.mark.parametrize("image_size", [64, 112, 100])
def test_the_configuration_computes_the_number_of_tokens(image_size: int) -> None:
    model = coswin(image_size=image_size)
    tokens = model(torch.randn(1, 3, image_size, image_size)).last_hidden_state
    assert tokens.shape[1:] == (model.config.token_grid**2, model.config.hidden_size)
