"""Which collection holds the chunks of an index: its own, or another beside it since its files were embedded anew.

The settings in the index's own ledger say which. A successor is filled as an index of its own, with its own ledger;
then one write of the settings makes it the index, and what was the index before is dropped. After a kill the settings
tell what there is: a successor to go on with, or something retired to drop.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from florence_rag.errors import InputError, StoreMismatchError
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import VectorDtype
from florence_rag.index.ledger import Ledger, Settings
from florence_rag.types import EmbedderInfo


class CollectionSwap:
    """Of one index. collection: the name of the index. Its ledger must be open."""

    def __init__(self, connection: Connection, collection: str, ledger: Ledger) -> None:
        self._connection = connection
        self.collection = collection
        self._head = ledger

    @property
    def chunks(self) -> str:
        """The collection that holds the chunks."""
        return self._settings().chunks or self.collection

    @property
    def shadow_embedder(self) -> EmbedderInfo | None:
        """The embedder whose vectors are being put beside the present ones."""
        return self._settings().successor

    @property
    def text_embedder(self) -> EmbedderInfo | None:
        """The embedder of the words, which a succession leaves as it is."""
        return self._settings().text_embedder

    @property
    def vector_dtype(self) -> VectorDtype:
        """How vectors are kept, which a succession leaves as it is, too."""
        return self._settings().vector_dtype

    @property
    def text_dimension(self) -> int | None:
        """How many numbers its vectors have."""
        return self.text_embedder.dimension if self.text_embedder else None

    def ledger_of(self, chunks: str) -> Ledger:
        """The ledger that belongs to a collection of chunks; it may have to be opened."""
        return self._head if chunks == self.collection else Ledger(self._connection, chunks)

    def check(self, chunks: str) -> None:
        """StoreMismatchError if this collection is no longer written to: another has taken its place, or it was
        abandoned."""
        settings = self._settings()
        successor = self._name(settings.successor) if settings.successor else ""
        if chunks not in (settings.chunks or self.collection, successor):
            raise StoreMismatchError(
                f"the index {self.collection!r} of {self._connection.address} now has the vectors of "
                f"{settings.embedder.name}: open it again and repeat what is not yet written"
            )

    def prepare(self, embedder: EmbedderInfo) -> str:
        """Announce a successor, or go on with it; the name of its collection."""
        self.drop_previous()
        settings = self._settings()
        where = f"the index {self.collection!r} of {self._connection.address}"
        if embedder == settings.embedder:
            raise InputError(f"{where} already has the vectors of {embedder.name}")
        if settings.successor is not None and settings.successor != embedder:
            raise StoreMismatchError(
                f"{where} is being embedded anew with {settings.successor.name}, not with {embedder.name}; "
                "go on with that model, or abandon what it has done"
            )
        if settings.successor is None:
            self._head.put_settings(replace(settings, successor=embedder))
        return self._name(embedder)

    def switch(self) -> None:
        """Make the successor the index, in one write."""
        settings = self._settings()
        if settings.successor is None:
            raise InputError(f"the index {self.collection!r} has no successor to switch to; fill one first")
        retired = settings.chunks or self.collection
        self._head.put_settings(
            replace(
                settings,
                embedder=settings.successor,
                chunks=self._name(settings.successor),
                successor=None,
                retired=retired,
            )
        )

    def drop_previous(self) -> None:
        """Drop what was the index before the last switch."""
        settings = self._settings()
        if settings.retired:
            self._drop(settings.retired)
            self._head.put_settings(replace(settings, retired=""))

    def drop_shadow(self) -> None:
        """Drop the successor, however far it is filled."""
        settings = self._settings()
        if settings.successor is not None:
            self._drop(self._name(settings.successor))
            self._head.put_settings(replace(settings, successor=None))

    def _drop(self, chunks: str) -> None:
        """The ledger goes last: chunks without one would count as another program's."""
        self._connection.drop(chunks)
        ledger = self.ledger_of(chunks)
        if ledger is self._head:
            ledger.clear()
        else:
            self._connection.drop(ledger.name)

    def _name(self, embedder: EmbedderInfo) -> str:
        parts = (embedder.name, embedder.fingerprint, str(embedder.dimension), embedder.preprocessing)
        digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        return f"{self.collection}_{digest}"

    def _settings(self) -> Settings:
        settings = self._head.settings()
        if settings is None:
            raise StoreMismatchError(f"the index {self.collection!r} of {self._connection.address} was deleted")
        return settings
