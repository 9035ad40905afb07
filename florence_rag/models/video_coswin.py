"""Video CoSwin, Florence's video encoder: CoSwin with time as a third direction, grown out of a 2D checkpoint.

Papers: Florence (arXiv 2111.11432, section 2.2), Video Swin (arXiv 2106.13230). Reference code: Video Swin's.
Differs: Video CoSwin's code was never published. Temporal kernels and windows are a guess; what is known is kept: 3D
convolutions embed and merge tokens, windows are small in early stages and large in late ones, and a network that was
just inflated sees in a clip that stands still what CoSwin sees in its image. With convolutional=False this is Video
Swin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils.generic import ModelOutput

from florence_rag.models.coswin import CoSwinConfig
from florence_rag.models.layers.video import (
    ClampedBias,
    Sizes,
    VideoConvEmbedding,
    VideoPatchEmbedding,
    VideoPatchMerging,
    VideoSwinBlock,
)
from florence_rag.models.layers.window import WindowAttention


class VideoCoSwinConfig(PreTrainedConfig):
    """Shape of the encoder and of a classifier on it; the number of stages is the length of depths.

    num_frames: of the clips that it was made for. time_stride: frames from one token to the next. windows: of each
    stage, how many tokens it is long and how many its sides have. clamped_bias: see VideoWindowAttention.
    pooling: how a classifier sums up a clip: the mean of its tokens, or the "trajectory" of what
    moves, for networks of two stages and more.
    attributes: what else it tells of a clip: name -> values. idle: the class for clips in which nothing happens.
    window_s: how long the clips were that it was taught. wording: how to speak of a value of the attribute "object":
    with a "{colour}", without, and how it drives. What the classes are called is transformers' id2label.
    The other settings are those of CoSwinConfig.
    """

    model_type = "video-coswin"

    num_frames: int = 16
    image_size: int = 224
    num_channels: int = 3
    time_stride: int = 2
    embed_dim: int = 96
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_heads: list[int] | tuple[int, ...] = (3, 6, 12, 24)
    windows: list[Any] | tuple[Any, ...] = ((4, 7), (8, 7), (8, 7), (8, 7))
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    convolutional: bool = True
    clamped_bias: ClampedBias = "exact"
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    pooling: Literal["mean", "trajectory"] = "mean"
    attributes: dict[str, Any] | None = None
    idle: str | None = None
    window_s: float = 2.0
    wording: dict[str, Any] | None = None

    @property
    def hidden_size(self) -> int:
        """Channels of the last stage."""
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    @classmethod
    def inflating(cls, image: CoSwinConfig, *, frames: tuple[int, ...], **changes: Any) -> VideoCoSwinConfig:
        """The shape of a CoSwin, with windows that are so many tokens long, for each stage."""
        kept = ("image_size", "num_channels", "embed_dim", "depths", "num_heads", "mlp_ratio", "qkv_bias")
        same = {name: getattr(image, name) for name in (*kept, "convolutional", "layer_norm_eps")}
        sides = [min(image.window_size, -(-image.image_size // (4 * 2**stage))) for stage in range(len(image.depths))]
        return cls(**{**same, "windows": list(zip(frames, sides, strict=True)), **changes})


class VideoCoSwinStage(nn.Module):
    """Token embedding or merging, then the blocks of one resolution."""

    def __init__(self, config: VideoCoSwinConfig, index: int, drop_path: list[float]) -> None:
        super().__init__()
        channels = config.embed_dim * 2**index
        frames, side = config.windows[index]
        window: Sizes = (frames, side, side)
        self.embed = self._embedding(config, index, channels)
        self.blocks = nn.ModuleList(
            VideoSwinBlock(
                channels,
                config.num_heads[index],
                video_window=window,
                shifted=block % 2 == 1,
                clamped=config.clamped_bias,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                drop_path=rate,
                eps=config.layer_norm_eps,
            )
            for block, rate in enumerate(drop_path)
        )

    @staticmethod
    def _embedding(config: VideoCoSwinConfig, index: int, channels: int) -> nn.Module:
        in_channels = channels // 2 if index else config.num_channels
        if config.convolutional:
            stride = 1 if index else config.time_stride
            return VideoConvEmbedding(
                in_channels, channels, first=index == 0, time_stride=stride, eps=config.layer_norm_eps
            )
        if index:
            return VideoPatchMerging(in_channels, channels, eps=config.layer_norm_eps)
        return VideoPatchEmbedding(in_channels, channels, time_stride=config.time_stride, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, T_in, H_in, W_in) -> (B, C, T, H, W)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 4, 1, 2, 3)


class _VideoCoSwinPreTrained(PreTrainedModel):
    config_class = VideoCoSwinConfig
    main_input_name = "pixel_values"
    input_modalities = "video"
    supports_gradient_checkpointing = False
    _no_split_modules = ["VideoSwinBlock"]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WindowAttention):
            init.trunc_normal_(module.relative_position_bias_table, std=self.config.initializer_range)


class VideoCoSwinModel(_VideoCoSwinPreTrained):
    """Clip -> tokens of the last stage and their mean."""

    base_model_prefix = "video_coswin"

    def __init__(self, config: VideoCoSwinConfig) -> None:
        super().__init__(config)
        total = sum(config.depths)
        rates = [config.drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        starts = [sum(config.depths[:i]) for i in range(len(config.depths))]
        self.stages = nn.ModuleList(
            VideoCoSwinStage(config, i, rates[start : start + config.depths[i]]) for i, start in enumerate(starts)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any) -> BaseModelOutputWithPooling:
        """Encode normalized clips.

        pixel_values: (B, T, 3, H, W), normalized RGB, float, frames in order of time; any T from 1.
        Returns last_hidden_state (B, N, C) tokens in order of time, row, column after the final norm; pooler_output
        (B, C), their mean; with output_hidden_states, hidden_states: one (B, C_i, T_i, H_i, W_i) for each stage.
        """
        x, pyramid = pixel_values.transpose(1, 2), []
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return BaseModelOutputWithPooling(
            last_hidden_state=tokens,
            pooler_output=tokens.mean(dim=1),
            hidden_states=tuple(pyramid) if output_hidden_states else None,
        )


@dataclass
class VideoClassifierOutput(ModelOutput):
    """loss (); logits (B, classes); attribute_logits: name -> (B, values)."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    attribute_logits: dict[str, Tensor] | None = None


class Trajectory(nn.Module):
    """What a clip is about, and the way of what moves in it.

    In the last stage all tokens know of all, so that what it is about is in any of them, but hardly where and when. The
    way is told by the stage before: attention to what differs from the mean of its place over time, and at each time
    what is found there, where it lies on average (soft argmax: Levine et al., arXiv 1504.00702, section 5.1), and how
    strongly it was noticed.
    """

    def __init__(self, channels: int, steps: int, inner: int = 64) -> None:
        super().__init__()
        self.steps, self.width = steps, 2 * inner
        self.attention = nn.Linear(channels, 1, bias=False)
        self.notice = nn.Sequential(nn.Linear(channels // 2, inner), nn.GELU(), nn.Linear(inner, 1, bias=False))
        self.look = nn.Linear(channels // 2, inner)
        self.way = nn.Sequential(nn.Linear(steps * (inner + 3), self.width), nn.GELU())

    def forward(self, tokens: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Pool the last two stages.

        Args:
            tokens: The tokens of the last stage, (B, N, C).
            before: The previous stage, (B, C / 2, T, H, W), for any T.

        Returns:
            The features of the content, (B, C), and of the motion, (B, `self.width`).
        """
        about = (self.attention(tokens).softmax(dim=1) * tokens).sum(dim=1)
        local = before.permute(0, 2, 3, 4, 1)
        y, x = torch.meshgrid(_axis(local.shape[2], local), _axis(local.shape[3], local), indexing="ij")
        local = F.layer_norm(local.flatten(2, 3), local.shape[-1:])
        scores = self.notice(local - local.mean(dim=1, keepdim=True))
        shares = scores.softmax(dim=2)
        where = (shares * torch.stack([x.flatten(), y.flatten()], dim=-1)).sum(dim=2)
        path = torch.cat([self.look((shares * local).sum(dim=2)), where, scores.logsumexp(dim=2)], dim=-1)
        if path.shape[1] != self.steps:
            path = F.interpolate(path.transpose(1, 2), size=self.steps, mode="linear").transpose(1, 2)
        return about, self.way(path.flatten(1))


def _axis(size: int, like: Tensor) -> Tensor:
    """Places along a side, from -1 to 1."""
    return (2 * torch.arange(size, device=like.device, dtype=like.dtype) + 1) / size - 1


class VideoCoSwinForVideoClassification(_VideoCoSwinPreTrained):
    """What happens in a clip and, as far as it was taught, what takes part in it."""

    base_model_prefix = "video_coswin"

    def __init__(self, config: VideoCoSwinConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.video_coswin = VideoCoSwinModel(config)
        classes = len(config.id2label or ())
        steps = -(-config.num_frames // config.time_stride)
        self.trajectory = Trajectory(width, steps) if config.pooling == "trajectory" else None
        self.classifier = nn.Linear(self.trajectory.width if self.trajectory else width, classes)
        values = config.attributes or {}
        self.attributes = nn.ModuleDict({name: nn.Linear(width, len(known)) for name, known in values.items()})
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        attribute_labels: Mapping[str, Tensor] | None = None,
        **_: Any,
    ) -> VideoClassifierOutput:
        """Classify clips (B, T, 3, H, W), see VideoCoSwinModel.

        labels: (B,) int64. attribute_labels: name -> (B,) int64, -100 where a clip has none. The loss is the sum of all
        cross-entropies; without labels there is none.
        """
        encoded = self.video_coswin(pixel_values, output_hidden_states=True)
        pooled = way = encoded.pooler_output
        if self.trajectory is not None:
            pooled, way = self.trajectory(encoded.last_hidden_state, encoded.hidden_states[-2])
        logits = self.classifier(way)
        attributes = {name: head(pooled) for name, head in self.attributes.items()}
        loss = None
        if labels is not None:
            given = attribute_labels or {}
            losses = [F.cross_entropy(logits.float(), labels)]
            losses += [_entropy(attributes[name].float(), given[name]) for name in attributes if name in given]
            loss = torch.stack(losses).sum()
        return VideoClassifierOutput(loss=loss, logits=logits, attribute_logits=attributes or None)


def _entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the labelled rows; 0 where there are none."""
    return F.cross_entropy(logits, labels, reduction="sum") / (labels >= 0).sum().clamp(min=1)


AutoConfig.register(VideoCoSwinConfig.model_type, VideoCoSwinConfig)
AutoModel.register(VideoCoSwinConfig, VideoCoSwinModel)
AutoModelForVideoClassification.register(VideoCoSwinConfig, VideoCoSwinForVideoClassification)
