"""Florence's language encoder: a causal transformer like CLIP's, pooled at the end-of-text token.

Papers: Florence (arXiv 2111.11432, section 2.1), CLIP (arXiv 2103.00020, section 2.4).
Reference code: microsoft/UniCL, whose LayerNorms use eps 1e-12.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling


class TextEncoderConfig(PreTrainedConfig):
    """Configuration of the encoder; max_position_embeddings counts the start token and the end token."""

    model_type = "florence_text"

    vocab_size: int = 49408
    hidden_size: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = None
    bos_token_id: int | None = 49406
    eos_token_id: int | list[int] | None = 49407

    @classmethod
    def paper(cls, **changes: Any) -> TextEncoderConfig:
        """12 layers and 256M parameters, as published; the width that gives them is derived, not published."""
        shape = {"hidden_size": 1152, "num_attention_heads": 18, "max_position_embeddings": 76}
        return cls(**{**shape, **changes})


class TextBlock(nn.Module):
    """Pre-norm causal self-attention and MLP."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C)."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class TextEncoderModel(PreTrainedModel):
    """Token ids -> token features and the feature of the end-of-text token.

    Attention is causal and the first end-of-text token is the pooled one, so that padding after it has no influence and
    no attention mask is needed.
    """

    config_class = TextEncoderConfig
    base_model_prefix = "text_encoder"
    main_input_name = "input_ids"
    _no_split_modules = ["TextBlock"]

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Parameter(torch.zeros(config.max_position_embeddings, config.hidden_size))
        self.blocks = nn.ModuleList(TextBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, TextEncoderModel):
            init.normal_(module.position_embedding, std=self.config.initializer_range)

    def forward(self, input_ids: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Encode token ids (B, L) int64, each row with an end-of-text token, L <= max_position_embeddings.

        Returns last_hidden_state (B, L, C) and pooler_output (B, C), the feature at the first end-of-text token.
        """
        x = self.token_embedding(input_ids) + self.position_embedding[: input_ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        end = (input_ids == self.config.eos_token_id).int().argmax(dim=-1)
        return BaseModelOutputWithPooling(
            last_hidden_state=x,
            pooler_output=x[torch.arange(len(x), device=x.device), end],
        )


AutoConfig.register(TextEncoderConfig.model_type, TextEncoderConfig)
AutoModel.register(TextEncoderConfig, TextEncoderModel)
