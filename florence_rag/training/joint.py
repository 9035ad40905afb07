"""Both towers and METER over one image encoder, trained in one pass.

A picture is encoded once; a caption, several questions and several statements are held against it. After training the
two models part: each keeps its own copy of the image encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from florence_rag.models.florence import FlorenceModel, unicl_loss
from florence_rag.models.meter_heads import MeterForMultipleTasks


class JointModel(nn.Module):
    """Sum of the UniCL loss and METER's losses: answers, matching, masked words."""

    def __init__(self, florence: FlorenceModel, meter: MeterForMultipleTasks) -> None:
        super().__init__()
        self.florence = florence
        self.meter = meter
        # Held once, by the dual tower; METER is handed the tokens.
        self.meter.meter.image_encoder = nn.Identity()

    def freeze_towers(self, frozen: bool) -> None:
        """Whether only METER's text encoder, fusion and heads learn. Costs a third of a step with the towers."""
        self.florence.requires_grad_(not frozen)

    def forward(
        self,
        pixel_values: Tensor,
        caption_ids: Tensor,
        positives: Tensor,
        asked: dict[str, Any],
        masked: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """pixel_values (P, 3, H, W); caption_ids (P, L) with positives as in unicl_loss. asked and masked are texts
        for METER: input_ids and attention_mask (T, L), image_index (T,), labels: head -> (T, ...), -100 where a text
        is not meant for it.
        """
        encoded = self.florence.image_encoder(pixel_values)
        losses = {"asked": self.meter(image_embeds=encoded.last_hidden_state, **asked).loss}
        if masked is not None:
            losses["masked"] = self.meter(image_embeds=encoded.last_hidden_state, **masked).loss
        if self.florence.logit_scale.requires_grad:
            losses["contrastive"] = self._contrastive(encoded.pooler_output, caption_ids, positives)
        return {"loss": torch.stack([*losses.values()]).sum(), **{name: loss.detach() for name, loss in losses.items()}}

    def _contrastive(self, pooled: Tensor, caption_ids: Tensor, positives: Tensor) -> Tensor:
        image_embeds = F.normalize(self.florence.image_projection(pooled).float(), dim=-1)
        text_embeds = self.florence.get_text_features(caption_ids).float()
        scale = self.florence.logit_scale.exp().clamp(max=100.0)
        return unicl_loss(image_embeds, text_embeds, scale, positives)

    def parted(self) -> tuple[FlorenceModel, MeterForMultipleTasks]:
        """The two models, each whole."""
        self.meter.meter.image_encoder = self.florence.image_encoder
        return self.florence, self.meter
