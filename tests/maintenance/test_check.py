import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from florence_rag import check_database
from florence_rag.errors import StoreLockedError, StoreUnavailableError
from florence_rag.index.ledger import Entry
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder
from tests.index.damaged_rows import flip, flip_record
from tests.maintenance.conftest import id_of

WIDTH = ColorEmbedder.info.dimension


def found(folder) -> set[tuple[str, str]]:
    """Return the kind and the source of each finding."""
    report = check_database(folder / "x.db")
    assert report.is_sound == (not report.findings)
    assert all("\n" not in str(finding) for finding in report.findings)
    return {(finding.kind, finding.source.removeprefix(f"{folder}/")) for finding in report.findings}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def test_a_sound_database_has_no_findings(folder):
    report = check_database(folder / "x.db")
    assert (report.findings, report.rows, report.sources, report.unverified) == ((), 7, 7, 0)
    assert (report.gone, report.changed, report.unfinished) == ((), (), ())
    assert json.loads(json.dumps(report.to_dict()))["sound"] is True


@pytest.mark.parametrize(
    "fields,kind",
    [
        ({"text": "The bakery opens at eight."}, "content"),
        slow({"metadata": {"n": 1}}, "content"),
        ({"locator": {"page": "2"}}, "content"),
        slow({"kind": "txet"}, "content"),
        slow({"checksum": "0" * 32}, "content"),
        ({"checksum": ""}, "vector"),
        ({"terms": "bakery"}, "vector"),
        slow({"page": 3}, "vector"),
        slow({"vector": np.eye(WIDTH)[1].tolist()}, "vector"),
        ({"vector": [float("nan")] * WIDTH}, "vector"),
        slow({"vector": [0.0] * WIDTH}, "vector"),
    ],
)
def test_silent_damage_of_a_row_is_found(folder, damage, fields, kind):
    with damage() as index:
        flip(index, id_of(index, folder / "notes.txt"), **fields)
    assert found(folder) == {(kind, "notes.txt")}


def test_metadata_that_filters_do_not_find_are_damage(folder, damage):
    with damage() as index:
        flip(index, "milk", **{"metadata.n.m": 2})
    assert found(folder) == {("vector", "item:milk")}


def test_rows_that_do_not_fit_the_ledger_are_found(folder, damage):
    with damage() as index:
        index.chunks.connection.delete("florence", ["milk"])
        index.chunks.ledger.drop(["item:cheese"])
        index.chunks.ledger.put([Entry(str(folder / "red.png"), "failed", reason="x")])
        index.chunks.ledger.put([Entry(str(folder / "blue.png"), "begun")])
    kinds = {("count", "item:milk"), ("unknown-source", "item:cheese"), ("count", "red.png")}
    assert found(folder) == kinds
    assert check_database(folder / "x.db").unfinished == (str(folder / "blue.png"),)


@pytest.mark.parametrize(
    "body", ["{}", *map(slow, ["", '{"uri": "item:milk"}', "[" * 9_000, '{"uri": "item:cheese"}'])]
)
def test_a_record_that_cannot_be_read_is_found(folder, damage, body):
    with damage() as index:
        flip_record(index, "item:milk", body=body)
    assert found(folder) == {("record", ""), ("unknown-source", "item:milk")}


def test_damaged_settings_are_found(folder, damage):
    with damage() as index:
        connection, name = index.chunks.connection, index.chunks.ledger.name
        row = connection.rows_of(name, ["settings"], ["*"])["settings"]
        connection.upsert(name, [row | {"body": row["body"].replace('"dimension"', '"dimensiom"')}])
    assert found(folder) == {("settings", "")}
    (finding,) = check_database(folder / "x.db").findings
    assert "its checksum does not fit" in finding.problem


def test_lost_settings_are_found(folder, damage):
    with damage() as index:
        index.chunks.connection.delete(index.chunks.ledger.name, ["settings"])
    assert found(folder) == {("settings", "")}


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-20])])
def test_a_damaged_stored_image_is_found(folder, change):
    (image,) = (folder / "x.images" / "florence").iterdir()
    change(image)
    assert found(folder) == {("image", "item:poster")}


def test_a_cached_answer_that_cannot_be_read_is_found(folder, damage):
    with damage() as index:
        store = index.answer_store()
        row = {"id": "a", "location": "", "model": "", "body": "{}", "vector": [0.0] * (2 * WIDTH)}
        index.chunks.connection.upsert(store._name, [row])
    assert found(folder) == {("answer", "")}


def test_files_that_are_gone_or_changed_are_named_and_no_damage(folder):
    (folder / "red.png").unlink()
    (folder / "notes.txt").write_text("The bakery opens at eight.")
    os.utime(folder / "blue.png", (1, 1))
    report = check_database(folder / "x.db")
    assert report.is_sound
    assert report.gone == (str(folder / "red.png"),)
    assert report.changed == (str(folder / "notes.txt"),)


def test_files_of_milvus_lite_that_are_damaged_are_found(folder):
    manifest = folder / "x.db/collections/florence/manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-30])
    before = sorted(folder.rglob("*"))
    assert {kind for kind, _ in found(folder)} == {"file"}
    assert sorted(folder.rglob("*")) == before


def test_rows_of_an_old_version_have_no_checksum_and_no_damage(tmp_path):
    shutil.unpack_archive(Path(__file__).parents[1] / "index/version_2.zip", tmp_path)
    report = check_database(tmp_path / "version_2.db")
    assert report.is_sound and report.unverified == 4
    assert report.gone == ("/photos/car.jpg", "/photos/paper.pdf")


def test_a_missing_and_an_open_database_are_errors(tmp_path, folder):
    with pytest.raises(StoreUnavailableError, match="there is no database"):
        check_database(tmp_path / "y.db")
    holder = "import sys; from florence_rag.index.milvus import MilvusIndex as M; i = M.open_unchecked(sys.argv[1]); "
    command = [sys.executable, "-c", f"{holder}print(flush=True); input()", str(folder / "x.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(StoreLockedError):
            check_database(folder / "x.db")
        process.communicate(b"\n")


def test_a_check_loads_no_model(folder):
    code = (
        "import sys, florence_rag; florence_rag.check_database(sys.argv[1]); "
        "print(*{'torch', 'transformers'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code, folder / "x.db"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_second_collection_is_checked_alone(folder, damage):
    with MilvusIndex.open(str(folder / "x.db"), ColorEmbedder.info, collection="other"):
        pass
    with damage() as index:
        flip(index, "milk", text="x")
    assert check_database(folder / "x.db", collection="other").is_sound
