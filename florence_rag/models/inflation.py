"""Inflation of 2D weights into time: CoSwin to Video CoSwin, Swin to Video Swin. Also Video Swin's released weights.

Papers: Florence (arXiv 2111.11432, section 2.2), I3D (arXiv 1705.07750, section 2.2) for kernels, Video Swin (arXiv
2106.13230, section 3.3) for bias tables. Reference code: Video Swin's.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_weights
from florence_rag.models.checkpoints import (
    STRUCTURAL,
    KeyMap,
    Rule,
    check_state_dict,
    load_into,
    read_rules,
    resize_grid,
)
from florence_rag.models.layers.window import WindowAttention
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification, VideoCoSwinModel

SWIN_IMAGES = KeyMap(rules=read_rules("swin"), unused=(STRUCTURAL, r"head\.(weight|bias)"))
"""A Swin image classifier; its classification head is dropped."""

VIDEO_SWIN = KeyMap(
    rules=(
        *read_rules("swin", r"backbone\.", "video_coswin."),
        Rule(r"cls_head\.fc_cls\.(weight|bias)", r"classifier.\1"),
    ),
    unused=(STRUCTURAL,),
)


def inflate(weights: Mapping[str, Tensor], model: VideoCoSwinModel) -> VideoCoSwinModel:
    """Load the weights of an image network into a video network of the same widths and depths.

    Kernels are repeated in time and divided by their length, bias tables are resized where windows differ (bicubic)
    and repeated along time, and all other weights are copied. The video network then computes for a static clip what
    the image network computes for its image. ModelError is raised if a weight is missing or does not fit.
    """
    wanted = model.state_dict()
    windows = {
        f"{name}.relative_position_bias_table": module.window
        for name, module in model.named_modules()
        if isinstance(module, WindowAttention)
    }
    inflated = dict(weights)
    for name in weights.keys() & wanted.keys():
        tensor = weights[name]
        if name in windows:
            frames, rows, columns = windows[name]
            inflated[name] = resize_grid(tensor, (2 * rows - 1) * (2 * columns - 1)).repeat(2 * frames - 1, 1)
        elif (tensor.ndim, wanted[name].ndim) == (4, 5):
            depth = wanted[name].shape[2]
            inflated[name] = tensor[:, :, None].repeat(1, 1, depth, 1, 1) / depth
    check_state_dict(inflated, model)
    model.load_state_dict(inflated, strict=True)
    return model.eval()


def load_swin_inflated(path: str | Path, config: VideoCoSwinConfig) -> VideoCoSwinModel:
    """Load a Swin trained on images as a Video Swin; `config` needs convolutional=False."""
    renamed, unknown = SWIN_IMAGES.rename(read_weights(path))
    if unknown:
        raise ModelError(f"{str(path)!r} is not a Swin image classifier: unexpected {', '.join(unknown[:5])}")
    return inflate(renamed, VideoCoSwinModel(config))


def load_video_swin(path: str | Path, config: VideoCoSwinConfig) -> VideoCoSwinForVideoClassification:
    """Load a released Video Swin; `config` needs convolutional=False and clamped_bias="released"."""
    return load_into(VideoCoSwinForVideoClassification(config), read_weights(path), VIDEO_SWIN)
