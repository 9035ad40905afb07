"""Keeps a collection of Milvus Lite whole after a write that failed, as on a full disk.

Milvus Lite forgets the rows of a flush that fails until it is started again, and the flush after that deletes them. A
write that fails tears its log apart, and what follows in the same log is lost at the next start.
"""

import logging
from copy import deepcopy
from typing import Any

from milvus_lite.engine.collection import Collection

from florence_rag.telemetry import get_logger

_logger = get_logger(__name__)
_apply = Collection._apply
_trigger_flush = Collection._trigger_flush


def install() -> None:
    """Make all collections of this process survive writes that fail."""
    Collection._apply = _apply_to_whole_log
    Collection._trigger_flush = _flush_or_restore


def _apply_to_whole_log(collection: Any, operation: Any) -> None:
    """Write to the log; after a failure flush first, which starts a new log."""
    if getattr(collection, "_log_is_torn", False):
        collection._trigger_flush()
    collection._log_is_torn = True
    try:
        _apply(collection, operation)
    except BaseException:
        # Its sequence numbers are given out again, because a gap between them means that writes were lost.
        collection._next_seq = 1 + max(collection._manifest.current_seq, collection._memtable.max_seq)
        raise
    collection._log_is_torn = False


def _flush_or_restore(collection: Any) -> None:
    """Flush, or return to the state before, so that no row is missing and the flush can be repeated."""
    manifest = collection._manifest
    before = collection._memtable, collection._wal
    named, version = (
        deepcopy((manifest._partitions, manifest._current_seq, manifest._active_wal_number)),
        manifest.version,
    )
    try:
        _trigger_flush(collection)
    except Exception as error:
        if manifest.version == version:
            collection._memtable, collection._wal = before
            manifest._partitions, manifest._current_seq, manifest._active_wal_number = named
            raise
        # The rows are written. What follows fails if the process ends, which leaves no thread to compact them.
        level = logging.WARNING if isinstance(error, OSError) else logging.DEBUG
        _logger.log(level, "a log of %s remains until the next start: %s", collection.name, error)
        collection._refresh_segment_cache()
    collection._log_is_torn = False
