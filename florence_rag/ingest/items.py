"""Items: texts, images and chunks that a program stores under ids, without a file to watch.

    chunk -> stored before? -> read its image, OCR, caption -> embed -> one source per item

An item is a source of its own in the ledger ("item:<id>"), so it is complete or absent like a file, and storing it
again replaces it. An item that fails leaves the one before it as it was.
"""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, islice, repeat, starmap
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.chunking import FULL_SIZE, ChunkingConfig, ImageInput
from florence_rag.chunking.image_string import decode_image_string
from florence_rag.context import Context
from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError, MediaError, TimeLimitError
from florence_rag.image_store import (
    ImageStore,
    data_and_frame,
    digest_of,
    item_file,
    limit_image_detail,
    path_and_digest,
)
from florence_rag.index.rows import (
    MAX_ID_BYTES,
    checked_metadata,
    checked_text_vectors,
    checked_vectors,
)
from florence_rag.ingest.embed_stage import EmbeddedBatch, add_captions, embed_chunk_texts, embed_chunks
from florence_rag.ingest.engine import BatchPool, IngestConfig
from florence_rag.ingest.item_outcome import ItemOutcome
from florence_rag.ingest.read_stage import OCRMode, OCRStage
from florence_rag.text_arguments import check_text, check_texts, clean
from florence_rag.types import ITEM_IMAGE, MEDIA_OF_KIND, Chunk, Frame, Hit, Source, item_uri
from florence_rag.validation import check_type, validate_arguments

_MAX_DELETED = 16_384  # vectors; of 512 dimensions each they take 32 MB
_MANY = 1000  # items of a batch after which the index is made fast to search, as after a run over files
_BINARY_HEAD = 4096
_MAX_CONTROL_SHARE = 0.02  # decoded images have over 0.1
_CONTROL = frozenset(map(chr, range(32))) - frozenset("\t\n\r\f\x1b")
_Item = tuple[Chunk, np.ndarray | None]
"""A chunk to store, and its vector (D,) if that is known."""


@validate_arguments
class ItemStore:
    """The items of one index. Threads may share it.

    An item whose content is unchanged is not embedded again, and neither is one that was deleted a short time ago:
    LangChain's incremental indexing deletes and adds again all chunks of a file but the first hundred, in every run
    (its issue 32612).
    """

    def __init__(self, context: Context, *, ocr_mode: OCRMode = "auto", config: IngestConfig | None = None) -> None:
        self._context = context
        self._ocr = OCRStage.from_models(context.models, ocr_mode)
        self._config = config or IngestConfig()
        self._deleted: OrderedDict[str, tuple[Hit, np.ndarray]] = OrderedDict()
        self._lock, self._reading_alone = threading.RLock(), threading.Lock()

    def upsert_texts(
        self,
        texts: Iterable[str],
        *,
        ids: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
    ) -> list[str]:
        """Store texts, each as one item.

        Args:
            texts: The texts.
            ids: Their ids, 1 to 512 bytes each. By default an id follows from the text and its metadata, so that equal
                items are stored once. An item replaces an older one of its id.
            metadatas: Their metadata, for which docs/plugins.md has the rule; "source" says where a text comes from.
            vectors: By id, vectors (D,) that this embedder has already made of some of them.

        Returns:
            The ids, in the order of the texts.

        Raises:
            BatchError: If texts cannot be stored. All others are stored.
        """
        rows = zip_columns(texts, ids=ids, metadatas=metadatas)
        return self.upsert_chunks(starmap(text_to_chunk, rows), vectors)

    def upsert_images(
        self,
        images: Iterable[ImageInput],
        *,
        captions: Sequence[str | None] | None = None,
        ids: Sequence[str | None] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        vectors: Mapping[str, Sequence[float]] | None = None,
    ) -> list[str]:
        """Store images, each as one item.

        Args:
            images: Paths, data URIs, bytes, open files or pixels. A file stays where it is and is read again later; all
                others are stored in the folder of the database.
            captions: What the images show.
            ids: As in `upsert_texts`.
            metadatas: As in `upsert_texts`.
            vectors: As in `upsert_texts`.

        Returns:
            The ids, in the order of the images.

        Raises:
            BatchError: If images cannot be read or stored. All others are stored.
        """
        rows = zip_columns(images, captions=captions, ids=ids, metadatas=metadatas)
        return self.upsert_chunks(starmap(partial(image_to_chunk, self._context.images), rows), vectors)

    def upsert_chunks(self, chunks: Iterable[Chunk], vectors: Mapping[str, Sequence[float]] | None = None) -> list[str]:
        """Store chunks, each as one item.

        Args:
            chunks: Chunks whose source is the file of their image, which is read if they have no frames. An InputError
                of the iterator counts as a chunk that cannot be stored.
            vectors: By id, vectors (D,) that the embedder has already made of some of them.

        Returns:
            The ids, in the order of the chunks.

        Raises:
            BatchError: If chunks cannot be stored. All others are stored.
        """
        rows = {id: unit_rows(np.asarray(row, dtype=np.float32).reshape(1, -1)) for id, row in (vectors or {}).items()}
        dimension = self._context.models.embedder.info.dimension
        known = {id: checked_vectors(row, 1, dimension)[0] for id, row in rows.items()}
        workers = self._config.workers or self._context.models.embedder.capabilities.workers
        size = self._config.batch_size_for(workers)
        outcome = ItemOutcome()
        items = outcome.valid_items(map(_to_item, chunks))
        first = list(islice(items, size + 1))
        if len(first) <= size:
            workers = 1  # which may use all processors for the only batch
        with ThreadPoolExecutor(self._config.threads) as readers, BatchPool[EmbeddedBatch | None](workers) as models:
            try:
                for batch in batched(chain(first, items), size):
                    models.submit(self._embed, self._begin_reading(batch, known, readers, outcome))
                    for embedded in models.results(max_pending=workers + 1):
                        self._write(embedded)
                for embedded in models.results():
                    self._write(embedded)
            finally:
                index = self._context.index
                (index.flush if len(outcome) >= _MANY else index.flush_buffer)()
        return outcome.stored()

    def delete(self, ids: Sequence[str]) -> int:
        """Delete items, and return how many there were.

        Raises:
            InputError: If an id is that of a chunk of a file. Nothing is deleted then.
        """
        index = self._context.index
        with self._lock:
            hits = self._stored(list(dict.fromkeys(check_texts(ids, "id"))))
            for hit, vector in zip(hits, index.vectors([hit.id for hit in hits]), strict=True):
                self._deleted[item_content(hit)] = hit, vector
            while len(self._deleted) > _MAX_DELETED:
                self._deleted.popitem(last=False)
            index.delete_sources([hit.uri for hit in hits])
            self._context.images.drop(map(item_file, hits))
        return len(hits)

    def ids(self) -> list[str]:
        """Return the ids of all items, sorted."""
        prefix = item_uri("")
        return [uri.removeprefix(prefix) for uri in self._context.index.sources() if uri.startswith(prefix)]

    def _stored(self, ids: Sequence[str]) -> list[Hit]:
        hits = self._context.index.get(ids)
        for hit in hits:
            if not hit.is_item:
                raise _id_of_file_error(hit)
        return hits

    def _begin_reading(
        self,
        batch: Sequence[Chunk],
        vectors: Mapping[str, np.ndarray],
        readers: ThreadPoolExecutor,
        outcome: ItemOutcome,
    ) -> Iterator[_Item | None]:
        """Start to read the items of a batch, and return an iterator that waits for them; of equal ids the last counts.

        An item that is stored with the same content, or was until it was deleted, is not read again.
        """
        chunks = {chunk.id: chunk for chunk in batch}
        with self._lock:  # another thread may replace an item between the two calls of the index
            hits = self._context.index.get(list(chunks))
            same = [hit for hit in hits if hit.is_item and item_content(hit) == chunks[hit.id].source.content_hash]
            stored_vectors = self._context.index.vectors([hit.id for hit in same])
        for hit in hits:
            if not hit.is_item:
                outcome.failed[hit.id] = _id_of_file_error(hit)
                del chunks[hit.id]
        stored = {hit.id: (hit, vector) for hit, vector in zip(same, stored_vectors, strict=True)}
        known = [stored.get(id) or self._deleted.get(chunk.source.content_hash) for id, chunk in chunks.items()]
        read = partial(outcome.item_or_none, self._read)
        return readers.map(read, chunks.values(), known, map(vectors.get, chunks))

    def _read(self, chunk: Chunk, known: tuple[Hit, np.ndarray] | None, vector: np.ndarray | None) -> _Item:
        """Read the image of an item that is not yet known, if any model is to see it, and its OCR text."""
        embedder, captioner = self._context.models.embedder, self._context.models.captioner
        if known is not None:
            hit, vector = known
            is_captioned = _is_captioned(hit)
            if chunk.caption or is_captioned or captioner is None:
                described = chunk if chunk.caption or not is_captioned else _with_model_caption(chunk, hit.caption)
                return replace(described, ocr=chunk.ocr or hit.ocr, frames=()), vector
        if item_file(chunk) and not chunk.frames and (vector is None or self._ocr or captioner):
            config = limit_image_detail(ChunkingConfig(), embedder, self._ocr, captioner)
            chunk = replace(chunk, frames=self._frames(chunk, config))
        return self._ocr(chunk, self._load_detail) if self._ocr else chunk, vector

    def _load_detail(self, chunk: Chunk) -> tuple[Frame, ...]:
        """Read an image in the size of its file if it was scaled down."""
        if chunk.kind != "image" or max(chunk.frames[0].shape) < ChunkingConfig().image_side_px:
            return chunk.frames
        return self._frames(chunk, FULL_SIZE)

    def _frames(self, chunk: Chunk, config: ChunkingConfig) -> tuple[Frame, ...]:
        """Read the image of an item; one that may need more than its share of the memory is read again, alone."""
        read = partial(self._context.images.item_frames, chunk, config)
        try:
            return read(self._config.limits(self._config.threads))
        except TimeLimitError:
            raise
        except MediaError:
            with self._reading_alone:
                return read(self._config.limits(1))

    def _embed(self, reading: Iterator[_Item | None]) -> EmbeddedBatch | None:
        """Compute the vectors that are missing; return None if no item could be read."""
        models = self._context.models
        items = [item for item in reading if item is not None]
        if not items:
            return None
        chunks = [chunk for chunk, _ in items]
        if models.captioner is not None:
            described = zip(chunks, add_captions(models.captioner.get(), chunks), strict=True)
            chunks = [
                _with_model_caption(new, new.caption) if new is not old and item_file(old) else new
                for old, new in described
            ]
        new = [chunk for chunk, (_, vector) in zip(chunks, items, strict=True) if vector is None]
        missing = iter(embed_chunks(models.embedder, new))
        vectors = np.stack([next(missing) if vector is None else vector for _, vector in items])
        return EmbeddedBatch(chunks, vectors, embed_chunk_texts(models.text_embedder, chunks))

    def _write(self, batch: EmbeddedBatch | None) -> None:
        """Replace the items, and delete the images that only their predecessors used."""
        if batch is None:
            return
        index, models, chunks = self._context.index, self._context.models, batch.chunks
        # `begin` drops the rows of the predecessors, so nothing after it may fail.
        checked_vectors(batch.vectors, len(chunks), models.embedder.info.dimension)
        if models.text_embedder:
            checked_text_vectors(batch.text_vectors, len(chunks), models.text_embedder.info.dimension)
        with self._lock:
            replaced = self._stored([chunk.id for chunk in chunks])
            for chunk in chunks:
                index.begin(chunk.source)
            index.add(chunks, batch.vectors, batch.text_vectors)
            for chunk in chunks:
                index.complete(chunk.source)
            files = set(map(item_file, chunks))
            if unused := [file for file in map(item_file, replaced) if file not in files]:
                index.flush_buffer()
                self._context.images.drop(unused)


def _id_of_file_error(hit: Hit) -> InputError:
    return InputError(f"{hit.id!r} is the id of a part of the file {hit.source!r}; give items other ids")


def text_to_chunk(text: str, id: str | None, metadata: Mapping[str, Any] | None) -> Chunk:
    """Return the chunk of a text. By default its id follows from the text and the metadata."""
    text = check_text(text, "text")
    if is_binary(text):
        raise InputError(
            f"the text {text[:20]!r}... is the content of a binary file, such as an image: read the file with a loader "
            "for its format, or add it as an image"
        )
    id, metadata = _id_and_metadata(id, metadata, "text", text)
    return Chunk(Source("", "text", 0, 0, ""), "text", text=text, metadata=metadata, custom_id=id)


def is_binary(text: str) -> bool:
    """Return whether a text is the content of an image or another binary file, which a loader of texts has decoded."""
    head = text[:_BINARY_HEAD]
    return sum(map(_CONTROL.__contains__, head)) > _MAX_CONTROL_SHARE * len(head)


def image_to_chunk(
    images: ImageStore, image: ImageInput, caption: str | None, id: str | None, metadata: Mapping[str, Any] | None
) -> Chunk:
    """Return the chunk of an image; one without a file is stored. By default its id follows from bytes and metadata."""
    frames: tuple[Frame, ...] = ()
    image = decode_image_string(image) if isinstance(image, str) else image
    if isinstance(image, str | os.PathLike):
        file, digest = path_and_digest(image)
        id, metadata = _id_and_metadata(id, metadata, "image", digest)
    else:
        data, frame = data_and_frame(image)
        digest, frames = digest_of(data), (frame,)
        id, metadata = _id_and_metadata(id, metadata, "image", digest)
        file = images.store(data, f"{id}\0{digest}")
    source = Source(file, "image", 0, 0, digest)
    return Chunk(source, "image", caption=caption or "", frames=frames, metadata=metadata, custom_id=id)


def zip_columns(items: Iterable[Any], **columns: Collection[Any] | None) -> Iterator[tuple[Any, ...]]:
    """Yield each item with its value in every column; None where there is no such column."""
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        raise InputError(f"give a list of items, not {items!r:.80}")
    items = list(items)
    for name, values in columns.items():
        if isinstance(values, str) or (values is not None and len(values) != len(items)):
            raise InputError(f"{name} must be a list with one value for each of the {len(items)} items")
    return zip(items, *(values if values is not None else repeat(None) for values in columns.values()), strict=False)


def _id_and_metadata(
    id: str | None, metadata: Mapping[str, Any] | None, kind: str, content: str
) -> tuple[str, Mapping[str, Any]]:
    """Return an id that is equal for equal content and metadata, unless one is given, and the checked metadata."""
    metadata = checked_metadata(metadata or {}, f"the {kind} {content[:40]}")
    return id or digest_of(json.dumps([kind, content, metadata], sort_keys=True).encode()), metadata


def _to_item(chunk: Chunk) -> Chunk:
    """Return the chunk as the only chunk of a source of its own; raise InputError if it cannot be stored."""
    check_type(chunk, Chunk, "chunk")
    id = chunk.id
    if not isinstance(id, str) or clean(id).replace("\0", "") != id or not 0 < len(id.encode()) <= MAX_ID_BYTES:
        raise InputError(f"the id {id!r:.80} is not a string of 1 to {MAX_ID_BYTES} bytes")
    origin = {"source": chunk.source.uri} if os.path.isabs(chunk.source.uri) else {}
    image: dict[str, Any] = {}
    if chunk.kind != "text":
        where = {"file": chunk.source.uri, "hash": chunk.source.content_hash}
        if not all(where.values()):
            raise InputError(f"the {chunk.kind} {id!r} has no file to read again; give its source uri and hash")
        given = chunk.metadata.get(ITEM_IMAGE, where)
        if not isinstance(given, Mapping) or not where.items() <= given.items():
            raise InputError(f"the metadata field {ITEM_IMAGE!r} is reserved; give yours another name")
        image = {ITEM_IMAGE: where}
    metadata = checked_metadata({**origin, **chunk.metadata, **image}, item_uri(id))
    text, caption = check_text(chunk.text, "text"), check_text(chunk.caption, "caption")
    item = replace(chunk, text=text, caption=caption, metadata=metadata, custom_id=id)
    return replace(item, source=Source(item_uri(id), MEDIA_OF_KIND[chunk.kind], 0, 0, item_content(item)))


def _is_captioned(item: Hit) -> bool:
    """Return whether a model wrote the caption of an item, which then follows from its content."""
    return bool(item_file(item) and item.metadata[ITEM_IMAGE].get("captioned"))


def _with_model_caption(item: Chunk, caption: str) -> Chunk:
    image = {**item.metadata[ITEM_IMAGE], "captioned": True}
    return replace(item, caption=caption, metadata={**item.metadata, ITEM_IMAGE: image})


def item_content(item: Hit | Chunk) -> str:
    """Return a digest of everything that determines the vector of an item."""
    content = item.metadata[ITEM_IMAGE]["hash"] if item_file(item) else item.text
    return digest_of("\0".join((item.kind, repr(item.locator), content)).encode("utf-8", "replace"))
