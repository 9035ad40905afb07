"""Calls to Milvus Lite need a token: see also test_joined.py."""

from pathlib import Path

import pytest

from florence_rag.errors import StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.client import connect
from florence_rag.index.lite.engine import LiteDatabase


@pytest.mark.parametrize("token", ["", "wrong", "root:Milvus"])
def test_calls_without_the_token_are_refused(db, index, token):
    uri = LiteDatabase.running[Path(db)].endpoint.uri
    with pytest.raises(StoreUnavailableError, match="refuses access"):
        connect(Address.parse(db), uri, token)
