"""One open collection of chunks, with the ledger of its sources and the form of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from florence_rag.batching import batched
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index import schema
from florence_rag.index.checksum import CHECKSUM, DAMAGED, verify
from florence_rag.index.collection_swap import CollectionSwap
from florence_rag.index.connection import Connection
from florence_rag.index.ledger import Entry, Ledger
from florence_rag.index.literals import one_of
from florence_rag.index.records import FAULTS, damage_reported
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import (
    MAX_ID_BYTES,
    STORED_FIELDS,
    TEXT_VECTOR_FIELDS,
    Row,
    checked_uri,
    id_bytes,
    row_to_hit,
)
from florence_rag.index.text_codec import decode_uri
from florence_rag.types import MEDIA_OF_KIND, EmbedderInfo, Hit, Source, item_uri

_URIS_PER_CALL = 200


class IntegrityReport(NamedTuple):
    """The numbers of present and expected rows of complete sources, and the sources whose numbers differ."""

    present: int
    expected: int
    damaged: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ChunkCollection:
    """What reading and writing need to know of a collection; none of it changes while the collection is open."""

    connection: Connection
    name: str
    ledger: Ledger
    swap: CollectionSwap
    embedder: EmbedderInfo
    text_embedder: EmbedderInfo | None
    index_type: str
    codec: RowCodec
    max_id_bytes: int
    has_bm25: bool

    @classmethod
    def open(cls, swap: CollectionSwap, name: str, embedder: EmbedderInfo, index_type: str | None) -> ChunkCollection:
        """Open the collection of this name, and create it if it does not exist."""
        connection, settings = swap.connection, swap.settings()
        dtype, text_embedder = settings.vector_dtype, settings.text_embedder
        ledger = swap.ledger_of(name)
        if ledger is not swap.ledger:
            ledger.open_for(embedder, create=True, text_embedder=text_embedder, vector_dtype=dtype)
        present = connection.index_type(name, "vector")
        wanted = connection.profile.choose_index_type(index_type, present)
        width = text_embedder.dimension if text_embedder else None
        spec = schema.chunk_spec(connection.profile, name, embedder.dimension, wanted, width, vector_dtype=dtype)
        connection.open_collection(spec, reindex=present not in (None, wanted))
        description = connection.describe(name)
        fields = {each["name"]: each for each in description["fields"]}
        flat, nulls = bool(description["enable_dynamic_field"]), bool(fields["page"].get("nullable"))
        codec = RowCodec(dtype, flat, checksums=flat or CHECKSUM in fields, nulls=nulls)
        max_id_bytes = int(fields["id"]["params"]["max_length"]) - len(connection.tenant.mark)
        has_bm25 = "bm25" in fields
        return cls(connection, name, ledger, swap, embedder, text_embedder, wanted, codec, max_id_bytes, has_bm25)

    @property
    def text_dimension(self) -> int | None:
        """The dimension T of the text vectors, or None if the collection has none."""
        return self.text_embedder.dimension if self.text_embedder else None

    def require_text_dimension(self) -> int:
        """Return the dimension T of the text vectors, or raise InputError if the collection has none."""
        if self.text_embedder is None:
            raise InputError("the index has no text vectors; create a new one with a text_embedder")
        return self.text_embedder.dimension

    def count(self, uris: Collection[str]) -> int:
        """Count the rows of at most 200 sources."""
        return self.connection.count(self.name, one_of("source", map(checked_uri, uris))) if uris else 0

    def rows_of_sources(self, uris: Collection[str], fields: list[str]) -> Iterator[Row]:
        """Iterate over the rows of these sources, in no order."""
        for some in batched((checked_uri(uri) for uri in uris), _URIS_PER_CALL):
            yield from self.connection.rows(self.name, fields, one_of("source", some))

    def drop_sources(self, uris: Collection[str]) -> int:
        """Delete the rows of these sources and return their number."""
        ids = [row["id"] for row in self.rows_of_sources(uris, ["id"])]
        return self.connection.delete(self.name, ids)

    def rows(self, ids: Sequence[str], fields: list[str]) -> Mapping[str, Row]:
        """Return the rows of those ids that exist, by id."""
        if isinstance(ids, str) or not all(isinstance(id, str) for id in ids):
            raise InputError(f"ids {ids!r:.300} must be a list of strings, the ids of hits")
        possible = [id for id in dict.fromkeys(ids) if id_bytes(id) <= MAX_ID_BYTES]
        return self.connection.rows_of(self.name, possible, fields)

    def known_rows(self, ids: Sequence[str], fields: list[str]) -> list[Row]:
        """Return one row per id, or raise InputError for an unknown id."""
        rows = self.rows(ids, fields)
        for id in ids:
            if id not in rows:
                raise unknown_chunk_error(id)
        return [rows[id] for id in ids]

    def to_hit(self, row: Row, score: float = 0.0) -> Hit:
        """Return the hit for a row with HIT_FIELDS, or raise StoreCorruptError if the row is damaged."""
        try:
            return row_to_hit(row, score)
        except FAULTS:
            with damage_reported(f"the row {row.get('id')!r:.80}", self.connection.address):
                raise

    def whole_rows(self, ids: Sequence[str]) -> list[Row]:
        """Return one decoded row per id, without the fields that the store computes."""
        return [self.decode(row) for row in self.known_rows(ids, self._fields())]

    def whole_rows_of_sources(self, uris: Collection[str]) -> Iterator[Row]:
        """Iterate over the decoded rows of these sources, without the fields that the store computes."""
        return map(self.decode, self.rows_of_sources(uris, self._fields()))

    def stored_rows(self) -> Iterator[Row]:
        """Iterate over all rows as they are stored, with a page of them at a time in memory."""
        return self.connection.rows(self.name, self._stored_fields())

    def decode(self, row: Row) -> Row:
        """Return a row without its checksum, which must fit: damage is not copied, and gets no new checksum."""
        with damage_reported(f"the row {row['id']!r:.80}", self.connection.address):
            whole = self.codec.decode(row)
            if verify(whole) in DAMAGED:
                raise ValueError("its checksum does not fit")
            return {name: whole[name] for name in self._fields() if name != CHECKSUM}

    def check(self) -> None:
        """Raise StoreMismatchError if the collection was dropped, replaced or created again for another model."""
        self.swap.check(self.name, self.embedder)

    def check_integrity(self) -> IntegrityReport:
        """Compare the rows with the ledger, because Milvus Lite silently skips data that it cannot read.

        Counting all rows at once is fast; they are counted per source only if the total is wrong.
        """
        if self.connection.is_sole_writer:
            self._settle_begun()
        entries = {entry.uri: entry for entry in self.ledger.entries()}
        begun = [uri for uri, entry in entries.items() if entry.state == "begun"]
        expected = sum(entry.rows for entry in entries.values() if entry.is_complete)
        present = self.connection.count(self.name) - self.count(begun)
        if present == expected:
            return IntegrityReport(present, expected)
        rows = Counter(decode_uri(row["source"]) for row in self.connection.rows(self.name, ["id", "source"]))
        later = {entry.uri: entry for entry in self.ledger.entries()}
        damaged = set()
        for uri in rows.keys() | entries.keys():
            entry = entries.get(uri)
            fits = entry is not None and (entry.state == "begun" or rows[uri] == entry.rows)
            if not fits and entry == later.get(uri):  # otherwise another machine is writing the source
                damaged.add(uri)
        return IntegrityReport(present, expected, frozenset(damaged))

    def _settle_begun(self) -> None:
        """Finish what was begun when nobody writes any more, because searches must not find a part of a source.

        A record that says "begun" may also be an old one: damage of a log looks like a kill before its last writes. So
        an item, whose only row is written in one write, is complete if it has the row. The rows of a file are set aside
        until the next run indexes it again. Only a deletion, whose record has no source, is finished.
        """
        begun = {entry.uri: entry for entry in self.ledger.entries("begun")}
        items = [uri for uri in begun if uri.startswith(item_uri(""))]
        kinds = {decode_uri(row["source"]): row["kind"] for row in self.rows_of_sources(items, ["source", "kind"])}
        self.ledger.put(
            Entry(uri, "complete", begun[uri].source or Source(uri, MEDIA_OF_KIND[kind], 0, 0, ""), {kind: 1})
            for uri, kind in kinds.items()
        )
        interrupted = [uri for uri, entry in begun.items() if entry.source and uri not in kinds]
        self.connection.set_rows_aside(self.name, self.rows_of_sources(interrupted, self._stored_fields()))
        self.drop_sources(begun.keys() - kinds.keys())

    def _stored_fields(self) -> list[str]:
        return [*self._fields(), *(("$meta",) if self.codec.flat else ())]

    def _fields(self) -> list[str]:
        texts = TEXT_VECTOR_FIELDS if self.text_embedder else ()
        return [*STORED_FIELDS, *texts, *((CHECKSUM,) if self.codec.checksums else ())]
