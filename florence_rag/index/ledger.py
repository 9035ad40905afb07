"""What the index knows of its sources, kept in the store itself: machines that share a server share this, too."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

from florence_rag.errors import StoreCorruptError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.connection import Connection, batched, in_batches
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.literals import one_of
from florence_rag.index.rows import Row
from florence_rag.index.schema import VERSION, ledger_table
from florence_rag.types import EmbedderInfo, Failure, Kind, SkippedSource, Source

State = Literal["begun", "complete", "failed", "near-duplicate"]

_SETTINGS = "settings"
_FIELDS = ["id", "state", "body"]
_MAX_REASON = 2_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One source. begun: rows of it may be there, but not all. chunks: how many there must be, by kind.

    reason: of a failure; of a near-duplicate the uri of the source that stands for it.
    """

    uri: str
    state: State
    source: Source | None = None
    chunks: Mapping[Kind, int] = field(default_factory=dict)
    reason: str = ""

    @property
    def rows(self) -> int:
        """How many rows the source must have."""
        return sum(self.chunks.values())


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the whole index: who filled it, and in which schema.

    chunks: the collection that holds them, if not the index's own. successor: the embedder whose vectors are being put
    beside them. retired: the collection that held them before, until it is dropped. text_embedder: whose vectors of
    the words it has besides, if any. vectors: how these are kept.
    """

    embedder: EmbedderInfo
    version: int = VERSION
    chunks: str = ""
    successor: EmbedderInfo | None = None
    retired: str = ""
    text_embedder: EmbedderInfo | None = None
    vector_dtype: VectorDtype = "fp32"


class Ledger:
    """One row per source, and one with the settings."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self.name = f"{collection}_ledger"

    def exists(self) -> bool:
        """Whether there is a ledger, and so an index."""
        return self._connection.has(self.name)

    def open(self) -> None:
        """Make it readable; make it, if there is none."""
        self._connection.open_table(ledger_table(self.name))

    def open_for(
        self,
        embedder: EmbedderInfo,
        *,
        create: bool,
        text_embedder: EmbedderInfo | None = None,
        vector_dtype: VectorDtype | None = None,
    ) -> None:
        """Make it readable if these embedders filled the index; record them if the index is new.

        vectors: how it keeps them; by default as it does, and a new one as fp32.

        The ledger is made before the chunks, so chunks without a ledger are somebody else's.
        """
        where = f"{self._collection!r} of {self._connection.address}"
        if not self.exists():
            if self._connection.has(self._collection):
                raise StoreMismatchError(f"the collection {where} was made by another program; name another one")
            if not create:
                raise StoreUnavailableError(f"there is no index {where}; make it with: florence-rag index PATH")
        self.open()
        settings = self.settings()
        if settings is not None:
            _check_settings(settings, embedder, where)
            _check_text_embedder(settings.text_embedder, text_embedder, where)
            _check_vector_dtype(settings.vector_dtype, vector_dtype, where)
        elif self._connection.has(self._collection):
            raise StoreCorruptError(f"the index {where} has lost its settings; delete it and index again")
        else:
            self.put_settings(Settings(embedder, text_embedder=text_embedder, vector_dtype=vector_dtype or "fp32"))

    def settings(self) -> Settings | None:
        """None where a kill came between making the ledger and writing them."""
        row = self._connection.rows_of(self.name, [_SETTINGS], _FIELDS).get(_SETTINGS)
        if row is None:
            return None
        return _settings(json.loads(row["body"]))

    def put_settings(self, settings: Settings) -> None:
        """Replace the settings, in one write, and make that durable."""
        self._write([_row(_SETTINGS, _SETTINGS, asdict(settings))])
        self.flush()

    def entries(self, *states: State) -> Iterator[Entry]:
        """All of them, or those in these states, in no order."""
        wanted = one_of("state", states) if states else f'state != "{_SETTINGS}"'
        return map(_entry, self._connection.rows(self.name, _FIELDS, wanted))

    def sources(self) -> dict[str, Entry]:
        """The complete ones by uri, sorted."""
        return {entry.uri: entry for entry in sorted(self.entries("complete"), key=lambda entry: entry.uri)}

    def failures(self) -> tuple[Failure, ...]:
        """Sorted by uri."""
        failed = sorted(self.entries("failed"), key=lambda entry: entry.uri)
        return tuple(Failure(entry.uri, entry.reason) for entry in failed)

    def skipped(self) -> dict[str, SkippedSource]:
        """By uri, those that need not be looked at again before they change."""
        found = {entry.uri: _left_out(entry) for entry in self.entries("failed", "near-duplicate")}
        return {uri: each for uri, each in sorted(found.items()) if each}

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and times of sources whose bytes are the same."""
        ids = {_id(source.uri): source for source in sources}
        rows = self._connection.rows_of(self.name, list(ids), _FIELDS)
        entries = ((_entry(row), ids[id]) for id, row in rows.items())
        self.put(
            replace(entry, source=source)
            for entry, source in entries
            if entry.source and entry.source.content_hash == source.content_hash
        )

    def known(self, uris: Collection[str]) -> set[str]:
        """Those of the uris that have an entry, whatever its state."""
        by_id = {_id(uri): uri for uri in uris}
        return {by_id[id] for id in self._connection.rows_of(self.name, list(by_id), ["id"])}

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries in place of what was known of their uris."""
        self._write([_row(_id(entry.uri), entry.state, _body(entry)) for entry in entries])

    def drop(self, uris: Iterable[str]) -> None:
        """Forget the uris."""
        for some in in_batches([_id(uri) for uri in uris], 1000):
            self._connection.delete(self.name, one_of("id", some))

    def clear(self) -> None:
        """Forget all sources; the settings stay."""
        self._connection.delete(self.name, f'state != "{_SETTINGS}"')

    def settled_rows(self, settings: Settings) -> Iterator[Row]:
        """The rows of a ledger with these settings and what is complete or has failed here."""
        yield _row(_SETTINGS, _SETTINGS, asdict(settings))
        for entry in self.entries():
            if entry.state != "begun":
                yield _row(_id(entry.uri), entry.state, _body(entry))

    def load(self, rows: Iterable[Row]) -> None:
        """Write rows that `settled_rows` gave; the settings are the ledger's own."""
        for some in batched((row for row in rows if row["state"] != _SETTINGS), 1000):
            self._write(some)
        self.flush()

    def flush(self) -> None:
        """Make it durable."""
        self._connection.flush(self.name)

    def _write(self, rows: list[Row]) -> None:
        if rows:
            self._connection.upsert(self.name, rows)


def _settings(body: Mapping[str, Any]) -> Settings:
    """Of any age: the first ones knew only embedder and version."""
    others = {name: EmbedderInfo(**body[name]) for name in ("successor", "text_embedder") if body.get(name)}
    return Settings(
        EmbedderInfo(**body["embedder"]),
        body["version"],
        chunks=body.get("chunks", ""),
        retired=body.get("retired", ""),
        vector_dtype=body.get("vector_dtype", "fp32"),
        **others,
    )


def _check_settings(settings: Settings, embedder: EmbedderInfo, where: str) -> None:
    if settings.version != VERSION:
        raise StoreMismatchError(
            f"the index {where} has schema version {settings.version}, this florence_rag writes {VERSION}; "
            "index the files into a new database"
        )
    if settings.embedder != embedder:
        raise StoreMismatchError(
            f"the index {where} was filled by {_described(settings.embedder)}, not by {_described(embedder)}; "
            "open it with that model, or index the files into a new database"
        )


def _check_text_embedder(recorded: EmbedderInfo | None, given: EmbedderInfo | None, where: str) -> None:
    if recorded == given:
        return
    if recorded is None and given is not None:
        raise StoreMismatchError(
            f"the index {where} keeps no vectors of words, so {_described(given)} cannot search it; "
            "open it without a text model, or index the files into a new database"
        )
    if recorded is not None:
        raise StoreMismatchError(
            f"the words in the index {where} were embedded by {_described(recorded)}, "
            f"not by {_described(given) if given else 'none'}; "
            "open it with that text model, or index the files into a new database"
        )


def _check_vector_dtype(recorded: VectorDtype, given: VectorDtype | None, where: str) -> None:
    if given not in (None, recorded):
        raise StoreMismatchError(
            f"the index {where} keeps its vectors as {recorded}, not as {given}; leave that out, or index the files "
            "into a new database"
        )


def _described(embedder: EmbedderInfo) -> str:
    return f"{embedder.name} ({embedder.fingerprint[:12]}, {embedder.dimension} numbers, {embedder.preprocessing})"


def _id(uri: str) -> str:
    return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _row(id: str, state: str, body: Mapping[str, Any]) -> Row:
    # ASCII, because a uri may hold what is no valid Unicode.
    return {"id": id, "state": state, "body": json.dumps(body), "vector": [0.0, 0.0]}


def _body(entry: Entry) -> dict[str, Any]:
    return {
        "uri": entry.uri,
        "source": asdict(entry.source) if entry.source else None,
        "chunks": dict(entry.chunks),
        "reason": entry.reason[:_MAX_REASON],
    }


def _left_out(entry: Entry) -> SkippedSource | None:
    """None of a failure that is tried again in every run."""
    if entry.source is None:
        return None
    if entry.state == "failed":
        return SkippedSource(entry.source, entry.reason)
    return SkippedSource(entry.source, f"looks the same as {entry.reason!r}", entry.reason)


def _entry(row: Row) -> Entry:
    body = json.loads(row["body"])
    source = Source(**body["source"]) if body["source"] else None
    return Entry(body["uri"], row["state"], source, body["chunks"], body["reason"])
