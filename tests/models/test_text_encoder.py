import torch

from florence_rag.models.text_encoder import TextEncoderConfig, TextEncoderModel

END = 2


def encoder() -> TextEncoderModel:
    torch.manual_seed(0)
    config = TextEncoderConfig(
        vocab_size=20,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
        bos_token_id=1,
        eos_token_id=END,
    )
    return TextEncoderModel(config).eval()


def test_attention_is_causal() -> None:
    model = encoder()
    one, other = torch.tensor([[1, 5, 6, 7, END]]), torch.tensor([[1, 5, 6, 9, END]])
    states, others = model(one).last_hidden_state, model(other).last_hidden_state
    assert torch.equal(states[:, :3], others[:, :3])
    assert not torch.allclose(states[:, 3:], others[:, 3:])


def test_tokens_after_the_end_have_no_influence() -> None:
    model = encoder()
    short = model(torch.tensor([[1, 5, 6, END]])).pooler_output
    for padding in (0, END, 13):
        padded = model(torch.tensor([[1, 5, 6, END, padding, padding, padding]])).pooler_output
        torch.testing.assert_close(padded, short)
