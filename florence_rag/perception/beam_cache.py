"""A beam search whose beams share the keys and values of their image, for BART and decoders of its shape.

`generate` of transformers repeats the output of the encoder for each beam, projects every copy, and copies all keys and
values again whenever beams change places, although those of an image are equal.
"""

from typing import Any

from torch import LongTensor, Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache
from transformers.models.bart.modeling_bart import BartAttention


class BeamCache(EncoderDecoderCache):
    """A cache for `generate` that holds the keys and values of each image once for all its beams.

    The decoder must have been prepared by `share_cross_attention`.
    """

    def __init__(self, beams: int) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.beams = beams

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        """Reorder what differs between beams: a beam only takes the place of another one of the same image."""
        self.self_attention_cache.reorder_cache(beam_idx)


def share_cross_attention(decoder: nn.Module) -> None:
    """Let a decoder read each image once for all its beams, if the cache of a search is a `BeamCache`."""
    layers: Any = decoder.layers
    for layer in layers:
        layer.encoder_attn.__class__ = _SharedCrossAttention


class _SharedCrossAttention(BartAttention):
    def forward(
        self,
        hidden_states: Tensor,
        key_value_states: Tensor | None = None,
        past_key_values: Any = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from beams (B * beams, 1, D) as from the positions of one query, (B, beams, D)."""
        shape, beams = hidden_states.shape, 1
        if isinstance(past_key_values, BeamCache):
            beams = past_key_values.beams
            hidden_states = hidden_states.view(-1, beams, shape[-1])
        output, weights = super().forward(
            hidden_states,
            None if key_value_states is None else key_value_states[::beams],
            past_key_values,
            None if attention_mask is None else attention_mask[::beams],
            **kwargs,
        )
        return output.view(shape), weights
