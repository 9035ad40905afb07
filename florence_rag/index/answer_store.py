"""Cached answers about images, in a collection of their own next to the index."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from hashlib import blake2b

import numpy as np

from florence_rag.index.base import CachedAnswer
from florence_rag.index.connection import Connection
from florence_rag.index.literals import literal
from florence_rag.index.records import FAULTS, damage_reported, describe, parse, with_checksum
from florence_rag.index.rows import Row
from florence_rag.index.schema import answer_spec
from florence_rag.index.text_codec import truncate
from florence_rag.text_arguments import MAX_TEXT_BYTES
from florence_rag.types import EmbedderInfo

_FIELDS = ["id", "location", "model", "body"]


class MilvusAnswerStore:
    """An `AnswerStore` in Milvus. The answers of each embedder's vectors lie in a collection of their own."""

    def __init__(self, connection: Connection, collection: str, embedder: EmbedderInfo) -> None:
        self._connection = connection
        self._name = f"{collection}_answers_{embedder.digest}"
        connection.open_collection(answer_spec(self._name, 2 * embedder.dimension))

    def get(self, id: str) -> CachedAnswer | None:
        """Return the answer with this id, or None."""
        row = self._connection.rows_of(self._name, [id], _FIELDS).get(id)
        return self._answer(row) if row else None

    def nearest(self, vector: np.ndarray, model: str, k: int) -> list[CachedAnswer]:
        """Return the k answers of a model whose vectors are nearest to vector (2 D,), nearest first."""
        found = self._connection.search(
            self._name,
            "vector",
            vector.tolist(),
            limit=k,
            expression=f"model == {literal(model)}",
            params={},
            fields=_FIELDS,
        )
        return [self._answer(row) for row, _ in found]

    def put(self, answer: CachedAnswer, vector: np.ndarray) -> None:
        """Store an answer with the vector (2 D,) of its question and image."""
        row = {"id": answer.id, "location": _digest(answer.location), "model": answer.model, "vector": vector}
        body = with_checksum(asdict(answer))
        assert truncate(body, MAX_TEXT_BYTES) == body  # a question is short, and an image sample has 4 kB
        self._connection.upsert(self._name, [{**row, "body": body}])

    def delete_outdated(self, location: str, image_digest: str) -> None:
        """Delete the answers about other images that were at this location before."""
        expression = f"location == {literal(_digest(location))}"
        rows = list(self._connection.rows(self._name, _FIELDS, expression))
        for row in rows:
            if self._answer(row).image_digest != image_digest:
                self._connection.delete(self._name, [row["id"]])

    def damaged(self) -> Iterator[tuple[str, str]]:
        """Iterate over the ids of the answers that cannot be read, each with what is wrong."""
        for row in self._connection.rows(self._name, _FIELDS):
            try:
                row_to_answer(row)
            except FAULTS as error:
                yield row["id"], describe(error)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete answers by their ids."""
        self._connection.delete(self._name, ids)

    def clear(self) -> int:
        """Delete all answers, and return their number."""
        ids = [row["id"] for row in self._connection.rows(self._name, ["id"])]
        self._connection.delete(self._name, ids)
        return len(ids)

    def count(self) -> int:
        """Return the number of answers."""
        return self._connection.count(self._name)

    def _answer(self, row: Row) -> CachedAnswer:
        with damage_reported(f"the cached answer {row['id']!r:.80}", self._connection.address):
            return row_to_answer(row)


def _digest(location: str) -> str:
    return blake2b(location.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def row_to_answer(row: Row) -> CachedAnswer:
    """Return the answer of a row; raise one of `records.FAULTS` if it is damaged."""
    return parse(row["body"], CachedAnswer)
