"""The ledger of an index: its sources and settings, in the store itself, so that machines share it with the server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Any, Literal, get_args

import msgspec

from florence_rag.errors import StoreMismatchError, StoreUnavailableError
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.literals import one_of
from florence_rag.index.migrations import installed_version, migrated
from florence_rag.index.records import FAULTS, corrupt_error, damage_reported, parse, with_checksum
from florence_rag.index.rows import Row
from florence_rag.index.schema import VERSION, ledger_spec
from florence_rag.types import EmbedderInfo, Failure, Kind, Locator, RejectedSource, Skipped, Source

State = Literal["begun", "complete", "partial", "failed", "near-duplicate"]
_STATES = frozenset(get_args(State))

SETTINGS_ID = "settings"
"""The id and the state of the record that holds the settings."""
_FOLDER = "folder"
_FIELDS = ["id", "state", "body"]
_MAX_REASON = 2_000
_MAX_SKIP_REASON = 100
_MAX_WRITTEN = 100_000


_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _SkippedPart(msgspec.Struct, array_like=True, frozen=True):
    """The JSON of a part that is not read: a list, without a limit that it does not have."""

    reason: str
    locator: Locator
    max_chunks: _Count | None = None


@dataclass(frozen=True, slots=True)
class _EntryBody:
    """The JSON of an entry. skipped: older versions did not write it."""

    uri: str
    source: Source | None
    chunks: dict[Kind, _Count]
    reason: str
    skipped: list[_SkippedPart] = field(default_factory=list)


def _skipped_to_json(part: Skipped) -> list[object]:
    limit = [] if part.max_chunks is None else [part.max_chunks]
    return [part.reason[:_MAX_SKIP_REASON], part.locator.to_dict(), *limit]


@dataclass(frozen=True, slots=True)
class _FolderBody:
    """The JSON of a folder: the number of files that the last run over it skipped, by reason."""

    uri: str
    skipped: dict[str, _Count]


@dataclass(frozen=True, slots=True)
class Entry:
    """The state of one source.

    state: "begun" if some rows may exist, but not all; "partial" if the source is complete except for the parts in
    skipped. chunks: number of rows that must exist, by kind. reason: of a failure; for a near-duplicate the uri of the
    source that is indexed in its place.
    """

    uri: str
    state: State
    source: Source | None = None
    chunks: Mapping[Kind, int] = field(default_factory=dict)
    reason: str = ""
    skipped: Sequence[Skipped] = ()

    @classmethod
    def from_row(cls, row: Row) -> Entry:
        """Return the entry of a row; raise one of `records.FAULTS` if it is damaged."""
        if row["state"] not in _STATES:
            raise ValueError(f"its state is {row['state']!r:.40}")
        body = parse(row["body"], _EntryBody, row["state"])
        if record_id(body.uri) != row["id"] or (body.source and body.source.uri != body.uri):
            raise ValueError(f"it is not the record of {body.uri!r:.80}")
        skipped = tuple(Skipped(body.uri, each.reason, each.locator, each.max_chunks) for each in body.skipped)
        entry = cls(body.uri, row["state"], body.source, body.chunks, body.reason, skipped)
        if entry.chunks and not entry.is_complete:
            raise ValueError(f"it lists chunks, although its state is {entry.state!r}")
        return entry

    def to_row(self) -> Row:
        """Return the row of the entry, with a long reason truncated."""
        body = {
            "uri": self.uri,
            "source": self.source and msgspec.to_builtins(self.source),
            "chunks": dict(self.chunks),
            "reason": self.reason[:_MAX_REASON],
            "skipped": [_skipped_to_json(part) for part in self.skipped],
        }
        return _row(record_id(self.uri), self.state, body)

    @property
    def is_complete(self) -> bool:
        """Whether all rows of the source exist."""
        return self.state in ("complete", "partial")

    @property
    def rows(self) -> int:
        """The number of rows that the source must have."""
        return sum(self.chunks.values())


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a whole index: who filled it, in which schema.

    version: of the schema in which the settings are stored. chunks: the collection that holds the chunks, if it is not
    the index's own. shadow_embedder: the embedder whose vectors fill the shadow. previous: the collection that held the
    chunks before, until it is dropped. text_embedder: the embedder of the text vectors, if there are any. vector_dtype:
    precision of the vectors. checksums: whether all rows carry a checksum. has_tenants: whether each row belongs to a
    tenant. calibrations: how cosines relate to relevance, by kind. written_by: the version of the package that wrote
    the settings.
    """

    embedder: EmbedderInfo
    version: int = VERSION
    chunks: str = ""
    shadow_embedder: EmbedderInfo | None = None
    previous: str = ""
    text_embedder: EmbedderInfo | None = None
    vector_dtype: VectorDtype = "fp32"
    checksums: bool = True
    has_tenants: bool = False
    calibrations: dict[Kind, dict[str, float]] = field(default_factory=dict)
    written_by: str = field(default="", compare=False)

    @classmethod
    def from_row(cls, row: Row, where: str) -> Settings:
        """Return the settings of a row, which any version that is still supported may have written.

        Raises one of `records.FAULTS` if the row is damaged, and StoreMismatchError if the version is not supported.
        """
        return msgspec.convert(migrated(parse(row["body"], dict[str, Any], row["state"]), where), cls)

    def to_row(self) -> Row:
        """Return the row of the settings, in the present version."""
        return _row(SETTINGS_ID, SETTINGS_ID, asdict(self) | {"version": VERSION, "written_by": installed_version()})

    def check(
        self, where: str, embedder: EmbedderInfo, text_embedder: EmbedderInfo | None, vector_dtype: VectorDtype | None
    ) -> None:
        """Raise StoreMismatchError if the index cannot be opened for these embedders and this precision."""
        recorded = _described(self.text_embedder)
        if replace(self.embedder, preprocessing=embedder.preprocessing) == embedder != self.embedder:
            raise StoreMismatchError(
                f"the index {where} holds vectors of {embedder.name} for {self.embedder.preprocessing}, and today they "
                f"are for {embedder.preprocessing}; embed it again, which keeps captions and texts: "
                f"florence-rag reembed --to {embedder.name}"
            )
        if self.embedder != embedder:
            problem = f"was filled by {_described(self.embedder)}, not by {_described(embedder)}; "
            problem += "open it with that model"
        elif self.text_embedder is None and text_embedder is not None:
            problem = f"has no text vectors, so {_described(text_embedder)} cannot search it; "
            problem += "open it without a text embedder"
        elif self.text_embedder != text_embedder:
            problem = f"has text vectors of {recorded}, not of {_described(text_embedder)}; "
            problem += "open it with that text embedder"
        elif vector_dtype not in (None, self.vector_dtype):
            problem = f"stores its vectors as {self.vector_dtype}, not as {vector_dtype}; omit that"
        else:
            return
        raise StoreMismatchError(f"the index {where} {problem}, or index the files into a new database")


class Ledger:
    """A collection with one row per source, and one row with the settings."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self.name = f"{collection}_ledger"
        self._written: set[str] = set()  # ids of records that a server may not have spread yet

    @property
    def _where(self) -> str:
        return f"{self._collection!r} of {self._connection.address}"

    def exists(self) -> bool:
        """Return whether the ledger, and so the index, exists."""
        return self._connection.has(self.name)

    def open(self) -> None:
        """Load the ledger, and create it if it does not exist."""
        self._connection.open_collection(ledger_spec(self.name))

    def open_for(
        self,
        embedder: EmbedderInfo,
        *,
        create: bool,
        text_embedder: EmbedderInfo | None = None,
        vector_dtype: VectorDtype | None = None,
    ) -> None:
        """Load the ledger if these embedders filled the index, or record them in a new index.

        vector_dtype: precision of the vectors; the default is the present one, and fp32 for a new index. The ledger is
        created before the chunks, so that chunks without a ledger belong to another program.
        """
        where = self._where
        if not self.exists():
            if self._connection.has(self._collection):
                raise StoreMismatchError(f"the collection {where} was created by another program; choose another name")
            if not create:
                raise StoreUnavailableError(f"there is no index {where}; create it with: florence-rag index PATH")
        self.open()
        settings = self.settings()
        if settings is not None:
            self._check_tenant(settings)
            settings.check(where, embedder, text_embedder, vector_dtype)
            if settings.version != VERSION:
                self.put_settings(settings)
        elif self._connection.has(self._collection):
            raise corrupt_error(f"the index {where} has lost its settings", self._connection.address)
        else:
            dtype, has_tenants = vector_dtype or "fp32", bool(self._connection.tenant.name)
            self.put_settings(
                Settings(embedder, text_embedder=text_embedder, vector_dtype=dtype, has_tenants=has_tenants)
            )

    def _check_tenant(self, settings: Settings) -> None:
        """Raise StoreMismatchError if a tenant is missing, or the rows belong to none: nobody reads all of them."""
        tenant = self._connection.tenant.name
        if settings.has_tenants and not tenant:
            advice = "name one with tenant=NAME, or on the command line as in: florence-rag info --tenant NAME"
            raise StoreMismatchError(f"the index {self._where} belongs to tenants; {advice}")
        if tenant and not settings.has_tenants:
            raise StoreMismatchError(
                f"the index {self._where} was created without tenants, so it has no part of {tenant!r:.80}; "
                "omit the tenant, or use a new database or collection"
            )

    def settings(self) -> Settings | None:
        """Return the settings, or None if a kill came between creating the ledger and writing them."""
        # They decide how everything else is read, so none of seconds ago will do.
        shared = self._connection.without_tenant()
        row = shared.rows_of(self.name, [SETTINGS_ID], _FIELDS, consistency="Strong").get(SETTINGS_ID)
        with damage_reported("the record of the settings", self._connection.address):
            return Settings.from_row(row, f"the index {self._where}") if row else None

    def put_settings(self, settings: Settings) -> None:
        """Replace the settings in one write, and make it durable."""
        self._connection.without_tenant().upsert(self.name, [settings.to_row()])
        self.flush()

    def entries(self, *states: State) -> Iterator[Entry]:
        """Iterate over all entries, or over those in these states, in no order."""
        wanted = one_of("state", states) if states else f'state not in ["{SETTINGS_ID}", "{_FOLDER}"]'
        return map(self._entry, self._connection.rows(self.name, _FIELDS, wanted))

    def records(self) -> Iterator[tuple[str, Entry | Exception]]:
        """Iterate over the records of sources, by id: each one's entry. Of any damaged record, yield what is wrong."""
        for row in self._connection.rows(self.name, _FIELDS, f'id != "{SETTINGS_ID}"'):
            try:
                record = read_record(row)
            except FAULTS as error:
                yield row["id"], error
            else:
                if isinstance(record, Entry):
                    yield row["id"], record

    def drop_records(self, ids: Sequence[str]) -> None:
        """Delete records by their ids, which damaged ones have, too."""
        self._connection.delete(self.name, ids)

    def sources(self) -> dict[str, Entry]:
        """Return the complete entries by uri, sorted."""
        return {entry.uri: entry for entry in sorted(self.entries("complete", "partial"), key=lambda entry: entry.uri)}

    def failures(self) -> tuple[Failure, ...]:
        """Return the failures, sorted by uri."""
        failed = sorted(self.entries("failed"), key=lambda entry: entry.uri)
        return tuple(Failure(entry.uri, entry.reason) for entry in failed)

    def rejected(self) -> dict[str, RejectedSource]:
        """Return the sources that a run need not read again before they change, by uri."""
        found: dict[str, RejectedSource] = {}
        for entry in sorted(self.entries("failed", "near-duplicate"), key=lambda entry: entry.uri):
            if entry.source:  # otherwise every run tries the failure again
                reason, original = (entry.reason, "") if entry.state == "failed" else ("", entry.reason)
                found[entry.uri] = RejectedSource(entry.source, reason, original)
        return found

    def skipped_parts(self) -> dict[str, Sequence[Skipped]]:
        """Return the parts that were not read of complete sources, by uri."""
        return {entry.uri: entry.skipped for entry in self.entries("partial")}

    def skipped_files(self) -> dict[str, dict[str, int]]:
        """Return the number of files that the last run over each folder skipped, by reason."""
        rows = self._connection.rows(self.name, _FIELDS, one_of("state", [_FOLDER]))
        with damage_reported("the record of skipped files", self._connection.address):
            return {body.uri: body.skipped for body in map(_folder, rows)}

    def put_skipped_files(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Replace the counts of folders; a folder without counts is deleted."""
        self.drop(_folder_key(folder) for folder, by_reason in counts.items() if not by_reason)
        self._connection.upsert(
            self.name,
            (
                _row(record_id(_folder_key(folder)), _FOLDER, {"uri": folder, "skipped": dict(by_reason)})
                for folder, by_reason in counts.items()
                if by_reason
            ),
        )

    def update_stat(self, sources: Collection[Source]) -> None:
        """Record new sizes and modification times of sources whose content is unchanged."""
        ids = {record_id(source.uri): source for source in sources}
        rows = self._connection.rows_of(self.name, list(ids), _FIELDS)
        entries = ((self._entry(row), ids[id]) for id, row in rows.items())
        self.put(
            replace(entry, source=source)
            for entry, source in entries
            if entry.source and entry.source.content_hash == source.content_hash
        )

    def update_skipped(self, skipped: Mapping[Source, Sequence[Skipped]]) -> None:
        """Replace the parts that are not read of complete sources whose content is still the same."""
        ids = {record_id(source.uri): source for source in skipped}
        rows = self._connection.rows_of(self.name, list(ids), _FIELDS)
        entries = ((self._entry(row), ids[id]) for id, row in rows.items())
        self.put(
            replace(entry, state="partial" if skipped[source] else "complete", skipped=skipped[source])
            for entry, source in entries
            if entry.is_complete and entry.source and entry.source.content_hash == source.content_hash
        )

    def states(self, uris: Collection[str]) -> dict[str, State]:
        """Return the states of those uris that have an entry; what another machine has just written may be missing."""
        by_id = {record_id(uri): uri for uri in uris}
        consistency = "Bounded"
        if len(self._written) > _MAX_WRITTEN or not self._written.isdisjoint(by_id):
            consistency = "Session"  # a server answers when it has spread all that this program wrote, after 0.2 s
            self._written.clear()
        rows = self._connection.rows_of(self.name, list(by_id), ["id", "state"], consistency=consistency)
        return {by_id[id]: row["state"] for id, row in rows.items()}

    def put(self, entries: Iterable[Entry]) -> None:
        """Write entries; they replace earlier entries of the same uris."""
        rows = [entry.to_row() for entry in entries]
        self._written.update(row["id"] for row in rows)
        self._connection.upsert(self.name, rows)

    def drop(self, uris: Iterable[str]) -> None:
        """Delete the entries of these uris."""
        self.drop_records([record_id(uri) for uri in uris])

    def clear(self) -> None:
        """Delete all entries except the settings."""
        rows = self._connection.rows(self.name, ["id"], f'state != "{SETTINGS_ID}"')
        self.drop_records([row["id"] for row in rows])

    def settled_rows(self, settings: Settings) -> Iterator[Row]:
        """Iterate over rows for a ledger with these settings and all entries except those that have only begun."""
        yield settings.to_row()
        yield from (entry.to_row() for entry in self.entries() if entry.state != "begun")

    def load(self, rows: Iterable[Row]) -> None:
        """Write rows that `settled_rows` returned, except the settings."""
        self._connection.upsert(self.name, (row for row in rows if row["state"] != SETTINGS_ID))
        self.flush()

    def flush(self) -> None:
        """Make all writes to the ledger durable."""
        self._connection.flush(self.name)

    def _entry(self, row: Row) -> Entry:
        with damage_reported(f"the ledger's record {row['id']!r:.80}", self._connection.address):
            return Entry.from_row(row)


def _described(embedder: EmbedderInfo | None) -> str:
    if embedder is None:
        return "none"
    return f"{embedder.name} ({embedder.fingerprint[:12]}, {embedder.dimension} dimensions, {embedder.preprocessing})"


def read_record(row: Row) -> Entry | _FolderBody | Settings:
    """Return the record of a row of a ledger; raise one of `records.FAULTS` if it is damaged."""
    if row["id"] == SETTINGS_ID:
        return Settings.from_row(row, "the ledger")
    return _folder(row) if row["state"] == _FOLDER else Entry.from_row(row)


def _folder(row: Row) -> _FolderBody:
    body = parse(row["body"], _FolderBody, _FOLDER)
    if record_id(_folder_key(body.uri)) != row["id"]:
        raise ValueError(f"it is not the record of {body.uri!r:.80}")
    return body


def _folder_key(uri: str) -> str:
    """Return what distinguishes the counts of a folder from its failure."""
    return f"{_FOLDER}\0{uri}"


def record_id(uri: str) -> str:
    """Return the id of the record of a source."""
    return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _row(id: str, state: str, body: Mapping[str, Any]) -> Row:
    return {"id": id, "state": state, "body": with_checksum(body, state), "vector": [0.0, 0.0]}
