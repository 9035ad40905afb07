"""The command that moves a database to another embedder: here a copy of the shipped model under another name."""

import shutil

import pytest
from PIL import Image

from florence_rag.models.registry import find_model
from florence_rag.testing import color_frame


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model, to the index: it has another name."""
    folder = tmp_path_factory.mktemp("models") / "other"
    shutil.copytree(find_model("florence-tiny").source, folder)
    return folder


@pytest.fixture
def db(run, tmp_path, other):
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    files = sorted(tmp_path.glob("*.png"))
    run("index", *files, "--db", tmp_path / "my.db", "--model", "florence-tiny", "--ocr", "never")
    return tmp_path / "my.db"


def embedder(run, db):
    return run("info", "--db", db, "--json").json["embedder"]["name"]


def test_a_database_moves_and_is_searched_with_the_new_model(run, db, other):
    record = run("reembed", "--to", other, "--db", db, "--json").json
    assert (record["sources"], record["total"], record["switched"], record["failed"]) == (3, 3, True, [])
    assert record["overlap"]["mean_overlap"] == 1.0
    assert embedder(run, db) == str(other)
    assert len(run("search", "red", "--db", db, "--json").json["hits"]) == 3


def test_without_the_switch_the_old_model_stays_until_the_next_run(run, db, other, tmp_path):
    (tmp_path / "queries.txt").write_text("a red car\na dog\n")
    waiting = run("reembed", "--to", other, "--db", db, "--no-switch", "--queries", tmp_path / "queries.txt")
    assert "mean overlap@10: 100% (2 queries)" in waiting.out
    assert "It can switch to the new vectors." in waiting.out
    assert embedder(run, db) == "florence-tiny"
    assert "It uses the new vectors." in run("reembed", "--to", other, "--db", db).out
    assert embedder(run, db) == str(other)


def test_a_missing_file_blocks_the_switch_unless_it_is_skipped(run, db, other, tmp_path):
    (tmp_path / "red.png").unlink()
    refused = run("reembed", "--to", other, "--db", db)
    assert (refused.code, embedder(run, db)) == (1, "florence-tiny")
    assert "red.png" in refused.err
    assert run("reembed", "--to", other, "--db", db, "--skip-unreadable").code == 0
    assert run("info", "--db", db, "--json").json["failed"][0]["source"].endswith("red.png")


def test_a_missing_database_is_an_error_that_says_how_to_make_one(run, tmp_path):
    outcome = run("reembed", "--to", "florence-tiny", "--db", tmp_path / "none.db")
    assert outcome.code == 1 and "florence-rag index" in outcome.err


def test_an_unfinished_move_is_shown_and_can_be_rolled_back(run, db, other):
    nothing = run("reembed", "--rollback", "--db", db)
    assert nothing.code == 1 and "nothing to roll back" in nothing.err
    run("reembed", "--to", other, "--db", db, "--no-switch")
    assert run("info", "--db", db, "--json").json["shadow_embedder"]["name"] == str(other)
    assert f"moving to   {other}: continue with `florence-rag reembed --to`, or drop it" in run("info", "--db", db).out
    assert run("reembed", "--rollback", "--db", db, "--json").json == {"rolled_back": str(other)}
    assert run("info", "--db", db, "--json").json["shadow_embedder"] is None
    assert embedder(run, db) == "florence-tiny"


@pytest.mark.parametrize("arguments", [(), ("--to", "florence-tiny", "--rollback")])
def test_either_a_target_or_rollback_is_required(run, tmp_path, arguments):
    outcome = run("reembed", "--db", tmp_path / "none.db", *arguments)
    assert outcome.code == 2 and "either --to NAME or --rollback" in outcome.err


def test_images_of_items_move_too(run, tmp_path, other):
    from florence_rag import FlorenceRAG

    with FlorenceRAG.open(tmp_path / "given.db", "florence-tiny", ocr="never") as rag:
        (given,) = rag.items.upsert_images([color_frame("red")], ids=["mine"])
    record = run("reembed", "--to", other, "--db", tmp_path / "given.db", "--json").json
    assert (record["sources"], record["failed"], record["switched"]) == (1, [], True)
    (hit,) = run("search", "red", "--db", tmp_path / "given.db", "--json").json["hits"]
    assert hit["id"] == given
