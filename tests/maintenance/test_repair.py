import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from florence_rag import check_database, repair_database
from florence_rag.errors import StoreCorruptError, StoreMismatchError
from florence_rag.index.ledger import Entry
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.testing import ColorEmbedder
from tests.index.damaged_rows import flip, flip_record
from tests.maintenance.conftest import everything, id_of, use_models

WIDTH = ColorEmbedder.info.dimension
OTHER = [WIDTH**-0.5] * WIDTH


@pytest.fixture
def models(monkeypatch) -> list[str]:
    """Stand-ins for the models; lists the embedders that are loaded."""
    loaded: list[str] = []

    def load() -> ColorEmbedder:
        loaded.append("embedder")
        return ColorEmbedder()

    use_models(monkeypatch, load)
    return loaded


def repaired(folder: Path) -> list[tuple[str, str]]:
    """Repair the database, check that nothing is left to do, and return the outcome of each step with its source."""
    plan = repair_database(folder / "x.db", dry_run=True)
    report = repair_database(folder / "x.db")
    assert [step for step in report.steps if step.outcome != "kept"] == [s for s in plan.steps if s.outcome != "kept"]
    again = repair_database(folder / "x.db")
    assert all(step.outcome == "kept" for step in again.steps)
    if not again.steps:
        assert check_database(folder / "x.db").is_sound
    assert report.is_complete == all(step.outcome == "repaired" for step in report.steps)
    return [(step.outcome, step.source.removeprefix(f"{folder}/")) for step in report.steps]


def test_a_sound_database_stays_as_it_is(folder, models):
    before = everything(folder)
    assert repaired(folder) == []
    assert everything(folder) == before and models == []


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "fields",
    [{"text": "another"}, {"vector": OTHER}, *map(slow, [{"metadata": {"a": 1}}, {"terms": "zebra"}, {"kind": "x"}])],
)
def test_a_file_that_is_there_is_indexed_again(folder, damage, models, fields):
    before = everything(folder)
    with damage() as index:
        flip(index, id_of(index, folder / "notes.txt"), **fields)
    assert repaired(folder) == [("repaired", "notes.txt")]
    assert everything(folder) == before


@pytest.mark.parametrize("id", ["milk", "poster"])
@pytest.mark.parametrize(
    "fields", [{"vector": OTHER}, slow({"vector": [float("nan")] * WIDTH}), slow({"terms": "zebra"})]
)
def test_an_item_with_a_damaged_vector_is_embedded_again(folder, damage, models, id, fields):
    before = everything(folder)
    with damage() as index:
        flip(index, id, **fields)
    assert repaired(folder) == [("repaired", f"item:{id}")]
    assert everything(folder) == before


def test_an_item_with_damaged_content_is_lost_and_the_others_stay(folder, damage, models):
    before = everything(folder)
    with damage() as index:
        flip(index, "milk", text="another")
    assert repaired(folder) == [("lost", "item:milk")]
    assert everything(folder) == {uri: row for uri, row in before.items() if uri != "item:milk"}
    assert models == []


def test_a_row_that_is_missing_is_written_again_or_reported(folder, damage, models):
    before = everything(folder)
    with damage() as index:
        index.chunks.connection.delete("florence", ["milk"])
        index.chunks.drop_sources([str(folder / "red.png")])
    assert repaired(folder) == [("repaired", "red.png"), ("lost", "item:milk")]
    assert everything(folder) == {uri: row for uri, row in before.items() if uri != "item:milk"}


def test_damaged_rows_of_a_file_that_is_gone_are_dropped_and_named(folder, damage, models):
    (folder / "red.png").unlink()
    (folder / "notes.txt").unlink()
    with damage() as index:
        flip(index, id_of(index, folder / "red.png"), vector=OTHER)
        flip(index, id_of(index, folder / "notes.txt"), vector=OTHER)
    assert repaired(folder) == [("repaired", "notes.txt"), ("lost", "red.png")]
    assert set(everything(folder)) == {
        *(str(folder / name) for name in ("blue.png", "green.png", "notes.txt")),
        *(f"item:{id}" for id in ("milk", "cheese", "poster")),
    }


@pytest.mark.parametrize("uri", ["item:milk", "item:poster"])
@pytest.mark.parametrize("lost", [slow(False), True])
def test_an_item_that_the_ledger_has_lost_is_listed_again(folder, damage, models, uri, lost):
    before = everything(folder)
    with damage() as index:
        flip_record(index, uri, body="{")
        if lost:
            index.chunks.ledger.drop([uri])
    assert repaired(folder) == [("repaired", "")] * (not lost) + [("repaired", uri)]
    assert everything(folder) == before and models == []
    with FlorenceRAG.open(folder / "x.db") as rag, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ColorEmbedder, "embed_texts", None)  # an item that has not changed is not embedded
        rag.items.upsert_texts(["red milk"], ids=["milk"])


def test_a_file_that_the_ledger_has_lost_is_indexed_again_or_kept(folder, damage, models):
    before = everything(folder)
    (folder / "red.png").unlink()
    with damage() as index:
        index.chunks.ledger.drop([str(folder / "red.png")])
        flip_record(index, str(folder / "blue.png"), body="nonsense")
    assert repaired(folder) == [("repaired", ""), ("repaired", "blue.png"), ("repaired", "red.png")]
    assert everything(folder) == before


def test_rows_of_a_source_that_has_failed_are_deleted(folder, damage, models):
    with damage() as index:
        index.chunks.ledger.put([Entry("/gone.jpg", "failed", reason="x")])
        index.chunks.connection.upsert("florence", [next(rows_of(index, "milk")) | {"id": "x", "source": "/gone.jpg"}])
    assert repaired(folder) == [("repaired", "/gone.jpg")]


def rows_of(index, id):
    row = index.chunks.connection.rows_of("florence", [id], ["*"])[id]
    yield {name: value for name, value in row.items() if name != "bm25"}


def test_an_item_whose_stored_image_is_lost_is_kept_and_reported(folder, models):
    before = everything(folder)
    (image,) = (folder / "x.images/florence").iterdir()
    image.unlink()
    assert repaired(folder) == [("kept", "item:poster")]
    assert everything(folder) == before


def test_cached_answers_that_cannot_be_read_are_deleted(folder, damage, models):
    with damage() as index:
        store = index.answer_store()
        row = {"id": "a", "location": "", "model": "", "body": "{}", "vector": [0.0] * (2 * WIDTH)}
        index.chunks.connection.upsert(store._name, [row])
    assert repaired(folder) == [("repaired", "")]


def test_an_interrupted_run_is_completed(folder, damage, models):
    before = everything(folder)
    uri = str(folder / "red.png")
    with damage() as index:
        index.chunks.ledger.put([replace(index.chunks.ledger.sources()[uri], state="begun", chunks={})])
    assert repaired(folder) == [("repaired", "red.png")]
    assert everything(folder) == before


@pytest.mark.parametrize("is_set_aside", [True, slow(False)])
def test_rows_of_an_interrupted_run_whose_file_is_gone_are_kept(folder, damage, models, is_set_aside):
    before = everything(folder)
    gone = {str(folder / name) for name in ("red.png", "notes.txt")}
    with damage() as index:
        entries = index.chunks.ledger.sources()
        index.chunks.ledger.put([replace(entries[uri], state="begun", chunks={}) for uri in gone])
    for uri in gone:
        Path(uri).unlink()
    if is_set_aside:
        with MilvusIndex.open(str(folder / "x.db"), ColorEmbedder.info):  # sets the rows aside
            pass
        (lines,) = (folder / "x.db").glob("set-aside/*/florence.jsonl")
        lines.write_bytes(lines.read_bytes().replace(b"bakery", b"garage") + b"not JSON" + bytes([255]))
        before.pop(str(folder / "notes.txt"))
    kept = sorted(Path(uri).name for uri in gone & before.keys())
    assert repaired(folder) == [("repaired", name) for name in kept]
    assert models == []
    with MilvusIndex.open(str(folder / "x.db"), ColorEmbedder.info) as index:
        index.delete_sources(gone - before.keys())
    assert everything(folder) == before


@pytest.mark.parametrize("state", ["begun", *map(slow, ["failed", "near-duplicate", "folder", "complet"])])
def test_an_item_whose_state_is_damaged_is_not_lost(folder, damage, models, state):
    before = everything(folder)
    with damage() as index:
        flip_record(index, "item:milk", state=state)
    assert repaired(folder) == [("repaired", ""), ("repaired", "item:milk")]
    assert everything(folder) == before


def test_a_file_that_can_no_longer_be_read_is_reported(folder, damage, models):
    (folder / "red.png").write_bytes(b"no image")
    with damage() as index:
        flip(index, id_of(index, folder / "red.png"), vector=OTHER)
    report = repair_database(folder / "x.db")
    assert [step.outcome for step in report.steps] == ["repaired", "lost"]
    assert "could not be indexed again (" in report.steps[1].action
    assert str(folder / "red.png") not in everything(folder)


def test_rows_of_an_old_version_get_checksums(tmp_path, models):
    shutil.unpack_archive(Path(__file__).parents[1] / "index/version_2.zip", tmp_path)
    db = tmp_path / "version_2.db"
    assert [step.outcome for step in repair_database(db).steps] == ["repaired"]
    assert (check_database(db).unverified, check_database(db).is_sound) == (0, True)
    with MilvusIndex.open_unchecked(str(db)) as index:
        flip(index, "note", checksum="")
    assert [finding.source for finding in check_database(db).findings] == ["item:note"]


def test_damaged_files_of_milvus_lite_are_repaired_first(folder, models):
    before = everything(folder)
    manifest = folder / "x.db/collections/florence/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    plan = repair_database(folder / "x.db", dry_run=True)
    assert plan.dry_run and not plan.set_aside and len(plan.steps) == 1
    report = repair_database(folder / "x.db")
    assert report.is_complete and Path(report.set_aside).is_dir()
    assert json.loads(json.dumps(report.to_dict()))["complete"] is True
    assert everything(folder) == before
    assert check_database(folder / "x.db").is_sound


@pytest.mark.parametrize("lost", [True, False])
def test_settings_that_are_lost_or_damaged_are_written_again_for_the_model_that_you_name(folder, damage, models, lost):
    before = everything(folder)
    with damage() as index:
        connection, name = index.chunks.connection, index.chunks.ledger.name
        (row,) = connection.rows(name, ["id", "state", "body", "vector"], 'id == "settings"')
        connection.upsert(name, [row | {"body": row["body"][:-9]}])
        if lost:
            connection.delete(name, ["settings"])
    with pytest.raises(StoreCorruptError, match=r"which model filled it; name that model: florence-rag repair --db .+"):
        repair_database(folder / "x.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ColorEmbedder, "embed_texts", lambda self, texts: -np.eye(len(texts), WIDTH, dtype=np.float32))
        with pytest.raises(StoreMismatchError, match=r"colors did not make the vectors of .+; name the model that did"):
            repair_database(folder / "x.db", "colors")
    assert len(repair_database(folder / "x.db", "colors", dry_run=True).steps) == 1
    assert repair_database(folder / "x.db", "colors").is_complete
    assert everything(folder) == before and check_database(folder / "x.db").is_sound


KILLED = """
import os, signal, sys
import pytest
from florence_rag import repair_database
from florence_rag.index.connection import Connection
from tests.maintenance.conftest import use_models

use_models(pytest.MonkeyPatch())
left = int(sys.argv[2])

def killing(call):
    def counted(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return counted

for name in ("upsert", "delete", "flush"):
    setattr(Connection, name, killing(getattr(Connection, name)))
repair_database(sys.argv[1])
"""
POINTS = [*map(slow, [1, 2, 3]), 5, *map(slow, [8, 12])]


@pytest.mark.parametrize("writes", POINTS)
def test_a_killed_repair_can_be_repeated(folder, damage, models, writes):
    before = everything(folder)
    with damage() as index:
        flip(index, "milk", vector=OTHER)
        flip(index, "cheese", text="lost")
        flip_record(index, "item:poster", body="{")
        flip(index, id_of(index, folder / "red.png"), vector=OTHER)
        index.chunks.drop_sources([str(folder / "blue.png")])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, str(folder / "x.db"), str(writes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    check_database(folder / "x.db")
    repair_database(folder / "x.db")
    assert check_database(folder / "x.db").is_sound
    assert everything(folder) == {uri: row for uri, row in before.items() if uri != "item:cheese"}
