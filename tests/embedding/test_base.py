import logging

import numpy as np
import pytest

from florence_rag.embedding.base import TextLimit, unit_rows
from florence_rag.errors import InputError


def test_unit_rows_have_length_one_and_keep_their_direction():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, -2.0]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-6)


def test_a_row_of_zeros_stays_zero_instead_of_becoming_nan():
    assert not unit_rows(np.zeros((1, 3))).any()


def tokenizer(text, **options):
    """Tokenize into words between a start and an end marker."""
    assert options == {"truncation": False, "verbose": False}
    return {"input_ids": ["<s>", *text.split(), "</s>"]}


def test_a_truncated_text_is_logged_once(caplog):
    limit = TextLimit("small", 5, tokenizer)
    with caplog.at_level(logging.WARNING):
        limit.check(["a b c", "a"])
        assert not caplog.records
        limit.check(["a", "a b c d e"])
        limit.check(["a b c d e f"])
    assert [record.getMessage() for record in caplog.records] == [
        "small reads 5 tokens of a text; the vector of a text with 7 tokens ignores the rest of it"
    ]


def test_refuse_applies_to_every_long_text():
    limit = TextLimit("small", 5, tokenizer, "error")
    for _ in range(2):
        with pytest.raises(InputError, match=r"small reads 5 tokens of a text, and 'a b c d e'\.\.\. has 7"):
            limit.check(["a b c d e"])
    limit.check(["a b c"])
    limit.check([])


def test_a_short_text_is_not_counted():
    TextLimit("small", 8, lambda text, **_: pytest.fail("counted")).check(["abcdef"])


def test_an_unknown_policy_is_an_error():
    with pytest.raises(InputError, match="'shorten'; allowed are 'truncate' and 'error'"):
        TextLimit("small", 5, tokenizer, "shorten")
