"""Florence's dual encoder: images and texts in one space, trained with unified contrastive learning.

Papers: Florence (arXiv 2111.11432, section 2.1), UniCL (arXiv 2204.03610, equations 2 and 3).
Reference code: microsoft/UniCL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from florence_rag.models.coswin import CoSwinConfig, CoSwinModel
from florence_rag.models.text_encoder import TextEncoderConfig, TextEncoderModel


class FlorenceConfig(PreTrainedConfig):
    """Configuration of both encoders and their shared space; logit_scale_init_value is log(1 / temperature)."""

    model_type = "florence"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {"image_config": CoSwinConfig, "text_config": TextEncoderConfig}

    image_config: CoSwinConfig | dict[str, Any] | None = None
    text_config: TextEncoderConfig | dict[str, Any] | None = None
    projection_dim: int = 512
    logit_scale_init_value: float = math.log(1 / 0.07)

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.image_config, CoSwinConfig):
            self.image_config = CoSwinConfig(**(self.image_config or {}))
        if not isinstance(self.text_config, TextEncoderConfig):
            self.text_config = TextEncoderConfig(**(self.text_config or {}))
        super().__post_init__(**kwargs)

    @classmethod
    def paper(cls) -> FlorenceConfig:
        """Florence-CoSwin-H: 637M parameters for images and 256M for texts."""
        return cls(image_config=CoSwinConfig.huge(), text_config=TextEncoderConfig.paper(), projection_dim=1024)


@dataclass
class FlorenceOutput(ModelOutput):
    """image_embeds (B_i, D) and text_embeds (B_t, D), unit length; logits_per_image (B_i, B_t); loss ()."""

    loss: Tensor | None = None
    logits_per_image: Tensor | None = None
    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None


def unicl_loss(image_embeds: Tensor, text_embeds: Tensor, scale: Tensor, positives: Tensor) -> Tensor:
    """Return the bidirectional contrastive loss with several positives, L_i2t + L_t2i (UniCL, equations 2 and 3).

    Args:
        image_embeds: Unit vectors, (B, D).
        text_embeds: Unit vectors, (B, D).
        scale: The inverse temperature tau, ().
        positives: A label for each pair, (B,), where pairs with equal labels are positives of each other; or (B, B)
            bool, true if text j describes image i, with a true value in each row and column.

    Returns:
        The mean over images plus the mean over texts, (). If all labels differ, this is CLIP's loss, summed.
    """
    logits = scale * image_embeds @ text_embeds.T
    if positives.ndim == 1:
        positives = positives[:, None] == positives[None, :]
    weights = positives.to(logits.dtype)
    image_to_text = -(logits.log_softmax(dim=1) * weights).sum(dim=1) / weights.sum(dim=1)
    text_to_image = -(logits.log_softmax(dim=0) * weights).sum(dim=0) / weights.sum(dim=0)
    return image_to_text.mean() + text_to_image.mean()


class FlorenceModel(PreTrainedModel):
    """Image encoder and text encoder, each with one linear projection, and a learned temperature."""

    config_class = FlorenceConfig
    base_model_prefix = "florence"
    main_input_name = "pixel_values"

    def __init__(self, config: FlorenceConfig) -> None:
        super().__init__(config)
        image_config: Any = config.image_config
        text_config: Any = config.text_config
        self.image_encoder = CoSwinModel(image_config)
        self.text_encoder = TextEncoderModel(text_config)
        self.image_projection = nn.Linear(image_config.hidden_size, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(config.logit_scale_init_value))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FlorenceModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
            for projection in (module.image_projection, module.text_projection):
                init.normal_(projection.weight, std=projection.in_features**-0.5)

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) normalized RGB -> (B, D), unit length."""
        return F.normalize(self.image_projection(self.image_encoder(pixel_values).pooler_output), dim=-1)

    def get_text_features(self, input_ids: Tensor, **_: Any) -> Tensor:
        """(B, L) token ids with an end-of-text token -> (B, D), unit length."""
        return F.normalize(self.text_projection(self.text_encoder(input_ids).pooler_output), dim=-1)

    def forward(
        self, pixel_values: Tensor, input_ids: Tensor, positives: Tensor | None = None, **_: Any
    ) -> FlorenceOutput:
        """Compare images (B_i, 3, H, W) with texts (B_t, L); `positives`, see unicl_loss, give the loss."""
        image_embeds = self.get_image_features(pixel_values)
        text_embeds = self.get_text_features(input_ids)
        scale = self.logit_scale.exp()
        # CLIP's clamp: a larger scale than 100 makes training unstable. UniCL's outputs have none.
        limited = scale.clamp(max=100.0)
        return FlorenceOutput(
            loss=None if positives is None else unicl_loss(image_embeds, text_embeds, limited, positives),
            logits_per_image=scale * image_embeds @ text_embeds.T,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
        )


AutoConfig.register(FlorenceConfig.model_type, FlorenceConfig)
AutoModel.register(FlorenceConfig, FlorenceModel)
