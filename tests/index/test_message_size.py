"""Tests of messages that are too large for a server, which are divided."""

from types import SimpleNamespace

import grpc
import pytest

from florence_rag.errors import StoreError
from florence_rag.index.connection import Connection


class TooLarge(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self):
        return "received message larger than max"


@pytest.fixture
def limit(index, monkeypatch):
    """Makes a method of the client refuse calls of a size over 3."""
    client = index.chunks.connection.client

    def limit_it(name, size):
        method = getattr(client, name)

        def limited(*args, **options):
            if size(*args, **options) > 3:
                raise TooLarge
            return method(*args, **options)

        monkeypatch.setattr(client, name, limited)

    return limit_it


def test_rows_are_written_and_read_in_parts(index, put, unit, limit):
    limit("upsert", lambda collection, rows, **rest: len(rows))
    limit("query", lambda collection, filter, *rest, **options: filter.count('", "'))
    limit("search", lambda *args, output_fields, **rest: len(output_fields))
    put(index, n=10)
    hits = index.search_vector(unit()[0], 10)
    assert {hit.text for hit in hits} == {f"passage {i}" for i in range(10)}
    assert [hit.id for hit in index.get([hit.id for hit in hits])] == [hit.id for hit in hits]


def test_a_row_that_is_too_large_alone_is_an_error(index, put, limit):
    limit("upsert", lambda *args, **rest: 4)
    with pytest.raises(StoreError, match="larger than max"):
        put(index)
        index.flush_buffer()


def test_smaller_pages_continue_after_the_last_row():
    rows, read = [{"id": id} for id in "abcdefgh"], []

    def pages(collection, fields, filter, page_rows, user_filter):
        for row in rows:
            if row["id"] > (filter[-2] if filter else ""):
                if row["id"] > "c" and page_rows > 200:
                    raise StoreError("too large") from TooLarge()
                read.append(page_rows)
                yield row

    assert list(Connection._stored_rows(SimpleNamespace(_pages=pages), "c", ["id"], "", None)) == rows
    assert read == [1000] * 3 + [125] * 5
