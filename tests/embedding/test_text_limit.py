import logging

import pytest

from florence_rag.embedding.text_limit import TextLimit
from florence_rag.errors import InputError


def words(text):
    return len(text.split()) + 2


def test_that_a_text_is_cut_is_said_once(caplog):
    limit = TextLimit("small", 5, words)
    with caplog.at_level(logging.WARNING):
        limit.check(["a b c", "a"])
        assert not caplog.records
        limit.check(["a", "a b c d e"])
        limit.check(["a b c d e f"])
    assert [record.getMessage() for record in caplog.records] == [
        "small reads 5 tokens of a text; the vector of a text with 7 tokens ignores the rest of it"
    ]


def test_a_long_text_is_refused_if_asked_for_every_time():
    limit = TextLimit("small", 5, words, "refuse")
    for _ in range(2):
        with pytest.raises(InputError, match=r"small reads 5 tokens of a text, and 'a b c d e'\.\.\. has 7"):
            limit.check(["a b c d e"])
    limit.check(["a b c"])
    limit.check([])


def test_most_texts_are_not_counted():
    TextLimit("small", 8, lambda text: pytest.fail("counted")).check(["abcdef"])


def test_an_unknown_policy():
    with pytest.raises(InputError, match="'shorten'; allowed are 'cut' and 'refuse'"):
        TextLimit("small", 5, words, "shorten")
