"""Asks a Milvus server to import exported files that lie in its object storage, over its REST interface.

Files, not rows, go to the server, which sorts and indexes them beside what it serves. It does not look for equal ids,
so the collections must be new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from florence_rag.errors import InputError, StoreError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.bulk.export import BulkFiles, exported
from florence_rag.index.capabilities import check_capabilities
from florence_rag.index.connection import Connection
from florence_rag.index.index_types import check_index_type
from florence_rag.index.ledger import Ledger
from florence_rag.index.schema import chunk_table

_JOBS = "/v2/vectordb/jobs/import/"
_ASK_S = 60.0
_PAUSE_S = 2.0
_FILES_PER_JOB = 1024

Told = Callable[[str, float], None]
"""Called with the name of a collection and how much of it is imported, 0 to 1."""


def import_uploaded(
    folder: Path,
    uri: str,
    prefix: str,
    *,
    token: str | None = None,
    collection: str = "florence",
    index_type: str = "HNSW",
    told: Told = lambda name, share: None,
) -> BulkFiles:
    """Make new collections for the files of an export, and let the server fill them.

    folder: where the export lies here, or at least its index.json. prefix: where its files were put below the root of
    the server's bucket. The ledger comes last: an import that is cut short leaves no index that looks complete.
    """
    files, address = exported(folder), Address.parse(uri)
    if address.path is not None:
        raise InputError(f"{uri!r} is Milvus Lite, which imports no files of its own; leave out --uploaded")
    check_index_type(index_type, lite=False)
    connection = Connection.open(address, token, create=False)
    try:
        check_capabilities(connection, index_type, files.vector_dtype)
        _make(connection, files, collection, index_type.upper())
        with httpx.Client(base_url=_base(uri), headers=_headers(token), timeout=_ASK_S, trust_env=False) as client:
            for name, paths in ((collection, files.chunks), (Ledger(connection, collection).name, files.ledger)):
                _fill(client, name, [f"{prefix.strip('/')}/{path}".lstrip("/") for path in paths], told)
    finally:
        connection.close()
    return files


def _make(connection: Connection, files: BulkFiles, collection: str, index_type: str) -> None:
    ledger = Ledger(connection, collection)
    if ledger.exists() or connection.has(collection):
        raise InputError(f"the collection {collection!r} is there already; name a new one, as ids are not compared")
    width = files.text_embedder.dimension if files.text_embedder else None
    ledger.open()
    connection.open_table(
        chunk_table(
            collection, files.embedder.dimension, index_type, width, vector_dtype=files.vector_dtype, lite=False
        )
    )


def _fill(client: httpx.Client, collection: str, paths: Sequence[str], told: Told) -> None:
    for start in range(0, len(paths), _FILES_PER_JOB):
        some = [[path] for path in paths[start : start + _FILES_PER_JOB]]
        job = _asked(client, "create", {"collectionName": collection, "files": some})["jobId"]
        while (found := _asked(client, "get_progress", {"jobId": job}))["state"] != "Completed":
            if found["state"] == "Failed":
                raise StoreError(
                    f"the server could not import {collection!r} ({found.get('reason', 'no reason given')}); "
                    "drop the collections, put that right and import again"
                )
            told(collection, (start + len(some) * float(found.get("progress", 0)) / 100) / len(paths))
            time.sleep(_PAUSE_S)
        told(collection, (start + len(some)) / len(paths))


def _asked(client: httpx.Client, what: str, body: dict[str, Any]) -> Any:
    try:
        answer = client.post(_JOBS + what, json=body)
        answer.raise_for_status()
        record = answer.json()
        code, data = record["code"], record.get("data")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise StoreUnavailableError(f"the REST interface of {client.base_url} does not answer ({error})") from error
    if code != 0:
        raise StoreError(f"the server refuses the import ({record.get('message', code)})")
    return data


def _base(uri: str) -> str:
    return uri.replace("tcp://", "http://", 1)


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
