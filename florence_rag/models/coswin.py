"""CoSwin, Florence's image encoder: Swin with CvT's convolutional embeddings in place of patches and merging.

Papers: Florence (arXiv 2111.11432, section 2.1), Swin (arXiv 2103.14030), CvT (arXiv 2103.15808).
Reference code: microsoft/UniCL for Swin, microsoft/CvT for the convolutional embedding.
Differs: CoSwin's code was never published. Depths, widths and windows of the paper-size preset are a guess that meets
the published number of parameters. With convolutional=False this is the Swin of the public UniCL checkpoints.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from florence_rag.models.layers.embedding import ConvEmbedding, PatchEmbedding, PatchMerging
from florence_rag.models.layers.window import SwinBlock, WindowAttention


class CoSwinConfig(PreTrainedConfig):
    """Shape of the encoder; the number of stages is the length of depths.

    image_size: side in pixels that the windows are laid out for. embed_dim: channels of the first stage, doubled at
    every further stage. window_size: side in tokens; a stage whose map is smaller takes the map's side.
    drop_path_rate: stochastic depth of the last block, growing linearly from 0.
    """

    model_type = "coswin"

    image_size: int = 224
    num_channels: int = 3
    embed_dim: int = 96
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    num_heads: list[int] | tuple[int, ...] = (3, 6, 12, 24)
    window_size: int = 7
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    drop_path_rate: float = 0.0
    convolutional: bool = True
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02

    @property
    def hidden_size(self) -> int:
        """Channels of the last stage."""
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    @property
    def token_grid(self) -> int:
        """Tokens along one side of the last stage."""
        return -(-self.image_size // (4 * 2 ** (len(self.depths) - 1)))

    @classmethod
    def huge(cls, **changes: Any) -> CoSwinConfig:
        """CoSwin-H as in the paper's 637M parameters. Width, depths and windows are a guess: none were published."""
        shape = {"image_size": 384, "embed_dim": 340, "depths": (2, 2, 18, 2), "num_heads": (10, 20, 40, 80)}
        return cls(**{**shape, "window_size": 12, **changes})


class CoSwinStage(nn.Module):
    """Token embedding or merging, then the blocks of one resolution."""

    def __init__(self, config: CoSwinConfig, index: int, drop_path: list[float]) -> None:
        super().__init__()
        channels = config.embed_dim * 2**index
        resolution = -(-config.image_size // (4 * 2**index))
        window = min(config.window_size, resolution)
        self.embed = self._embedding(config, index, channels)
        self.blocks = nn.ModuleList(
            SwinBlock(
                channels,
                config.num_heads[index],
                window=window,
                shift=window // 2 if block % 2 and resolution > window else 0,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=config.qkv_bias,
                drop_path=rate,
                eps=config.layer_norm_eps,
            )
            for block, rate in enumerate(drop_path)
        )

    @staticmethod
    def _embedding(config: CoSwinConfig, index: int, channels: int) -> nn.Module:
        in_channels = channels // 2 if index else config.num_channels
        if config.convolutional:
            return ConvEmbedding(in_channels, channels, first=index == 0, eps=config.layer_norm_eps)
        embedding = PatchMerging if index else PatchEmbedding
        return embedding(in_channels, channels, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H_in, W_in) -> (B, C, H, W)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


class CoSwinModel(PreTrainedModel):
    """Image -> tokens of the last stage and their mean (global average pooling, Florence section 2.1)."""

    config_class = CoSwinConfig
    base_model_prefix = "coswin"
    main_input_name = "pixel_values"
    supports_gradient_checkpointing = False
    _no_split_modules = ["SwinBlock"]

    def __init__(self, config: CoSwinConfig) -> None:
        super().__init__(config)
        total = sum(config.depths)
        rates = [config.drop_path_rate * i / max(total - 1, 1) for i in range(total)]
        starts = [sum(config.depths[:i]) for i in range(len(config.depths))]
        self.stages = nn.ModuleList(
            CoSwinStage(config, i, rates[start : start + config.depths[i]]) for i, start in enumerate(starts)
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, WindowAttention):
            init.trunc_normal_(module.relative_position_bias_table, std=self.config.initializer_range)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False, **_: Any) -> BaseModelOutputWithPooling:
        """Encode normalized images.

        pixel_values: (B, 3, H, W), normalized RGB, float.
        Returns last_hidden_state (B, N, C) tokens in row-major order after the final norm; pooler_output (B, C), their
        mean; with output_hidden_states, hidden_states: the pyramid, one (B, C_i, H_i, W_i) for each stage.
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
