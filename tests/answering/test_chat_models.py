import sys

import pytest

from florence_rag.errors import MissingExtraError, ModelError


def test_an_unknown_name_says_what_a_name_looks_like():
    from florence_rag.answering.chat_models import open_chat_model

    with pytest.raises(ModelError, match="cannot open the chat model 'nonsense', expected provider:model"):
        open_chat_model("nonsense")


def test_without_langchain_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "florence_rag.answering.chat_models", raising=False)
    monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'florence-rag\[llm\]'"):
        import florence_rag.answering.chat_models  # noqa: F401
