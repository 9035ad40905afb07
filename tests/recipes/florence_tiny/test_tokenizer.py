import pytest

from recipes.florence_tiny.tokenizer import BOS, EOS, PAD
from recipes.florence_tiny.train import TinyShape, build_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TinyShape(), scenes=200)


def test_words_of_the_scenes_are_single_tokens(tokenizer):
    for word in ("hydrant", "bicycle", "yellow", "left", "many"):
        assert len(tokenizer.tokenize(word)) == 1, word


def test_case_and_special_tokens(tokenizer):
    upper, lower = tokenizer(["A RED Car", "a red car"])["input_ids"]
    assert upper == lower
    assert lower[0] == BOS and lower[-1] == EOS
    assert tokenizer.pad_token_id == PAD


def test_any_text_has_tokens_and_comes_back(tokenizer):
    text = "zebra 赤い, naïve"
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).strip() == text


def test_long_text_keeps_its_end_token(tokenizer):
    ids = tokenizer("a red car " * 100, truncation=True)["input_ids"]
    assert len(ids) == TinyShape().max_tokens
    assert ids[-1] == EOS
