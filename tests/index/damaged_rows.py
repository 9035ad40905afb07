"""Changes stored rows behind the back of the index, as a damaged disk does: their checksums stay."""

from florence_rag.index.milvus import MilvusIndex


def flip(index: MilvusIndex, id: str, **fields) -> None:
    """Replace fields of a stored row."""
    connection, name = index.chunks.connection, index.chunks.name
    row = connection.rows_of(name, [id], ["*"])[id]
    connection.upsert(name, [{key: value for key, value in row.items() if key != "bm25"} | fields])


def flip_record(index: MilvusIndex, uri: str, **fields) -> None:
    """Replace fields of a record of the ledger."""
    connection, name = index.chunks.connection, index.chunks.ledger.name
    for row in list(connection.rows(name, ["id", "state", "body", "vector"])):
        if f'"uri": "{uri}"' in row["body"]:
            connection.upsert(name, [row | fields])
