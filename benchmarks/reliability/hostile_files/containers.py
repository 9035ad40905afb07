"""Tars and tables that stand for very much, or whose headers and members lie. Members named good_* are good."""

from collections.abc import Iterator

import pyarrow as pa

from hostile_files.good import arrow, parquet, table, tar


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the containers."""
    png = good[".png"]
    yield "equal.parquet", parquet([bytes(1_000_000)], 3_000)
    yield "cells.parquet", parquet([bytes(100_000_000)], 64)
    yield "endless.parquet", parquet([bytes(1_000_000)], 1_000_000)
    yield "bad.parquet", parquet([b"no image %d" % number for number in range(2_000)])
    yield "groups.parquet", parquet([b"no image %d" % number for number in range(300)], row_group_size=1)
    yield "nested.parquet", table(pa.table({"image": [png] * 3, "deep": pa.array([_nested(60)] * 3)}))
    wide = {f"c{number}": ["x"] * 3 for number in range(2_000)}
    yield "columns.parquet", table(pa.table({"image": [png] * 3, **wide}))
    yield (
        "struct.parquet",
        table(pa.table({"image": [{"bytes": None, "path": "/etc/passwd"}, {"bytes": png, "path": ""}]})),
    )
    yield "batches.arrow", arrow([b"no image %d" % number for number in range(300)])
    members = {f"x{number}.png": b"no image %d" % number for number in range(2_000)}
    yield "bad.tar", tar({**members, "good_z.png": png})
    yield "many.tar", tar({f"x/{number}.bin": b"" for number in range(20_000)} | {"good_z.png": png})
    tiles = {f"x{number}.pdf": _slow(good, number) for number in range(2)}
    yield "slow.tar", tar({"good_a.png": png, **tiles, "good_z.png": png})
    yield "names.tar", tar({"../../etc/x.png": png, "/good_y.png": png, "odd\n.png": png, "a\udcff.png": png})
    yield "twice.tar", tar({"good_a.png": png}) + tar({"good_b.png": png})
    for number, name in ((b"\xff" * 12, "negative.tar"), (b"77777777777\0", "size.tar"), (b"9" * 12, "digits.tar")):
        yield name, good[".tar"][:124] + number + good[".tar"][136:]
    yield "zeros.tar", bytes(20_000_000)


def _slow(good: dict[str, bytes], number: int) -> bytes:
    from hostile_files.documents import bombs as documents

    tiles = next(data for name, data in documents(good) if name == "tiles.pdf")
    return tiles + b"\n%% %d" % number


def _nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value
