import json

import pytest
from fpdf import FPDF
from PIL import Image

from florence_rag.testing import color_frame
from tests.cli.stand_ins import use_color_models


@pytest.fixture
def db(run, tmp_path, monkeypatch):
    """A database of two folders, with a text, a file that cannot be read and a near-duplicate."""
    use_color_models(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for name in ("2024/red.png", "2024/blue.png", "2025/green.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(color_frame(name.split("/")[1].removesuffix(".png"))).save(tmp_path / name)
    (tmp_path / "2025/notes.txt").write_text("The bakery opens at seven.")
    (tmp_path / "2025/broken.jpg").write_text("no image")
    run("index", "2024", "2025", "--db", "x.db")
    return tmp_path / "x.db"


def listed(run, db, *arguments):
    outcome = run("list", *arguments, "--db", db, "--json")
    records = [json.loads(line) for line in outcome.out.splitlines()]
    return {record.pop("source").rpartition("/")[2]: record for record in records}


def test_sources_are_listed_with_their_chunks_and_state(run, db):
    records = listed(run, db)
    assert records["red.png"] == {"state": "indexed", "chunks": {"image": 1}}
    assert records["notes.txt"] == {"state": "indexed", "chunks": {"text": 1}}
    assert (records["broken.jpg"]["state"], records["broken.jpg"]["chunks"]) == ("failed", {})
    assert "is not an image" in records["broken.jpg"]["reason"]
    assert len(records) == 5


def test_a_file_that_is_indexed_in_part_is_listed_with_what_was_skipped(run, db, tmp_path):
    document = FPDF()
    document.add_page()
    document.set_font("Helvetica")
    document.text(20, 20, "See the attachment.")
    document.embed_file(tmp_path / "2025/notes.txt")
    document.output(str(tmp_path / "report.pdf"))
    run("index", "report.pdf", "--db", db)
    record = listed(run, db, "report.pdf")["report.pdf"]
    assert (record["state"], record["chunks"]) == ("indexed", {"page": 1})
    assert [part["reason"] for part in record["skipped"]] == ["attachment"]
    assert "1 page; attachment" in run("list", "report.pdf", "--db", db).out


def test_the_list_is_sorted_and_narrowed_by_name_and_kind(run, db):
    out = run("list", "--db", db).out.splitlines()
    assert [line.split()[0] for line in out] == [
        "2024/blue.png",
        "2024/red.png",
        "failed",
        "2025/green.png",
        "2025/notes.txt",
        "5",
    ]
    assert set(listed(run, db, "2024")) == {"blue.png", "red.png"}
    assert set(listed(run, db, "202?/*.png")) == {"blue.png", "red.png", "green.png"}
    assert set(listed(run, db, "--kind", "text,page")) == {"notes.txt"}
    assert set(listed(run, db, "2025", "--kind", "image")) == {"green.png"}
    assert run("list", "elsewhere", "--db", db).out.strip() == "Nothing found."


def test_deleting_removes_what_the_names_select_and_says_how_much(run, db, tmp_path):
    outcome = run("delete", "2024", "2025/*.txt", "--db", db, "--yes", "--json")
    assert (outcome.json["sources"], outcome.json["chunks"]) == (3, 3)
    assert outcome.json["deleted"] == [
        str(tmp_path / name) for name in ("2024/blue.png", "2024/red.png", "2025/notes.txt")
    ]
    assert set(listed(run, db)) == {"green.png", "broken.jpg"}
    assert (tmp_path / "2024/red.png").exists()
    assert run("index", "2024", "--db", db, "--json").json["added"] == 2
    outcome = run("delete", "2025/broken.jpg", "--db", db, "-y")
    assert outcome.out.strip() == f"Deleted 1 source with 0 chunks from {db}"


def test_deleting_a_folder_deletes_what_was_skipped_in_it(run, db, tmp_path):
    (tmp_path / "2024/a.mp3").write_bytes(b"x")
    (tmp_path / "2025/b.svg").write_bytes(b"x")
    run("index", "2024", "2025", "--db", db)
    run("delete", "2024", "--db", db, "--yes")
    assert run("info", "--db", db, "--json").json["skipped"] == {".svg": 1}


def test_a_name_that_selects_nothing_deletes_nothing(run, db):
    outcome = run("delete", "2024", "20024", "--db", db, "--yes")
    assert outcome.code == 1
    assert "'20024' selects nothing" in outcome.err
    assert len(listed(run, db)) == 5


def test_deleting_asks_first(run, db):
    outcome = run("delete", "2024", "--db", db)
    assert outcome.code == 1
    assert "Delete 2 sources with 2 chunks" in outcome.err
    assert len(listed(run, db)) == 5


def test_a_missing_database_is_not_created(run, tmp_path):
    for command in (("list",), ("delete", "a", "--yes")):
        outcome = run(*command, "--db", tmp_path / "none.db")
        assert outcome.code == 1 and "there is no database" in outcome.err
    assert not (tmp_path / "none.db").exists()
