"""Lets a Milvus server import exported files from its object storage, over its REST interface.

The server sorts and indexes the files while it serves searches. It does not compare ids, so the collections must be
new.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from florence_rag.errors import InputError, StoreError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.bulk.export import BulkFiles, read_manifest
from florence_rag.index.connection import Connection
from florence_rag.index.ledger import Ledger
from florence_rag.index.schema import VERSION, chunk_spec
from florence_rag.index.store_profile import SERVER
from florence_rag.index.tenants import split_tenant

_JOBS = "/v2/vectordb/jobs/import/"
_REQUEST_S = 60.0
_FILES_PER_JOB = 1024

ImportProgress = Callable[[str, float], None]
"""Called with the name of a collection and its imported share in [0, 1]."""


def import_uploaded(
    folder: Path,
    uri: str,
    prefix: str,
    *,
    token: str | None = None,
    collection: str = "florence",
    index_type: str = "HNSW",
    progress: ImportProgress = lambda name, share: None,
    connect: Callable[[Address, str | None], Connection] = Connection.open,
    pause_s: float = 2.0,
) -> BulkFiles:
    """Create new collections for the files of an export, let the server fill them, and return the files.

    folder: the folder of the export, or at least of its index.json. prefix: where the files were uploaded, below the
    root of the server's bucket. The ledger comes last, so that an import that is cut short leaves no index that looks
    complete.
    """
    files, address = read_manifest(folder), Address.parse(uri)
    if address.path is not None:
        raise InputError(f"{uri!r} is Milvus Lite, which imports no files of its own; omit --uploaded")
    if files.version < VERSION:
        raise InputError(
            f"{str(folder)!r} was exported by an older florence_rag, whose rows do not fit a new collection; "
            "omit --uploaded, or export the database again"
        )
    if split_tenant(collection)[1].name:
        raise InputError("a server imports files as they are, and so without a tenant; omit --uploaded")
    SERVER.check_index_type(index_type)
    connection = connect(address, token)
    try:
        connection.check_index_type(index_type, files.vector_dtype)
        _create_collections(connection, files, collection, index_type.upper())
        url, headers = uri.replace("tcp://", "http://", 1), {"Authorization": f"Bearer {token}"} if token else {}
        with httpx.Client(base_url=url, headers=headers, timeout=_REQUEST_S, trust_env=False) as client:
            for name, paths in ((collection, files.chunks), (Ledger(connection, collection).name, files.ledger)):
                uploaded = [f"{prefix.strip('/')}/{path}".lstrip("/") for path in paths]
                _import_files(client, name, uploaded, progress, pause_s)
    finally:
        connection.close()
    return files


def _create_collections(connection: Connection, files: BulkFiles, collection: str, index_type: str) -> None:
    ledger = Ledger(connection, collection)
    if ledger.exists() or connection.has(collection):
        raise InputError(f"the collection {collection!r} is there already; name a new one, as ids are not compared")
    width = files.text_embedder.dimension if files.text_embedder else None
    ledger.open()
    connection.open_collection(
        chunk_spec(SERVER, collection, files.embedder.dimension, index_type, width, vector_dtype=files.vector_dtype)
    )


def _import_files(
    client: httpx.Client, collection: str, paths: Sequence[str], progress: ImportProgress, pause_s: float
) -> None:
    for start in range(0, len(paths), _FILES_PER_JOB):
        some = [[path] for path in paths[start : start + _FILES_PER_JOB]]
        job = _post(client, "create", {"collectionName": collection, "files": some})["jobId"]
        while (found := _post(client, "get_progress", {"jobId": job}))["state"] != "Completed":
            if found["state"] == "Failed":
                raise StoreError(
                    f"the server could not import {collection!r} ({found.get('reason', 'no reason given')}); "
                    "drop the collections, put that right and import again"
                )
            progress(collection, (start + len(some) * float(found.get("progress", 0)) / 100) / len(paths))
            time.sleep(pause_s)
        progress(collection, (start + len(some)) / len(paths))


def _post(client: httpx.Client, action: str, body: dict[str, Any]) -> Any:
    try:
        answer = client.post(_JOBS + action, json=body)
        answer.raise_for_status()
        record = answer.json()
        code, data = record["code"], record.get("data")
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise StoreUnavailableError(f"the REST interface of {client.base_url} does not answer ({error})") from error
    if code != 0:
        raise StoreError(f"the server refuses the import ({record.get('message', code)})")
    return data
