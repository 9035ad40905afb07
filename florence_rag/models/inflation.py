"""2D weights grown into time: CoSwin to Video CoSwin, Swin to Video Swin. Video Swin's released weights, too.

Papers: Florence (arXiv 2111.11432, section 2.2), I3D (arXiv 1705.07750, section 2.2) for kernels, Video Swin (arXiv
2106.13230, section 3.3) for bias tables. Reference code: Video Swin's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import STRUCTURAL, SWIN, KeyMap, Rule, below, filled, resize_bias_table
from florence_rag.models.layers.video import Sizes, VideoWindowAttention
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification, VideoCoSwinModel

SWIN_IMAGES = KeyMap(rules=SWIN, unused=(STRUCTURAL, r"head\.(weight|bias)"))
"""A Swin image classifier; its classification head is dropped."""

VIDEO_SWIN = KeyMap(
    rules=(
        *below(r"backbone\.", "video_coswin.", SWIN),
        Rule(r"cls_head\.fc_cls\.(weight|bias)", r"classifier.\1"),
    ),
    unused=(STRUCTURAL,),
)


def inflate(weights: Mapping[str, Tensor], model: VideoCoSwinModel) -> VideoCoSwinModel:
    """Fill a video network with the weights of an image network of the same widths and depths.

    weights: under the names of CoSwinModel. Kernels are repeated in time and divided by their length, bias tables
    resized where windows differ (bicubic) and repeated along time; all else is taken as it is. A clip that stands still
    is then seen as its picture is. Raises ModelError with the list where weights are missing, left over or of another
    shape.
    """
    wanted = model.state_dict()
    windows = {
        f"{name}.relative_position_bias_table": module.full
        for name, module in model.named_modules()
        if isinstance(module, VideoWindowAttention)
    }
    grown = {name: _grown(tensor, wanted.get(name), windows.get(name)) for name, tensor in weights.items()}
    problems = {
        "missing": sorted(wanted.keys() - grown.keys()),
        "unexpected": sorted(grown.keys() - wanted.keys()),
        "of another shape": sorted(
            name for name, tensor in grown.items() if name in wanted and tensor.shape != wanted[name].shape
        ),
    }
    if any(problems.values()):
        lists = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
        raise ModelError(f"these weights cannot be inflated to this network: {lists}; check its configuration")
    model.load_state_dict(grown, strict=True)
    return model.eval()


def _grown(tensor: Tensor, wanted: Tensor | None, window: Sizes | None) -> Tensor:
    """One weight: a kernel, the bias table of a window, or anything else."""
    if window is not None:
        frames, rows, columns = window
        return resize_bias_table(tensor, (2 * rows - 1) * (2 * columns - 1)).repeat(2 * frames - 1, 1)
    if wanted is not None and (tensor.ndim, wanted.ndim) == (4, 5):
        depth = wanted.shape[2]
        return tensor[:, :, None].repeat(1, 1, depth, 1, 1) / depth
    return tensor


def load_swin_inflated(path: str | Path, config: VideoCoSwinConfig) -> VideoCoSwinModel:
    """Load a Swin trained on images as a Video Swin; config: convolutional=False."""
    renamed, unknown = SWIN_IMAGES.rename(read_weights(path))
    if unknown:
        raise ModelError(f"{str(path)!r} is no Swin of pictures: unexpected {', '.join(unknown[:5])}")
    return inflate(renamed, VideoCoSwinModel(config))


def load_video_swin(path: str | Path, config: VideoCoSwinConfig) -> VideoCoSwinForVideoClassification:
    """A released Video Swin; config: convolutional=False and clamped_bias="released"."""
    return filled(VideoCoSwinForVideoClassification(config), read_weights(path), VIDEO_SWIN)
