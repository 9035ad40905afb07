"""Decides which collection holds the chunks of an index: the original one, or one filled by another embedder later.

The settings in the index's first ledger name the collection. A shadow collection is filled as an index of its own, with
its own ledger. One write of the settings then makes it the active collection, and the previous one is dropped. After a
kill the settings say whether there is a shadow to continue or a previous collection to drop.
"""

from dataclasses import dataclass, replace

from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index.connection import Connection
from florence_rag.index.ledger import Ledger, Settings
from florence_rag.types import EmbedderInfo


@dataclass(frozen=True, slots=True)
class CollectionSwap:
    """The active, the shadow and the previous collection of one index.

    The name of the index is also that of its first collection, whose ledger is open and holds the settings.
    """

    connection: Connection
    index_name: str
    ledger: Ledger

    def settings(self) -> Settings:
        """Read the settings of the index."""
        settings = self.ledger.settings()
        if settings is None:
            raise StoreMismatchError(f"the index {self.index_name!r} of {self.connection.address} was deleted")
        return settings

    def active(self) -> str:
        """Return the name of the collection that holds the chunks."""
        return self.settings().chunks or self.index_name

    def ledger_of(self, collection: str) -> Ledger:
        """Return the ledger of a collection, which may not be open yet."""
        return self.ledger if collection == self.index_name else Ledger(self.connection, collection)

    def check(self, collection: str, embedder: EmbedderInfo) -> None:
        """Raise StoreMismatchError if this collection takes no more vectors of the embedder.

        It was dropped or replaced, or another program created the index again for another model.
        """
        settings = self.settings()
        taken = {settings.chunks or self.index_name: settings.embedder}
        if settings.shadow_embedder:
            taken[self._name(settings.shadow_embedder)] = settings.shadow_embedder
        if taken.get(collection) != embedder:
            raise StoreMismatchError(
                f"the index {self.index_name!r} of {self.connection.address} now has the vectors of "
                f"{settings.embedder.name}: open it again and repeat what is not yet written"
            )

    def prepare(self, embedder: EmbedderInfo) -> str:
        """Announce a shadow, or continue it, and return the name of its collection."""
        if self.connection.tenant.name:
            raise InputError(
                "an index of tenants cannot be embedded again, as it would drop the vectors of the other tenants; "
                "index the files into a new database"
            )
        self.drop_previous()
        settings = self.settings()
        where = f"the index {self.index_name!r} of {self.connection.address}"
        if embedder == settings.embedder:
            raise InputError(f"{where} already has the vectors of {embedder.name}")
        if settings.shadow_embedder is not None and settings.shadow_embedder != embedder:
            raise StoreMismatchError(
                f"{where} is being re-embedded with {settings.shadow_embedder.name}, not with {embedder.name}; "
                "continue with that model, or drop the shadow"
            )
        if settings.shadow_embedder is None:
            self.ledger.put_settings(replace(settings, shadow_embedder=embedder))
        return self._name(embedder)

    def switch(self) -> None:
        """Make the shadow the active collection, in one write."""
        settings = self.settings()
        if settings.shadow_embedder is None:
            raise InputError(f"the index {self.index_name!r} has no shadow to switch to; fill one first")
        changed = replace(
            settings,
            embedder=settings.shadow_embedder,
            chunks=self._name(settings.shadow_embedder),
            shadow_embedder=None,
            previous=settings.chunks or self.index_name,
            checksums=True,
            calibrations={},
        )
        self.ledger.put_settings(changed)

    def drop_previous(self) -> None:
        """Drop the collection that was active before the last switch."""
        settings = self.settings()
        if settings.previous:
            self._drop(settings.previous)
            self.ledger.put_settings(replace(settings, previous=""))

    def drop_shadow(self) -> None:
        """Drop the shadow, however far it is filled."""
        settings = self.settings()
        if settings.shadow_embedder is not None:
            self._drop(self._name(settings.shadow_embedder))
            self.ledger.put_settings(replace(settings, shadow_embedder=None))

    def _drop(self, collection: str) -> None:
        """Drop the chunks and then the ledger: chunks without a ledger would count as another program's."""
        self.connection.drop(collection)
        ledger = self.ledger_of(collection)
        if ledger is self.ledger:
            ledger.clear()
        else:
            self.connection.drop(ledger.name)

    def _name(self, embedder: EmbedderInfo) -> str:
        return f"{self.index_name}_{embedder.digest}"
