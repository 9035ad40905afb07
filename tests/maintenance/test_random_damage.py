"""Random damage of rows and records: a repair ends in a sound database with everything that was intact."""

import random
import warnings
from contextlib import suppress

import pytest

from florence_rag import check_database, repair_database
from florence_rag.errors import FlorenceError
from florence_rag.testing import ColorEmbedder
from tests.index.damaged_rows import flip
from tests.maintenance.conftest import everything, use_models

WIDTH = ColorEmbedder.info.dimension
TEXTS = ["", "x", "夜景", '{"uri": 1}', "[" * 5_000, "null", '"', "1e999"]
JSON = [{}, {"page": "1"}, {"box": [1]}, {"item_image": 3}, {"item_image": {}}, {"a": {"b": [None]}}]
NUMBERS = [float("nan"), float("inf"), 0.0, -1.0, 1e30]


def damage_row(index, choose: random.Random) -> None:
    rows = sorted(index.chunks.connection.rows("florence", ["id"]), key=lambda row: row["id"])
    field = choose.choice(["text", "caption", "terms", "source", "kind", "checksum", "locator", "metadata", "vector"])
    if field == "vector":
        value = [choose.choice(NUMBERS) for _ in range(WIDTH)]
    else:
        value = choose.choice(JSON if field in ("locator", "metadata") else [text[:16] for text in TEXTS])
    flip(index, choose.choice(rows)["id"], **{field: value})


def damage_record(index, choose: random.Random) -> None:
    connection, name = index.chunks.connection, index.chunks.ledger.name
    rows = [row for row in connection.rows(name, ["id", "state", "body", "vector"]) if row["id"] != "settings"]
    row = choose.choice(sorted(rows, key=lambda row: row["id"]))
    at = choose.randint(0, len(row["body"]))
    body = choose.choice([row["body"][:at] + choose.choice(TEXTS) + row["body"][at + 1 :], choose.choice(TEXTS)])
    state = choose.choice([row["state"], row["state"], *TEXTS[:2], "failed", "begun", "folder"])
    connection.upsert(name, [row | {"body": body, "state": state}])


def lose(index, choose: random.Random) -> None:
    rows = sorted(row["id"] for row in index.chunks.connection.rows("florence", ["id"]))
    index.chunks.connection.delete("florence", [choose.choice(rows)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_repair_ends_in_a_sound_database(folder, damage, monkeypatch, seed):
    use_models(monkeypatch)
    before, choose = everything(folder), random.Random(seed)
    with damage() as index:
        for _ in range(choose.randint(1, 6)):
            choose.choice([damage_row, damage_row, damage_record, lose])(index, choose)
    if choose.random() < 0.3:
        (folder / choose.choice(["red.png", "notes.txt"])).unlink()
    with warnings.catch_warnings(action="ignore"):
        report = repair_database(folder / "x.db")
        assert all("\n" not in str(step) for step in report.steps)
        left = [finding for finding in check_database(folder / "x.db").findings if finding.kind != "image"]
        assert left == []
        after = everything(folder)
    for uri, row in after.items():
        assert row == before.get(uri, row)
    lost = [str(step) for step in report.steps if step.outcome == "lost"]
    for uri in before.keys() - after.keys():
        assert any(uri in line or repr(before[uri][0]) in line or "sources that are lost" in line for line in lost)


def test_no_damage_raises_an_error_of_another_package(folder, damage):
    choose = random.Random(1)
    for _ in range(3):
        with damage() as index:
            damage_row(index, choose)
            damage_record(index, choose)
        with suppress(FlorenceError), warnings.catch_warnings(action="ignore"):
            check_database(folder / "x.db")
            everything(folder)
