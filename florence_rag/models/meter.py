"""METER: a question and an image, each encoded by its own transformer, fused by co-attention.

Dou et al., "An Empirical Study of Training End-to-End Vision-and-Language Transformers", arXiv 2111.02387, section 3;
reference code: zdou0830/METER. Differs: learned positions may be added to the image tokens
(MeterConfig.num_image_positions), and several texts may share one encoded image.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.utils.generic import ModelOutput

from florence_rag.errors import ModelError
from florence_rag.models.coswin import CoSwinConfig

Head = Literal["vqa", "itm", "mlm", "rank", "nlvr2", "snli"]
"""A task of METER: see meter_heads.py."""


@strict
class MeterConfig(PreTrainedConfig):
    """Configuration of METER. The defaults are those of the released CLIP ViT-B/16 + RoBERTa-base checkpoints.

    The sizes without a prefix are those of the fusion layers.

    Args:
        text_config: The configuration of the text encoder.
        image_config: The configuration of the image encoder.
        image_pooling: The pooled image state: the "first" token (CLIP) or the "mean" of all (Swin, CoSwin).
        num_image_positions: The number of learned positions added to the projected image tokens; 0 for none. An image
            encoder without absolute positions needs them to distinguish left from right.
        num_token_types: 2, or 3 for models that compare two images.
        heads: The heads of the checkpoint, see meter_heads.py.
        answers: The answer vocabulary in the order of the outputs, if it is known.
    """

    model_type = "meter"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "text_config": RobertaConfig,
        "image_config": SubConfigSpec(AutoConfig, model_type="clip_vision_model"),
    }

    text_config: RobertaConfig | dict[str, Any] | None = None
    image_config: CoSwinConfig | CLIPVisionConfig | dict[str, Any] | None = None
    hidden_size: int = 768
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 3072
    dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    image_pooling: Literal["first", "mean"] = "first"
    num_image_positions: int = 0
    num_token_types: int = 2
    max_text_length: int = 50
    heads: list[str] | tuple[str, ...] = ("vqa",)
    num_answers: int = 3129
    answers: list[str] | tuple[str, ...] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.answers is not None:
            self.answers = list(self.answers)
            self.num_answers = len(self.answers)
            self.id2label = dict(enumerate(self.answers))
            self.label2id = {answer: i for i, answer in enumerate(self.answers)}
        self.heads = list(self.heads)
        super().__post_init__(**kwargs)
        if unknown := sorted(set(self.heads) - set(get_args(Head))):
            raise ModelError(f"unknown METER heads {unknown!r}; allowed: {', '.join(get_args(Head))}")
        if self.hidden_size % self.num_heads:
            raise ModelError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        text: Any = self.text_config
        longest = text.max_position_embeddings - text.pad_token_id - 1
        if self.max_text_length > longest:
            raise ModelError(f"max_text_length {self.max_text_length} exceeds the {longest} positions of text_config")


class Attention(nn.Module):
    """Multi-head attention of states over memory, then dropout, residual and LayerNorm (post-LN)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """States (B, S, C), memory (B, M, C), mask (B, 1, 1, M) True where states attend -> (B, S, C)."""
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(states)),
            self._split(self.key(memory)),
            self._split(self.value(memory)),
            attn_mask=mask,
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        mixed = self.output(mixed.transpose(1, 2).flatten(2))
        return self.norm(states + self.dropout(mixed))

    def weights(self, states: Tensor, memory: Tensor) -> Tensor:
        """Return the attention of each state to each memory token, averaged over the heads: (B, S, M)."""
        query, key = self._split(self.query(states)), self._split(self.key(memory))
        return (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1).mean(1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Linear, GELU, linear, then dropout, residual and LayerNorm (post-LN)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        return self.norm(states + self.dropout(self.down(F.gelu(self.up(states)))))


class FusionLayer(nn.Module):
    """One layer of one stream: self-attention, cross-attention, feed-forward (figure 3b of the paper)."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.self_attention = Attention(config)
        self.cross_attention = Attention(config)
        self.feed_forward = FeedForward(config)

    def forward(self, states: Tensor, other: Tensor, mask: Tensor | None, other_mask: Tensor | None) -> Tensor:
        """States (B, S, C), other (B, M, C), masks (B, 1, 1, S) and (B, 1, 1, M) -> (B, S, C)."""
        states = self.self_attention(states, states, mask)
        states = self.cross_attention(states, other, other_mask)
        return self.feed_forward(states)

    def cross_weights(self, states: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention of each state to the other stream, averaged over the heads: (B, S, M), rows sum to 1."""
        return self.cross_attention.weights(self.self_attention(states, states, mask), other)


class Pooler(nn.Module):
    """Linear and tanh over one token."""

    def __init__(self, config: MeterConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, token: Tensor) -> Tensor:
        """(B, C) -> (B, C) in (-1, 1)."""
        return torch.tanh(self.dense(token))


@dataclass
class MeterOutput(ModelOutput):
    """text_states (B, T, C), image_states (B, N, C), pooler_output (B, 2C): text, then image.

    On request, cross_attentions holds the attention of words to image tokens in each layer (B, T, N), and
    hidden_states the text states (B, T, C) after each layer.
    """

    text_states: Tensor | None = None
    image_states: Tensor | None = None
    pooler_output: Tensor | None = None
    cross_attentions: tuple[Tensor, ...] | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class MeterPreTrainedModel(PreTrainedModel):
    """Settings of every METER network."""

    config: MeterConfig
    config_class = MeterConfig
    base_model_prefix = "meter"
    main_input_name = "input_ids"
    _supports_sdpa = True


class MeterModel(MeterPreTrainedModel):
    """The two encoders and the fusion, without a head."""

    _keys_to_ignore_on_load_unexpected = [r"^heads\."]

    def __init__(self, config: MeterConfig) -> None:
        super().__init__(config)
        text_config: Any = config.text_config
        image_config: Any = config.image_config
        self.text_encoder = RobertaModel(text_config, add_pooling_layer=False)
        self.image_encoder = AutoModel.from_config(image_config)
        self.text_projection = nn.Linear(text_config.hidden_size, config.hidden_size)
        self.image_projection = nn.Linear(image_config.hidden_size, config.hidden_size)
        self.token_types = nn.Embedding(config.num_token_types, config.hidden_size)
        self.image_positions = (
            nn.Embedding(config.num_image_positions, config.hidden_size) if config.num_image_positions else None
        )
        self.text_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_layers))
        self.image_layers = nn.ModuleList(FusionLayer(config) for _ in range(config.num_layers))
        self.text_pooler = Pooler(config)
        self.image_pooler = Pooler(config)
        self.post_init()

    def encode_images(self, pixel_values: Tensor) -> Tensor:
        """Encode normalized images (B, 3, H, W) -> (B, N, C) tokens of the image encoder, before the projection.

        Encode an image once to ask several questions about it with forward(image_embeds=...).
        """
        tokens: Tensor = self.image_encoder(pixel_values).last_hidden_state
        # CLIP normalizes only its first token, METER uses all of them.
        post_norm = getattr(self.image_encoder, "post_layernorm", None)
        return tokens if post_norm is None else post_norm(tokens)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_embeds: Tensor | None = None,
        image_index: Tensor | None = None,
        image_token_type: int = 1,
        output_cross_attentions: bool = False,
        output_hidden_states: bool = False,
    ) -> MeterOutput:
        """Fuse B texts with P images (section 3.2).

        Args:
            input_ids: Token ids, (B, T).
            attention_mask: 1 for words, 0 for padding, (B, T).
            pixel_values: Normalized images, (P, 3, H, W), unless there are image_embeds.
            image_embeds: Image tokens of `encode_images`, (P, N, C).
            image_index: The image of each text, (B,), required if P differs from B.
            image_token_type: The token type of the images; 2 marks the second image of a pair.
            output_cross_attentions: Whether to return the attention of words to image tokens.
            output_hidden_states: Whether to return the text states of each layer.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if pixel_values is not None and image_embeds is None:
            image_embeds = self.encode_images(pixel_values)
        elif pixel_values is not None or image_embeds is None:
            raise ModelError("METER needs either pixel_values or image_embeds, and not both")
        image = self._project_image(image_embeds, image_token_type)
        text = self.text_encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        text = self.text_projection(text) + self.token_types.weight[0]
        if image_index is not None:
            image = image[image_index]
        mask = attention_mask.bool()[:, None, None, :]
        weights, states = [], []
        layers: Any = zip(self.text_layers, self.image_layers, strict=True)
        for text_layer, image_layer in layers:
            if output_cross_attentions:
                weights.append(text_layer.cross_weights(text, image, mask))
            # Both streams attend to the state of the other before this layer.
            text, image = text_layer(text, image, mask, None), image_layer(image, text, None, mask)
            if output_hidden_states:
                states.append(text)
        pooled_image = image[:, 0] if self.config.image_pooling == "first" else image.mean(1)
        pooled = torch.cat([self.text_pooler(text[:, 0]), self.image_pooler(pooled_image)], dim=-1)
        return MeterOutput(text, image, pooled, tuple(weights) or None, tuple(states) or None)

    def _project_image(self, tokens: Tensor, token_type: int) -> Tensor:
        image = self.image_projection(tokens) + self.token_types.weight[token_type]
        if self.image_positions is None:
            return image
        if image.shape[1] != self.image_positions.num_embeddings:
            raise ModelError(
                f"{image.shape[1]} image tokens, but this model learned {self.image_positions.num_embeddings} "
                "positions; use images of the size it was trained on"
            )
        return image + self.image_positions.weight


AutoConfig.register(MeterConfig.model_type, MeterConfig)
AutoModel.register(MeterConfig, MeterModel)
