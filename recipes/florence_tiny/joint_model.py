"""The dual encoder and METER over one image encoder, trained together.

An image is encoded once for a caption, several questions and several statements. Later METER gets its own copy of the
image encoder: tokens that only serve a mean over the image need not encode where in the image an object is.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from florence_rag.models.florence import FlorenceModel, unicl_loss
from florence_rag.models.meter_heads import MeterForMultipleTasks
from recipes.florence_tiny.grounding import PlaceHeads


class JointModel(nn.Module):
    """Sums the UniCL loss and the losses of METER: answers, image-text matching, masked language modeling."""

    def __init__(self, florence: FlorenceModel, meter: MeterForMultipleTasks) -> None:
        super().__init__()
        self.florence = florence
        self.meter = meter
        # The dual encoder owns the image encoder; METER receives its tokens.
        self.meter.meter.image_encoder = nn.Identity()
        self.place_heads = PlaceHeads(meter.config.hidden_size)

    def split(self) -> None:
        """Give METER its own copy of the image encoder."""
        if not self.is_split:
            self.meter.meter.image_encoder = deepcopy(self.florence.image_encoder)

    @property
    def is_split(self) -> bool:
        """Whether each model has its own image encoder."""
        return not isinstance(self.meter.meter.image_encoder, nn.Identity)

    def forward(
        self,
        pixel_values: Tensor,
        caption_ids: Tensor,
        positives: Tensor,
        asked: dict[str, Any] | None = None,
        masked: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the sum of the losses and each of them.

        Args:
            pixel_values: (P, 3, H, W).
            caption_ids: (P, L).
            positives: (P, P), as in unicl_loss.
            asked: Questions and statements for METER: `input_ids` and `attention_mask` (T, L), `image_index` (T,),
                `labels`, head -> (T, ...), with -100 for texts that a head ignores; optionally `regions` (T, L, N)
                and `places` (T, 2), see PlaceHeads.
            masked: Masked captions for METER, in the same form.
        """
        encoder = self.meter.meter.image_encoder if self.is_split else self.florence.image_encoder
        encoded = encoder(pixel_values)
        losses: dict[str, Tensor] = {}
        for name, texts in (("asked", asked), ("masked", masked)):
            if texts is not None:
                losses.update(self._fused(name, encoded.last_hidden_state, **texts))
        if not self.is_split:
            losses["contrastive"] = self._contrastive(encoded.pooler_output, caption_ids, positives)
        return {"loss": torch.stack([*losses.values()]).sum(), **{name: loss.detach() for name, loss in losses.items()}}

    def _fused(
        self, name: str, tokens: Tensor, regions: Tensor | None = None, places: Tensor | None = None, **texts: Any
    ) -> dict[str, Tensor]:
        grounded = regions is not None
        output = self.meter(
            image_embeds=tokens, output_cross_attentions=grounded, output_hidden_states=grounded, **texts
        )
        losses: dict[str, Tensor] = {name: output.loss}
        if grounded:
            named = self.place_heads(output.fusion, regions, places)
            losses.update({f"{name}_{part}": loss for part, loss in named.items()})
        return losses

    def _contrastive(self, pooled: Tensor, caption_ids: Tensor, positives: Tensor) -> Tensor:
        image_embeds = F.normalize(self.florence.image_projection(pooled).float(), dim=-1)
        text_embeds = self.florence.get_text_features(caption_ids).float()
        scale = self.florence.logit_scale.exp().clamp(max=100.0)
        return unicl_loss(image_embeds, text_embeds, scale, positives)

    def models(self) -> tuple[FlorenceModel, MeterForMultipleTasks]:
        """Return the two models, each with its own image encoder."""
        self.split()
        return self.florence, self.meter
