import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration

from florence_rag.perception.beam_cache import BeamCache, share_cross_attention

TEXTS = torch.randint(4, 50, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("beams", [1, 4])
def test_a_search_finds_what_it_finds_for_each_input_alone_and_without_padding(beams):
    torch.manual_seed(0)
    shape = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    size = dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim"), 16)
    model = BartForConditionalGeneration(BartConfig(vocab_size=50, init_std=0.5, **shape, **size)).eval()
    options = {"num_beams": beams, "num_return_sequences": beams, "max_new_tokens": 15, "no_repeat_ngram_size": 1}
    lengths = [12, 5, 9]
    alone = [model.generate(text[None, :length], **options) for text, length in zip(TEXTS, lengths, strict=True)]
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    share_cross_attention(model.model.decoder)
    together = model.generate(TEXTS, attention_mask=mask.long(), past_key_values=BeamCache(beams), **options)
    assert torch.equal(together, torch.cat(alone))
    assert len(together.unique(dim=0)) > 2
    assert torch.equal(model.generate(TEXTS[:1], **options), alone[0])  # other caches work as before
