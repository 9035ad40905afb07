"""Video CoSwin, Florence's video encoder: CoSwin with time as a third axis, inflated from a 2D checkpoint.

Papers: Florence (arXiv 2111.11432, section 2.2), Video Swin (arXiv 2106.13230). Reference code: Video Swin's.
Differs: Video CoSwin's code was never published. Temporal kernels and windows are a guess. The published properties
hold: 3D convolutions embed and merge tokens, windows are small in early stages and large in late ones, and a network
that was just inflated computes for a static clip what CoSwin computes for its image. With convolutional=False this is
Video Swin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from florence_rag.models.coswin import CoSwinConfig, CoSwinModel, CoSwinPreTrainedModel, CoSwinShape, CoSwinStage
from florence_rag.models.layers.window import ClampedBias


class VideoCoSwinConfig(CoSwinShape):
    """Configuration of the encoder and of a classifier on it. The classes are transformers' `id2label`.

    Args:
        num_frames: The number of frames of the clips that the model is made for.
        time_stride: The frames from one token to the next.
        windows: The window of each stage: its length and its side, in tokens.
        clamped_bias: The biases in windows that are clamped to a smaller map, see `WindowAttention`.
        pooling: How a classifier pools a clip: by the mean of its tokens, or by the "trajectory" of what moves, for
            networks of two stages and more.
        attributes: Further attributes of a clip that the model predicts, each with its values.
        idle: The class of clips in which nothing happens.
        window_s: The length in seconds of the clips that the model was trained on.
        wording: Phrases for the values of the attribute "object": with a "{colour}", without, and for driving.
    """

    model_type = "video-coswin"

    num_frames: int = 16
    time_stride: int = 2
    windows: list[Any] | tuple[Any, ...] = ((4, 7), (8, 7), (8, 7), (8, 7))
    clamped_bias: ClampedBias = "exact"
    pooling: Literal["mean", "trajectory"] = "mean"
    attributes: dict[str, Any] | None = None
    idle: str | None = None
    window_s: float = 2.0
    wording: dict[str, Any] | None = None

    @classmethod
    def inflating(cls, image: CoSwinConfig, *, frames: tuple[int, ...], **changes: Any) -> VideoCoSwinConfig:
        """Return the shape of a CoSwin, with windows of the given numbers of tokens in time, one for each stage."""
        names = ("image_size", "num_channels", "embed_dim", "depths", "num_heads", "mlp_ratio", "qkv_bias")
        same = {name: getattr(image, name) for name in (*names, "convolutional", "layer_norm_eps")}
        sides = [min(image.window_size, image.resolution(stage)) for stage in range(len(image.depths))]
        return cls(**{**same, "windows": list(zip(frames, sides, strict=True)), **changes})


class VideoCoSwinModel(CoSwinModel):
    """Clip -> tokens of the last stage and their mean."""

    config_class = VideoCoSwinConfig
    base_model_prefix = "video_coswin"
    input_modalities = "video"

    def _stage(self, index: int, drop_path: list[float]) -> CoSwinStage:
        config: Any = self.config
        frames, side = config.windows[index]
        stride = 1 if index else config.time_stride
        window, clamped = (frames, side, side), config.clamped_bias
        return CoSwinStage(config, index, drop_path, window=window, clamped=clamped, time_stride=stride)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any) -> BaseModelOutputWithPooling:
        """Encode normalized RGB clips (B, T, 3, H, W), frames in order of time, for any T from 1.

        Returns the outputs of CoSwin; tokens are in order of time, row, column, and maps are (B, C_i, T_i, H_i, W_i).
        """
        return super().forward(pixel_values.transpose(1, 2), output_hidden_states)


@dataclass
class VideoClassifierOutput(ModelOutput):
    """loss (); logits (B, classes); attribute_logits: the logits (B, values) of each attribute."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    attribute_logits: dict[str, Tensor] | None = None


class Trajectory(nn.Module):
    """Pools a clip into features of its content and of its motion.

    In the last stage every token has received information from all others, so any token carries the content of the
    clip, but hardly where and when something moved. The motion is therefore computed from the previous stage: its
    attention goes to tokens that differ from the mean of their position over time. Each time step is described by the
    attended features, their mean position (soft argmax: Levine et al., arXiv 1504.00702, section 5.1) and the total
    strength of the attention.
    """

    def __init__(self, channels: int, steps: int, inner: int = 64) -> None:
        super().__init__()
        self.steps, self.width = steps, 2 * inner
        self.attention = nn.Linear(channels, 1, bias=False)
        self.notice = nn.Sequential(nn.Linear(channels // 2, inner), nn.GELU(), nn.Linear(inner, 1, bias=False))
        self.look = nn.Linear(channels // 2, inner)
        self.way = nn.Sequential(nn.Linear(steps * (inner + 3), self.width), nn.GELU())

    def forward(self, tokens: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the content, (B, C), and of the motion, (B, `self.width`).

        `tokens` are those of the last stage, (B, N, C), `previous` is the map of the stage before, (B, C / 2, T, H, W),
        for any T.
        """
        content = (self.attention(tokens).softmax(dim=1) * tokens).sum(dim=1)
        local = previous.permute(0, 2, 3, 4, 1)
        y, x = (
            # Centers of cells along a side, from -1 to 1.
            (2 * torch.arange(size, device=local.device, dtype=local.dtype) + 1) / size - 1
            for size in local.shape[2:4]
        )
        positions = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
        local = F.layer_norm(local.flatten(2, 3), local.shape[-1:])
        scores = self.notice(local - local.mean(dim=1, keepdim=True))
        weights = scores.softmax(dim=2)
        features, center = self.look((weights * local).sum(dim=2)), (weights * positions).sum(dim=2)
        path = torch.cat([features, center, scores.logsumexp(dim=2)], dim=-1)
        if path.shape[1] != self.steps:
            path = F.interpolate(path.transpose(1, 2), size=self.steps, mode="linear").transpose(1, 2)
        return content, self.way(path.flatten(1))


class VideoCoSwinForVideoClassification(CoSwinPreTrainedModel):
    """Predicts the class of a clip and, if it was trained to, attributes of its main object."""

    config_class = VideoCoSwinConfig
    base_model_prefix = "video_coswin"
    input_modalities = "video"

    def __init__(self, config: VideoCoSwinConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.video_coswin = VideoCoSwinModel(config)
        classes = len(config.id2label or ())
        steps = -(-config.num_frames // config.time_stride)
        self.trajectory = Trajectory(width, steps) if config.pooling == "trajectory" else None
        self.classifier = nn.Linear(self.trajectory.width if self.trajectory else width, classes)
        attributes = config.attributes or {}
        self.attributes = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in attributes.items()})
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        attribute_labels: Mapping[str, Tensor] | None = None,
        **_: Any,
    ) -> VideoClassifierOutput:
        """Classify clips.

        Args:
            pixel_values: Clips (B, T, 3, H, W), see `VideoCoSwinModel`.
            labels: The classes, (B,) int64. Without them there is no loss.
            attribute_labels: The value of each attribute, (B,) int64, -100 for clips without one.

        Returns:
            The logits, and as loss the sum of all cross-entropies.
        """
        encoded = self.video_coswin(pixel_values, output_hidden_states=True)
        content = motion = encoded.pooler_output
        if self.trajectory is not None:
            content, motion = self.trajectory(encoded.last_hidden_state, encoded.hidden_states[-2])
        logits = self.classifier(motion)
        attributes = {name: head(content) for name, head in self.attributes.items()}
        loss = None
        if labels is not None:
            losses = [F.cross_entropy(logits.float(), labels)]
            for name in attributes:
                if (target := (attribute_labels or {}).get(name)) is not None:
                    total = F.cross_entropy(attributes[name].float(), target, reduction="sum")
                    losses.append(total / (target >= 0).sum().clamp(min=1))
            loss = torch.stack(losses).sum()
        return VideoClassifierOutput(loss=loss, logits=logits, attribute_logits=attributes or None)


AutoConfig.register(VideoCoSwinConfig.model_type, VideoCoSwinConfig)
AutoModel.register(VideoCoSwinConfig, VideoCoSwinModel)
AutoModelForVideoClassification.register(VideoCoSwinConfig, VideoCoSwinForVideoClassification)
