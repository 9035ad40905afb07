"""New databases for tests: folders, or databases on the Milvus server that FLORENCE_TEST_MILVUS names."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = os.environ.get("FLORENCE_TEST_MILVUS", "").rstrip("/")


@contextmanager
def new_database(folder: Path) -> Iterator[str]:
    """Give the address of a new database: on the server, which drops it in the end, or in the folder."""
    if not SERVER:
        yield str(folder / "test.db")
        return
    from pymilvus import MilvusClient

    name = f"florence_test_{uuid.uuid4().hex}"
    server = MilvusClient(SERVER, timeout=30)
    server.create_database(name)
    yield f"{SERVER}/{name}"
    database = MilvusClient(f"{SERVER}/{name}", timeout=30, dedicated=True)
    for collection in database.list_collections():
        database.drop_collection(collection)
    database.close()
    server.drop_database(name)
