import json
from pathlib import Path

import pytest

from florence_rag.index.milvus import MilvusIndex
from tests.cli.stand_ins import use_color_models
from tests.index.damaged_rows import flip


@pytest.fixture
def db(run, tmp_path, monkeypatch):
    """A database of one file and one item."""
    use_color_models(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("The bakery opens at seven.")
    run("index", "notes.txt", "--db", "x.db")
    return "x.db"


def test_damage_is_printed_line_by_line_and_repaired(run, db):
    outcome = run("check", "--db", db)
    assert (outcome.code, outcome.out) == (0, "1 sources, 1 rows: no damage\n")
    with MilvusIndex.open_unchecked(db) as index:
        (hit,) = index.find()
        flip(index, hit.id, text="\x1b[31mThe bakery\nopens at eight.")
    outcome = run("check", "--db", db)
    damage, summary = outcome.out.splitlines()
    assert outcome.code == 1
    assert damage.endswith(f"notes.txt, row '{hit.id}': its content does not fit its checksum")
    assert summary.endswith("1 faults; repair them with: florence-rag repair --db x.db")
    planned = run("repair", "--db", db, "--dry-run")
    assert planned.out.splitlines()[-1] == "1 repaired; nothing was changed"
    assert run("check", "--db", db).code == 1
    outcome = run("repair", "--db", db)
    assert outcome.code == 0
    assert outcome.out.splitlines() == [*planned.out.splitlines()[:-1], "1 repaired"]
    assert run("check", "--db", db).code == 0
    assert run("repair", "--db", db).out == "nothing to repair\n"


def test_what_is_lost_ends_in_exit_code_1(run, db, tmp_path):
    (tmp_path / "notes.txt").unlink()
    with MilvusIndex.open_unchecked(db) as index:
        (hit,) = index.find()
        flip(index, hit.id, text="The bakery opens at eight.")
    outcome = run("repair", "--db", db)
    assert outcome.code == 1
    assert outcome.out.splitlines()[0].endswith("the file, which is gone, is lost: no row of it is intact")
    assert run("check", "--db", db).code == 0


def test_a_repair_that_cannot_go_on_prints_what_it_did_and_what_to_do_as_json(run, db):
    with MilvusIndex.open_unchecked(db) as index:
        index.chunks.ledger.drop_records(["settings"])
    manifest = Path(db, "collections/florence/manifest.json")
    manifest.write_bytes(manifest.read_bytes()[:-9])
    outcome = run("repair", "--db", db, "--json")
    record = json.loads(outcome.out)
    assert outcome.code == 1 and outcome.err.startswith("Error: ")
    assert [step["outcome"] for step in record["steps"]] == ["repaired"] and record["complete"] is False
    assert record["error"].endswith("name that model: florence-rag repair --db x.db --model NAME")


@pytest.mark.parametrize("command", ["check", "repair"])
def test_a_database_that_is_not_there_is_an_error(run, command, tmp_path):
    outcome = run(command, "--db", tmp_path / "y.db")
    assert outcome.code == 1 and "there is no database" in outcome.err
    assert not (tmp_path / "y.db").exists()
