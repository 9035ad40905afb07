"""CoSwin, Florence's image encoder: Swin with CvT's convolutional embeddings in place of patches and merging.

Papers: Florence (arXiv 2111.11432, section 2.1), Swin (arXiv 2103.14030), CvT (arXiv 2103.15808).
Reference code: microsoft/UniCL for Swin, microsoft/CvT for the convolutional embedding.
Differs: CoSwin's code was never published. Depths, widths and windows of the paper-size preset are a guess that meets
the published number of parameters. With convolutional=False this is the Swin of the public UniCL checkpoints.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from florence_rag.models.layers.embedding import ConvEmbedding, PatchEmbedding, PatchMerging
from florence_rag.models.layers.window import ClampedBias, Sizes, SwinBlock, WindowAttention


class CoSwinShape(PreTrainedConfig):
    """The shape that the image encoder and the video encoder share.

    Args:
        image_size: The side in pixels that the windows are laid out for.
        embed_dim: The channels of the first stage; every further stage doubles them.
        depths: The number of blocks of each stage.
        num_heads: The attention heads of each stage.
        drop_path_rate: The stochastic depth of the last block; it grows linearly from 0.
        convolutional: Whether convolutions embed and merge tokens. Without them the encoder is a Swin.
    """

    image_size: int = 224
    num_channels: int = 3
    embed_dim: int = 96
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_heads: list[int] | tuple[int, ...] = (3, 6, 12, 24)
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    convolutional: bool = True
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    @property
    def hidden_size(self) -> int:
        """The channels of the last stage."""
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    def resolution(self, stage: int) -> int:
        """Return the number of tokens along one side of a stage."""
        return -(-self.image_size // (4 * 2**stage))


class CoSwinConfig(CoSwinShape):
    """Configuration of CoSwin; `window_size` is the side of a window in tokens, clamped to the map of a stage."""

    model_type = "coswin"

    window_size: int = 7

    @property
    def token_grid(self) -> int:
        """The number of tokens along one side of the last stage."""
        return self.resolution(len(self.depths) - 1)

    @classmethod
    def huge(cls, **changes: Any) -> CoSwinConfig:
        """CoSwin-H as in the paper's 637M parameters. Width, depths and windows are a guess: none were published."""
        shape = {"image_size": 384, "embed_dim": 340, "depths": (2, 2, 18, 2), "num_heads": (10, 20, 40, 80)}
        return cls(**{**shape, "window_size": 12, **changes})


class CoSwinStage(nn.Module):
    """Token embedding or merging, then the blocks of one resolution.

    `time_stride` is None for images, and the frames from one token to the next for clips. The other arguments are
    those of `SwinBlock`.
    """

    def __init__(
        self,
        config: CoSwinShape,
        index: int,
        drop_path: list[float],
        *,
        window: Sizes,
        shifted: bool = True,
        clamped: ClampedBias | None = None,
        time_stride: int | None = None,
    ) -> None:
        super().__init__()
        channels, eps = config.embed_dim * 2**index, config.layer_norm_eps
        in_channels = channels // 2 if index else config.num_channels
        self.embed: nn.Module
        if config.convolutional:
            self.embed = ConvEmbedding(in_channels, channels, first=index == 0, time_stride=time_stride, eps=eps)
        elif index:
            self.embed = PatchMerging(in_channels, channels, eps=eps)
        else:
            self.embed = PatchEmbedding(in_channels, channels, time_stride=time_stride, eps=eps)
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                config.num_heads[index],
                window=window,
                shifted=shifted and block % 2 == 1,
                clamped=clamped,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                drop_path=rate,
                eps=eps,
            )
            for block, rate in enumerate(drop_path)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, [T_in,] H_in, W_in) -> (B, C, [T,] H, W)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x.movedim(-1, 1)


class CoSwinPreTrainedModel(PreTrainedModel):
    """Initial weights and settings of every network of CoSwin stages."""

    config_class: type[CoSwinShape] = CoSwinConfig
    main_input_name = "pixel_values"
    _no_split_modules = ["SwinBlock"]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WindowAttention):
            init.trunc_normal_(module.relative_position_bias_table, std=self.config.initializer_range)


class CoSwinModel(CoSwinPreTrainedModel):
    """Image -> tokens of the last stage and their mean (global average pooling, Florence section 2.1)."""

    base_model_prefix = "coswin"

    def __init__(self, config: CoSwinShape) -> None:
        super().__init__(config)
        total = sum(config.depths)
        rates = (config.drop_path_rate * i / max(total - 1, 1) for i in range(total))
        self.stages = nn.ModuleList(self._stage(i, list(islice(rates, depth))) for i, depth in enumerate(config.depths))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _stage(self, index: int, drop_path: list[float]) -> CoSwinStage:
        config: Any = self.config
        resolution = config.resolution(index)
        side = min(config.window_size, resolution)
        return CoSwinStage(config, index, drop_path, window=(side, side), shifted=resolution > side)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any) -> BaseModelOutputWithPooling:
        """Encode normalized RGB images (B, 3, H, W).

        Returns last_hidden_state (B, N, C), tokens in row-major order after the final norm; pooler_output (B, C), their
        mean; and on request hidden_states, the pyramid: one map (B, C_i, H_i, W_i) for each stage.
        """
        x, pyramid = pixel_values, []
        for stage in self.stages:
            x = stage(x)
            pyramid.append(x)
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        return BaseModelOutputWithPooling(
            last_hidden_state=tokens,
            pooler_output=tokens.mean(dim=1),
            hidden_states=tuple(pyramid) if output_hidden_states else None,
        )


AutoConfig.register(CoSwinConfig.model_type, CoSwinConfig)
AutoModel.register(CoSwinConfig, CoSwinModel)
