"""A test set for the search of your own index: queries taken from its chunks, and the chunks that each should find.

A query must not find its chunk only because the chunk contains it. So each field is used in its own way:

    caption      A caption is the query. Searches by words are left out, because they read captions, too; what is
                 measured is the vector of the image, page or clip, which is made from pixels.
    tags         A tag that a person assigned is the query. No search reads tags, so nothing is left out.
    ocr, text    A few words that stand near each other are the query, drawn from OCR text, a passage, a text layer or a
                 transcript, as a person remembers them. Nothing is left out: this measures how a known item is found
                 by its words.

The files are those of BEIR in JSON Lines: queries.jsonl and qrels.jsonl. The index takes the place of the corpus.
"""

from __future__ import annotations

import heapq
import json
import math
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args

from florence_rag.datasets.dataset_io import Record, read_table
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkReader, Filter
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.text_arguments import check_query_text, to_path
from florence_rag.tokenize import content, shorten
from florence_rag.types import Hit
from florence_rag.validation import validate_arguments

Field = Literal["caption", "tags", "ocr", "text"]
Level = Literal["chunk", "source"]
FIELDS: tuple[Field, ...] = get_args(Field)
LEVELS: tuple[Level, ...] = get_args(Level)
_MAX_QUERY = 500  # characters
_SPAN, _MIN_WORDS = 8, 4  # words that stand together; a query has half of them


@validate_arguments
@dataclass(frozen=True, slots=True)
class EvalQuery:
    """A query of a test set.

    Attributes:
        id: The id of the query.
        text: Its text.
        relevant: The gain, above 0, of each chunk or source that is right, by its id or uri.
        field: The field of the chunks that the query was taken from; "" for a query that a person wrote.
    """

    id: str
    text: str
    relevant: Mapping[str, float]
    field: str = ""

    @property
    def is_stored_text(self) -> bool:
        """Whether searches by words find the right chunks only because these contain the query."""
        return self.field == "caption"


@validate_arguments
@dataclass(frozen=True, slots=True)
class EvalSet:
    """Queries with the right chunks, or, at the level "source", with the files that contain these."""

    queries: tuple[EvalQuery, ...]
    level: Level = "chunk"

    def document(self, hit: Hit) -> str:
        """Return what names a hit in this test set: the id of the chunk, or the uri of its source."""
        return hit.uri if self.level == "source" else hit.id

    def write(self, folder: str | Path) -> None:
        """Write queries.jsonl and qrels.jsonl; raise InputError if the folder has one, or cannot be written to."""
        path = to_path(folder)
        queries = (
            {"_id": each.id, "text": each.text, "field": each.field, "level": self.level} for each in self.queries
        )
        qrels = (
            {"query-id": each.id, "corpus-id": document, "score": gain}
            for each in self.queries
            for document, gain in each.relevant.items()
        )
        if os.path.exists(path / "queries.jsonl"):
            raise InputError(f"{str(path)!r} has a test set already; delete it, or name another folder")
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name, rows in (("qrels", qrels), ("queries", queries)):
                (path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        except (OSError, ValueError) as error:
            raise InputError(f"the test set cannot be written to {str(path)!r:.300}: {error}") from error

    @classmethod
    def read(cls, folder: str | Path) -> EvalSet:
        """Read a test set that `write`, BEIR or a person wrote; raise InputError if it is not one."""
        path = to_path(folder)
        relevant: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for row in read_table(path / "qrels.jsonl", required=("query-id", "corpus-id", "score")):
            if (gain := _gain(row)) > 0:
                relevant[row.get("query-id", str)][row.get("corpus-id", str)] = gain
        queries, levels = dict[str, EvalQuery](), set[str]()
        for row in read_table(path / "queries.jsonl", required=("_id", "text")):
            query = EvalQuery(
                row.get("_id", str), check_query_text(row.get("text", str)), {}, row.get("field", str, "")
            )
            if query.id in queries or query.id not in relevant:
                problem = "is there twice" if query.id in queries else "has no right document in qrels.jsonl"
                raise InputError(f"the query {query.id!r:.80} of {str(path)!r} {problem}")
            queries[query.id] = EvalQuery(query.id, query.text, relevant[query.id], query.field)
            levels.add(row.get("level", str, "chunk"))
        level = next((each for each in LEVELS if levels == {each}), None)
        if level is None:
            raise InputError(f"the levels of {str(path)!r} are {sorted(levels)!r:.80}; use one of {', '.join(LEVELS)}")
        return cls(tuple(queries.values()), level)


def _gain(row: Record) -> float:
    try:
        if math.isfinite(gain := float(row.get("score", str))):
            return gain
    except ValueError:
        pass
    raise InputError(f"the score of {row.where} is {row.fields['score']!r:.60}; it must be a number")


@validate_arguments
def build_eval_set(
    index: ChunkReader,
    fields: Collection[Field] = FIELDS,
    *,
    limit: int = 200,
    level: Level = "chunk",
    filter: Filter | None = None,
) -> EvalSet:
    """Take queries from the chunks of an index: always the same ones from the same chunks.

    Args:
        index: The index, such as `rag.index`.
        fields: What to take queries from.
        limit: The most queries of each field, drawn at random.
        level: What counts as right: the chunk itself, or any chunk of its source. Databases with other chunks of the
            same files can be compared by source.
        filter: Which chunks.

    Raises:
        InputError: If no chunk has such a field.
    """
    if limit < 1:
        raise InputError(f"limit is {limit}; it must be at least 1")
    by_source = EvalSet((), level)
    samples = {field: _Sample(field, limit) for field in FIELDS if field in fields}
    for hit in index.find(filter=filter):
        for field, sample in samples.items():
            for text in _texts(hit, field):
                sample.add(text, by_source.document(hit))
    queries = tuple(query for sample in samples.values() for query in sample.queries())
    if not queries:
        raise InputError(
            f"no chunk has {' or '.join(samples)} to take queries from; run florence-rag index --ocr always, tag "
            "images, or write queries.jsonl and qrels.jsonl yourself"
        )
    return EvalSet(queries, level)


def _texts(hit: Hit, field: Field) -> Iterable[str]:
    if field == "tags":
        return _hand_tags(hit.metadata)
    if field == "caption" and hit.kind not in VISUAL_KINDS:
        return ()
    text = " ".join(getattr(hit, field).split())
    return [text] if text else ()


def _hand_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Return the tags that no model guessed."""
    tags, guessed = metadata.get("tags"), metadata.get("tags_guessed")
    given = tags if isinstance(tags, list) else []
    return [tag for tag in given if isinstance(tag, str) and tag.strip() and tag not in (guessed or ())]


class _Sample:
    """A random sample of distinct texts: those with the smallest digests. Equal texts are one query."""

    def __init__(self, field: Field, size: int) -> None:
        self._field, self._size = field, size
        self._found: dict[int, tuple[str, dict[str, float]]] = {}
        self._largest: list[int] = []  # a heap of the negative digests

    def add(self, text: str, document: str) -> None:
        """Take a text into the sample, if its digest is small enough and a query can be made of it."""
        digest = int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())
        if digest not in self._found:
            is_full = len(self._found) == self._size
            query = "" if is_full and digest > -self._largest[0] else self._query(text, digest)
            if not query:
                return
            if is_full:
                del self._found[-heapq.heappop(self._largest)]
            heapq.heappush(self._largest, -digest)
            self._found[digest] = query, {}
        self._found[digest][1][document] = 1.0

    def queries(self) -> Iterator[EvalQuery]:
        """Yield the queries in the order of their digests."""
        for digest, (text, relevant) in sorted(self._found.items()):
            yield EvalQuery(f"{self._field}-{digest:016x}", text, dict(sorted(relevant.items())), self._field)

    def _query(self, text: str, digest: int) -> str:
        """Return the query of a text, or "" if it has too few words."""
        if self._field in ("caption", "tags"):
            return shorten(text, _MAX_QUERY)
        words, drawn = [word.text for word in content(text)], Random(digest)
        start = drawn.randrange(max(1, len(words) - _SPAN + 1))
        near = words[start : start + _SPAN]
        if len(near) < _MIN_WORDS:
            return ""
        return " ".join(near[place] for place in sorted(drawn.sample(range(len(near)), (len(near) + 1) // 2)))
