"""Repairs a database: what a file or the row itself still holds is made again, and the rest is named and dropped.

    check -> plan, source by source -> records and rows that need no model -> models -> embed again, index again

A repair can be interrupted anywhere and repeated: each step leaves a database that the next check understands.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Unpack, cast

from florence_rag.batching import batched
from florence_rag.chunking import ChunkingConfig
from florence_rag.context import Context
from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError, StoreCorruptError, StoreMismatchError
from florence_rag.image_store import ImageStore
from florence_rag.index.address import Address, image_folder
from florence_rag.index.ledger import SETTINGS_ID
from florence_rag.index.lite.integrity import find_damage
from florence_rag.index.lite.repair import repair as repair_files
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.rows import chunk_to_row
from florence_rag.ingest.embed_stage import embed_batch
from florence_rag.ingest.file_ingestor import FileIngestor, RunOptions
from florence_rag.ingest.read_stage import OCRMode
from florence_rag.loading.database import DatabaseOptions, collection_of, open_database
from florence_rag.loading.loaders import EMBEDDER, TEXT_EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.maintenance.check import IndexCheck
from florence_rag.maintenance.plan import Step, hit_to_chunk, make_plan
from florence_rag.validation import validate_arguments

_ROWS_PER_STEP = 64
_PASSAGES = 16


@validate_arguments
@dataclass(frozen=True, slots=True)
class RepairReport:
    """The result of a repair.

    Attributes:
        database: The address of the database.
        steps: What was done, or, in a dry run, what would be done.
        set_aside: The folder that keeps the damaged files of Milvus Lite; "" if there are none.
        dry_run: Whether nothing was changed.
    """

    database: str
    steps: tuple[Step, ...]
    set_aside: str = ""
    dry_run: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether everything was repaired."""
        return all(step.outcome == "repaired" for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return asdict(self) | {"complete": self.is_complete}


class RepairOptions(DatabaseOptions, RunOptions, total=False):
    """Keyword arguments of `repair_database`: how files are indexed again, as `FlorenceRAG.open` and `add` take them.

    Attributes:
        ocr: When to read the text in images: "always", "never" or "auto".
        chunking: How files are split into chunks.
    """

    ocr: OCRMode
    chunking: ChunkingConfig | None


def repair_database(
    db: str | Path,
    model: str | None = None,
    *,
    dry_run: bool = False,
    report: Callable[[Step], None] = lambda step: None,
    **options: Unpack[RepairOptions],
) -> RepairReport:
    """Repair a database. Models are loaded only if something has to be embedded.

    Args:
        db: The folder of a Milvus Lite database, which no other process may have open, or the URI of a server.
        model: The embedder; by default the one that the database records.
        dry_run: Whether to change nothing, and only to report what would be done.
        report: Called with each step before it is done.
        **options: How files are indexed again; give the options with which they were indexed.

    Returns:
        What was done, and what is lost.

    Raises:
        StoreError: If there is no database, or it cannot be repaired.
        ModelError: If a model is needed and cannot be loaded.
    """
    repair = _Repair(str(db), model, options, dry_run, report)
    repair.run()
    return RepairReport(str(db), tuple(repair.steps), repair.set_aside, dry_run)


@dataclass
class _Repair:
    """One call of `repair_database`: the files of Milvus Lite come first, then the settings, then the rows."""

    db: str
    model: str | None
    options: RepairOptions
    dry_run: bool
    report: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list, init=False)
    set_aside: str = field(default="", init=False)

    def run(self) -> None:
        """Repair the parts in turn. A dry run ends at the first part that the others cannot be read without."""
        for part in (self._repair_files, self._repair_settings):
            if part() and self.dry_run:
                return
        self._repair_rows()

    @property
    def _place(self) -> tuple[str | None, str]:
        return self.options.get("token"), collection_of(self.options)

    def _add(self, *steps: Step) -> None:
        for step in steps:
            self.steps.append(step)
            self.report(step)

    def _repair_files(self) -> bool:
        """Write damaged collections of Milvus Lite again, and return whether there are any."""
        path = Address.parse(self.db).path
        damage = find_damage(path, thorough=True) if path is not None and path.is_dir() else []
        if damage and path is not None:
            lost: tuple[str, ...] = ()
            if not self.dry_run:
                files = repair_files(path)
                damage, lost, self.set_aside = list(files.damage), files.lost, str(files.set_aside or "")
            self._add(*(Step("repaired", f"{each}; its collection is written again") for each in damage))
            self._add(*(Step("lost", each) for each in lost))
        return bool(damage)

    def _repair_settings(self) -> bool:
        """Record the embedder again if the settings are lost or damaged, and return whether they are."""
        try:
            MilvusIndex.require_embedders(self.db, *self._place)
        except StoreCorruptError as error:
            if self.model is None:
                raise StoreCorruptError(
                    f"{str(error).partition(';')[0]}, so nothing shows which model filled it; name that model: "
                    f"florence-rag repair --db {self.db} --model NAME"
                ) from error
            self._add(Step("repaired", f"recorded again that {self.model} filled the database"))
            if not self.dry_run:
                _restore_settings(self.db, self.model, self.options)
            return True
        return False

    def _repair_rows(self) -> None:
        """Repair the ledger, the rows and the cached answers; load models only if they are needed."""
        token, collection = self._place
        with MilvusIndex.open_unchecked(self.db, token, collection) as index:
            check = IndexCheck(index, ImageStore(index, image_folder(self.db, collection)))
            check.run()
            plan = make_plan(check)
            self._add(*plan.steps)
            if not self.dry_run:
                plan.write(index)
        if not self.dry_run and (plan.embed or plan.reindex):
            with _open_with_models(self.db, self.model, self.options) as context:
                self._add(*_embed_again(context, plan.embed))
                self._add(*_index_again(context, plan.reindex, self.options))


def _restore_settings(db: str, model: str, options: RepairOptions) -> None:
    """Record the embedders of a database that has lost its settings, if they made its vectors."""
    token, collection = options.get("token"), collection_of(options)
    embedder = load_model(EMBEDDER, model, options.get("model_options"))
    name = options.get("text_embedder")
    text_embedder = load_model(TEXT_EMBEDDER, name, options.get("model_options")).info if name else None
    MilvusIndex.restore_settings(db, embedder.info, text_embedder, token, collection)
    with MilvusIndex.open_unchecked(db, token, collection) as index:
        passages = list(islice(index.find(kinds={"text"}), _PASSAGES))
        stored = index.vectors([hit.id for hit in passages])
        if passages and (stored * unit_rows(embedder.embed_texts([hit.text for hit in passages]))).sum(1).max() < 0.99:
            index.chunks.ledger.drop_records([SETTINGS_ID])
            raise StoreMismatchError(f"{model} did not make the vectors of {db!r}; name the model that did")


@contextmanager
def _open_with_models(db: str | Path, model: str | None, options: RepairOptions) -> Iterator[Context]:
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # about the rows that are repaired now
        database = open_database(db, model, cast("DatabaseOptions", {**options, "create": True}))
    with closing(database.index):
        yield Context(database.index, database.models, ImageStore(database.index, database.image_folder))


def _embed_again(context: Context, ids: Sequence[str]) -> Iterator[Step]:
    """Compute the fields of rows that follow from their content, and replace each row in one write."""
    index, models = cast("MilvusIndex", context.index), context.models
    for some in batched(ids, _ROWS_PER_STEP):
        chunks = []
        for hit in index.get(some):
            try:
                chunks.append(hit_to_chunk(hit, context.images.frames(hit) if hit.kind != "text" else ()))
            except InputError as error:
                yield Step("kept", f"the row {hit.id!r} cannot be embedded again ({error})", hit.uri)
        if chunks:
            batch = embed_batch(models, chunks)
            texts = [None] * len(chunks) if batch.text_vectors is None else batch.text_vectors
            index.load_rows(map(chunk_to_row, chunks, batch.vectors, texts))


def _index_again(context: Context, uris: Sequence[str], options: RepairOptions) -> Iterator[Step]:
    if not uris:
        return
    index = cast("MilvusIndex", context.index)
    index.mark_incomplete(uris)
    ingestor = FileIngestor(
        context,
        ocr_mode=options.get("ocr", "auto"),
        index_regions=options.get("detector") is not None,
        chunking=options.get("chunking"),
    )
    run_options = {name: value for name, value in options.items() if name in RunOptions.__optional_keys__}
    failed = ingestor.add(uris, cast("RunOptions", run_options)).failed
    lost = {failure.source for failure in index.failures()}
    for failure in failed:
        problem = f"it could not be indexed again ({failure.reason})"
        yield Step("lost" if failure.source in lost else "kept", problem, failure.source)
