"""What a program gives instead of files: texts, pictures and chunks, each an item under an id.

    chunk -> is it known? -> read its picture, its words, a caption -> embed -> one source per item

An item is its own source in the ledger ("item:<id>"), so all that keeps sources whole keeps items whole, too: it is
there or it is not, and one that is put again is replaced. An item that fails leaves the one before it as it was.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from florence_rag.chunking import ChunkingConfig
from florence_rag.context import Context
from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError
from florence_rag.image_store import (
    ImageInput,
    ImageStore,
    as_detailed_as_needed,
    data_and_frame,
    digest_of,
    item_file,
    path_and_digest,
)
from florence_rag.index.rows import (
    MAX_ID_BYTES,
    MAX_TEXT_BYTES,
    checked_metadata,
    checked_text_vectors,
    checked_vectors,
)
from florence_rag.index.text_codec import clean
from florence_rag.ingest.embed_stage import add_captions, embed_chunks, embed_words
from florence_rag.ingest.engine import IngestConfig, model_threads, model_workers
from florence_rag.types import ITEM_IMAGE, MEDIA_OF_KIND, Chunk, Frame, Hit, Source, item_uri

_REMEMBERED = 16_384  # vectors; of 512 numbers each they take 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """An item that was embedded before, and its vector."""

    hit: Hit
    vector: np.ndarray


_Reading = list[tuple[Future[Chunk], _Known | None]]
_Vectors = Mapping[str, np.ndarray]
_Embedded = tuple[list[Chunk], np.ndarray, np.ndarray | None]


class ItemStore:
    """The items of one index. Threads may share it.

    What was embedded is not embedded again: neither an item that is put as it is, nor one that is put soon after it was
    deleted. LangChain's incremental indexing does the latter to all chunks of a file but the first hundred, in every
    run (its issue 32612).
    """

    def __init__(
        self,
        context: Context,
        *,
        read_words: Callable[[Chunk], Chunk] | None = None,
        config: IngestConfig | None = None,
    ) -> None:
        self._context = context
        self._read_words = read_words
        self._config = config or IngestConfig()
        self._deleted: OrderedDict[str, _Known] = OrderedDict()
        self._lock = threading.RLock()

    def upsert_texts(
        self,
        texts: Iterable[str],
        *,
        ids: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
    ) -> list[str]:
        """Store texts as they are, each as one item.

        Args:
            texts: The texts.
            ids: One id of 1 to 512 bytes per text; by default it follows from the text and its metadata, so that equal
                items are stored once. An item with the id of an older one replaces it, and is not embedded again if the
                text is the same.
            metadatas: One JSON object per text; "source" says where the text comes from.
            vectors: Vectors by id that this very embedder has already computed.

        Returns:
            The ids of the items.
        """
        rows = aligned(texts, ids=ids, metadatas=metadatas)
        return self.upsert_chunks((text_to_chunk(*row) for row in rows), vectors)

    def upsert_images(
        self,
        images: Iterable[ImageInput],
        *,
        captions: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
    ) -> list[str]:
        """Store images, each as one item; the images before one that cannot be read may be stored.

        Args:
            images: Paths, bytes, open files or pixels. A file is read again where it lies; bytes and pixels are stored
                in a folder next to the database.
            captions: One description per image.
            ids: As for `upsert_texts`.
            metadatas: As for `upsert_texts`.
            vectors: As for `upsert_texts`.

        Returns:
            The ids of the items.
        """
        rows = aligned(images, captions=captions, ids=ids, metadatas=metadatas)
        return self.upsert_chunks((picture_to_chunk(self._context.images, *row) for row in rows), vectors)

    def upsert_chunks(self, chunks: Iterable[Chunk], vectors: Mapping[str, Sequence[float]] | None = None) -> list[str]:
        """Store chunks as items, each under its id; those ids, in their order.

        chunks: with the source that holds their pictures, which are read if they have none. vectors: by id, what the
        embedder has already made of some. What comes before one that cannot be stored may be stored.
        """
        made = {id: self._checked(vector) for id, vector in (vectors or {}).items()}
        ids: list[str] = []
        workers = model_workers(self._context.models.embedder, self._config)
        size = self._config.batch_of(workers)
        with ThreadPoolExecutor(self._config.threads) as readers, model_threads(workers) as models:
            under_way: deque[Future[_Embedded]] = deque()
            try:
                for batch, is_only in _batched(map(_to_item, chunks), size):
                    ids += [chunk.id for chunk in batch]
                    reading = self._begin_reading(readers, {chunk.id: chunk for chunk in batch}, made)
                    if is_only:  # it would have one processor of several
                        self._write(*self._embed(reading, made))
                    else:
                        under_way.append(models.submit(self._embed, reading, made))
                    while len(under_way) > workers + 1:
                        self._write(*under_way.popleft().result())
                for embedded in under_way:
                    self._write(*embedded.result())
            finally:
                self._context.index.flush_buffer()
        return ids

    def delete(self, ids: Sequence[str]) -> int:
        """Forget items; how many there were. InputError, and nothing is forgotten, if an id is of a file's chunk."""
        with self._lock:
            hits = self._items(list(dict.fromkeys(ids)))
            for hit, vector in zip(hits, self._context.index.vectors([hit.id for hit in hits]), strict=True):
                self._deleted[_content(hit)] = _Known(hit, vector)
            while len(self._deleted) > _REMEMBERED:
                self._deleted.popitem(last=False)
            self._context.index.delete_sources([hit.uri for hit in hits])
            self._context.images.drop(map(item_file, hits))
        return len(hits)

    def ids(self) -> list[str]:
        """Of all items."""
        start = item_uri("")
        return [uri.removeprefix(start) for uri in self._context.index.sources() if uri.startswith(start)]

    def _begin_reading(self, pool: ThreadPoolExecutor, chunks: Mapping[str, Chunk], made: _Vectors) -> _Reading:
        known = self._known(chunks)
        return [
            (pool.submit(self._read, chunk, known.get(id), id in made), known.get(id)) for id, chunk in chunks.items()
        ]

    def _checked(self, vector: Sequence[float]) -> np.ndarray:
        row = unit_rows(np.asarray(vector, dtype=np.float32).reshape(1, -1))
        checked: np.ndarray = checked_vectors(row, 1, self._context.models.embedder.info.dimension)[0]
        return checked

    def _known(self, chunks: Mapping[str, Chunk]) -> dict[str, _Known]:
        """Those that were embedded before, by id."""
        same = [hit for hit in self._items(list(chunks)) if _content(hit) == _content(chunks[hit.id])]
        vectors = self._context.index.vectors([hit.id for hit in same])
        stored = {hit.id: _Known(hit, vector) for hit, vector in zip(same, vectors, strict=True)}
        deleted = {id: self._deleted.get(_content(chunk)) for id, chunk in chunks.items()} if self._deleted else {}
        return {id: known for id, known in deleted.items() if known} | stored

    def _items(self, ids: Sequence[str]) -> list[Hit]:
        hits = self._context.index.get(ids)
        for hit in hits:
            if not hit.is_item:
                raise InputError(f"{hit.id!r} is the id of a part of the file {hit.source!r}; give items other ids")
        return hits

    def _read(self, chunk: Chunk, known: _Known | None, is_embedded: bool) -> Chunk:
        models = self._context.models
        if known:
            hit = known.hit
            return replace(chunk, caption=chunk.caption or hit.caption, ocr=chunk.ocr or hit.ocr, frames=())
        is_looked_at = not is_embedded or self._read_words or models.captioner
        if item_file(chunk) and not chunk.frames and is_looked_at:
            needed = as_detailed_as_needed(ChunkingConfig(), models.embedder, self._read_words, models.captioner)
            chunk = replace(chunk, frames=self._context.images.item_frames(chunk, needed))
        return self._read_words(chunk) if self._read_words else chunk

    def _embed(self, reading: _Reading, made: _Vectors) -> _Embedded:
        models = self._context.models
        read = [(each.result(), known) for each, known in reading]
        fresh = [chunk for chunk, known in read if not known]
        if models.captioner:
            fresh = add_captions(models.captioner.get(), fresh)
        before = [(chunk, made[chunk.id]) for chunk in fresh if chunk.id in made]
        before += [(chunk, known.vector) for chunk, known in read if known]
        unmade = [chunk for chunk in fresh if chunk.id not in made]
        chunks = [*unmade, *(chunk for chunk, _ in before)]
        vectors = np.stack([*embed_chunks(models.embedder, unmade), *(vector for _, vector in before)])
        words = embed_words(models.text_embedder, chunks) if models.text_embedder else None
        return chunks, vectors, words

    def _write(self, chunks: Sequence[Chunk], vectors: np.ndarray, words: np.ndarray | None) -> None:
        index, models = self._context.index, self._context.models
        # With `begin` the items before are gone, so what follows must not fail.
        checked_vectors(vectors, len(chunks), models.embedder.info.dimension)
        if models.text_embedder:
            checked_text_vectors(words, len(chunks), models.text_embedder.info.dimension)
        with self._lock:
            replaced = self._items([chunk.id for chunk in chunks])
            for chunk in chunks:
                index.begin(chunk.source)
            index.add(chunks, vectors, words)
            for chunk in chunks:
                index.complete(chunk.source)
            files = set(map(item_file, chunks))
            if gone := [file for file in map(item_file, replaced) if file not in files]:
                index.flush_buffer()
                self._context.images.drop(gone)


def _batched(items: Iterator[Chunk], size: int) -> Iterator[tuple[list[Chunk], bool]]:
    """Lists of so many items, and whether it is the only one."""
    batch, number = list(islice(items, size)), 0
    while batch:
        following = list(islice(items, size))
        yield batch, not (number or following)
        batch, number = following, number + 1


def text_to_chunk(text: str, id: str | None, metadata: Mapping[str, Any] | None) -> Chunk:
    """A text to put. id: by default from the text and its metadata."""
    if not isinstance(text, str):
        raise InputError(f"a text is a str, not {text!r:.80}")
    id, metadata = _id_and_metadata(id, metadata, "text", text)
    return Chunk(Source("", "text", 0, 0, ""), "text", text=text, metadata=metadata, custom_id=id)


def picture_to_chunk(
    folder: ImageStore, image: ImageInput, caption: str | None, id: str | None, metadata: Mapping[str, Any] | None
) -> Chunk:
    """A picture to put. id: by default from the picture and its metadata. Pixels are kept in the folder."""
    if isinstance(image, str | Path):
        file, digest = path_and_digest(image)
        frames: tuple[Frame, ...] = ()
        id, metadata = _id_and_metadata(id, metadata, "image", digest)
    else:
        data, frame = data_and_frame(image)
        digest, frames = digest_of(data), (frame,)
        id, metadata = _id_and_metadata(id, metadata, "image", digest)
        file = folder.store(data, f"{id}\0{digest}")
    source = Source(file, "image", 0, 0, digest)
    return Chunk(source, "image", caption=caption or "", frames=frames, metadata=metadata, custom_id=id)


def aligned(items: Iterable[Any], **rest: Collection[Any] | None) -> Iterator[tuple[Any, ...]]:
    """Each item with its own of each of the rest, None for one that is not given."""
    if isinstance(items, str | bytes | Mapping):
        raise InputError(f"give a list of items, not {items!r:.80}")
    items = list(items)
    for name, values in rest.items():
        if isinstance(values, str) or (values is not None and len(values) != len(items)):
            raise InputError(f"{name} must be a list with one value for each of the {len(items)} items")
    return zip(items, *(values if values is not None else repeat(None) for values in rest.values()), strict=False)


def _id_and_metadata(
    id: str | None, metadata: Mapping[str, Any] | None, kind: str, content: str
) -> tuple[str, Mapping[str, Any]]:
    """The same content with the same metadata has the same id."""
    metadata = checked_metadata(metadata or {}, f"the {kind} {content[:40]}")
    return id or digest_of(json.dumps([kind, content, metadata], sort_keys=True).encode()), metadata


def _to_item(chunk: Chunk) -> Chunk:
    """The chunk as the one chunk of a source of its own, if the store can keep it."""
    id = chunk.id
    if not isinstance(id, str) or clean(id).replace("\0", "") != id or not 0 < len(id.encode()) <= MAX_ID_BYTES:
        raise InputError(f"the id {id!r:.80} is no text of 1 to {MAX_ID_BYTES} bytes")
    if (size := len(chunk.text.encode("utf-8", "replace"))) > MAX_TEXT_BYTES:
        raise InputError(f"the text {chunk.text[:40]!r}... has {size} bytes; allowed are {MAX_TEXT_BYTES}: split it")
    named = {"source": chunk.source.uri} if os.path.isabs(chunk.source.uri) else {}
    metadata = checked_metadata({**named, **chunk.metadata, **_where(chunk)}, item_uri(id))
    item = replace(chunk, text=clean(chunk.text), metadata=metadata, custom_id=id)
    return replace(item, source=Source(item_uri(id), MEDIA_OF_KIND[chunk.kind], 0, 0, _content(item)))


def _where(chunk: Chunk) -> dict[str, Any]:
    """The metadata that say where the pictures of a chunk are."""
    if chunk.kind == "text":
        return {}
    where = {"file": chunk.source.uri, "hash": chunk.source.content_hash}
    if not all(where.values()):
        raise InputError(f"the {chunk.kind} {chunk.id!r} has no file to look at again; give its source uri and hash")
    if chunk.metadata.get(ITEM_IMAGE, where) != where:
        raise InputError(f"the metadata {ITEM_IMAGE!r} say where a picture is kept; give yours another name")
    return {ITEM_IMAGE: where}


def _content(found: Hit | Chunk) -> str:
    """Digest of what the vector of an item is made of."""
    content = found.metadata[ITEM_IMAGE]["hash"] if item_file(found) else found.text
    return digest_of("\0".join((found.kind, repr(found.locator), content)).encode("utf-8", "replace"))
