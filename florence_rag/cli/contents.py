"""`florence-rag list` and `delete`: the sources of a database, by path, pattern or id."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from florence_rag.cli.command import DatabaseCommand
from florence_rag.cli.options import KindOption
from florence_rag.cli.output import bare_reason, change_to_text, plain, source_to_text, stdout
from florence_rag.errors import InputError
from florence_rag.types import KINDS, Failure, item_uri

if TYPE_CHECKING:
    from florence_rag.index.ledger import Entry
    from florence_rag.index.milvus import MilvusIndex

_STATES = {"complete": "indexed", "partial": "indexed", "begun": "incomplete"}


class List(DatabaseCommand):
    """List the files and items of a database, with their chunks and their state."""

    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Only these: files, folders, quoted patterns, URLs or ids of items."),
    ] = None
    kind: KindOption = None
    as_json: Annotated[bool, typer.Option("--json", help="Print each source as one line of JSON, in no order.")] = False

    def run(self) -> None:
        from florence_rag.ingest.contents import selector

        selected = [selector(name) for name in self.names or ()]
        kinds = frozenset(self.kind or ())
        with self.open_index() as index:
            entries = (
                entry
                for entry in index.entries()
                if (not selected or any(matches(entry.uri) for matches in selected))
                and (not kinds or not kinds.isdisjoint(entry.chunks))
            )
            if self.as_json:
                for entry in entries:
                    self.print(_entry_to_dict(entry), "")
            else:
                _print_sorted(entries)


def _entry_to_dict(entry: Entry) -> dict[str, Any]:
    record: dict[str, Any] = {
        "source": entry.uri,
        "state": _STATES.get(entry.state, entry.state),
        "chunks": _counts(entry),
    }
    if entry.uri.startswith(item_uri("")):
        record["id"] = entry.uri.removeprefix(item_uri(""))
    if entry.skipped:
        record["skipped"] = [each.to_dict() for each in entry.skipped]
    reason = {"failed": "reason", "near-duplicate": "duplicate_of"}.get(entry.state)
    return {**record, reason: entry.reason} if reason else record


def _print_sorted(entries: Iterator[Entry]) -> None:
    lines = sorted((entry.uri, _entry_to_text(entry)) for entry in entries)
    for _, line in lines:
        stdout().print(line)
    stdout().print(plain(f"{len(lines)} listed", "bold") if lines else Text("Nothing found.", "yellow"))


def _entry_to_text(entry: Entry) -> Text:
    if entry.is_complete:
        counts = ", ".join(f"{count} {kind}" for kind, count in _counts(entry).items())
        reasons = "".join(f"; {reason}" for reason in dict.fromkeys(each.reason for each in entry.skipped))
        return Text.assemble(source_to_text(entry.uri), "  ", plain(counts + reasons, "dim"))
    reason = bare_reason(Failure(entry.uri, entry.reason))
    return change_to_text(_STATES.get(entry.state, entry.state), entry.uri, reason)


def _counts(entry: Entry) -> dict[str, int]:
    return {kind: entry.chunks[kind] for kind in KINDS if entry.chunks.get(kind)}


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


class Delete(DatabaseCommand):
    """Delete files and items from a database. The files themselves stay; the next `index` of them adds them again."""

    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Files, folders, quoted patterns, URLs or ids of items."),
    ]
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False

    def run(self) -> None:
        from florence_rag.image_store import ImageStore
        from florence_rag.index.address import image_folder
        from florence_rag.ingest.contents import delete_sources, selector

        selectors = {name: selector(name) for name in self.names}
        with self.open_index() as index:
            found = self._found(index, selectors)
            chunks = sum(entry.rows for entry in found.values())
            what = f"{_plural(len(found), 'source')} with {_plural(chunks, 'chunk')}"
            if not self.yes:
                typer.confirm(f"Delete {what} from {self.db}?", err=True, abort=True)
            images = ImageStore(index, image_folder(self.db, index.info().collection))
            delete_sources(index, images, found)
            folders = [each for each in index.skipped_files() if any(matches(each) for matches in selectors.values())]
            index.put_skipped_files({folder: {} for folder in folders})
        record = {"deleted": sorted(found), "sources": len(found), "chunks": chunks}
        self.print(record, plain(f"Deleted {what} from {self.db}", "bold"))

    def _found(self, index: MilvusIndex, selectors: Mapping[str, Callable[[str], bool]]) -> dict[str, Entry]:
        """Return the entries that are selected, by uri; raise InputError if a name selects none."""
        entries = {entry.uri: entry for entry in index.entries()}
        found: dict[str, Entry] = {}
        for name, matches in selectors.items():
            selected = {uri: entry for uri, entry in entries.items() if matches(uri)}
            if not selected:
                raise InputError(
                    f"{name!r} selects nothing in {self.db}, so nothing was deleted; `florence-rag list` lists all"
                )
            found |= selected
        return found
