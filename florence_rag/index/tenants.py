"""Keeps the tenants of one collection apart.

The ids of a tenant's rows begin with a mark of the tenant, so two tenants may hold the same file or the same id. All
calls to the store are made by `Connection`, which adds the mark to what it writes, reads and deletes rows of this mark
only, and removes it from what it returns. Nothing above it knows about tenants.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

from florence_rag.errors import InputError
from florence_rag.index.literals import all_of, one_of, starts_with
from florence_rag.index.rows import Row
from florence_rag.text_arguments import check_text

_SEPARATOR = "@"  # which no name of a collection contains
MAX_BYTES = 200


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of a collection, or "" for a collection that belongs to one user alone.

    Attributes:
        name: The name.
        mark: What the ids of its rows begin with.
    """

    name: str = ""
    mark: str = field(init=False)

    def __post_init__(self) -> None:
        digest = blake2b(self.name.encode(), digest_size=8).hexdigest()
        object.__setattr__(self, "mark", f"{digest}-" if self.name else "")

    def restrict(self, expression: str) -> str:
        """Return an expression that only rows of the tenant meet."""
        return all_of([expression, starts_with("id", self.mark)]) if self.mark else expression

    def stored_id(self, id: str) -> str:
        """Return an id as it is stored."""
        return self.mark + id

    def one_of_ids(self, ids: Iterable[str]) -> str:
        """Return an expression that the rows with these ids meet."""
        return one_of("id", map(self.stored_id, ids))

    def to_stored(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows as they are stored."""
        return ({**row, "id": self.stored_id(row["id"])} for row in rows) if self.mark else iter(rows)

    def from_stored(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows without the mark; a row of another tenant is dropped, whatever expression found it."""
        if not self.mark:
            return iter(rows)
        return ({**row, "id": row["id"][len(self.mark) :]} for row in rows if row["id"].startswith(self.mark))


def with_tenant(collection: str, tenant: str | None) -> str:
    """Return the name by which a tenant's part of a collection is opened; raise InputError if the tenant has none."""
    if tenant is None:
        return collection
    name = check_text(tenant, "tenant", "give the name of the tenant, or omit it")
    if len(name.encode()) > MAX_BYTES or not name.isprintable():
        raise InputError(f"the tenant {name!r:.80} must have at most {MAX_BYTES} bytes, all of them printable")
    return f"{collection}{_SEPARATOR}{name}"


def split_tenant(collection: str) -> tuple[str, Tenant]:
    """Return the collection and the tenant of a name that `with_tenant` returned."""
    name, _, tenant = collection.partition(_SEPARATOR)
    return name, Tenant(tenant)


def folder_name(collection: str) -> str:
    """Return the name of a folder for what a collection or a tenant's part of it keeps in files."""
    name, tenant = split_tenant(collection)
    return f"{name}.{tenant.mark[:-1]}" if tenant.mark else name
