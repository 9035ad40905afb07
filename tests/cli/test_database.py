import pytest

from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Source
from tests.cli.stand_ins import use_color_models


@pytest.fixture
def db(tmp_path):
    """A database with one chunk, made without a model."""
    path, source = tmp_path / "a.db", Source("/a.jpg", "image", 1, 1, "a")
    with MilvusIndex.open(str(path), EmbedderInfo("colors", "f", 2, "p")) as index:
        index.begin(source)
        index.add([Chunk(source, "image", caption="a red car")], [[1.0, 0.0]])
        index.complete(source)
    return path


def test_an_exported_database_is_imported(run, db, tmp_path):
    written = run("export", tmp_path / "bulk", "--db", db, "--json")
    assert (written.code, written.json["rows"], written.json["chunks"]) == (0, 1, ["chunks/00000.parquet"])
    made = run("import", tmp_path / "bulk", "--db", tmp_path / "b.db", "--index-type", "hnsw")
    assert made.code == 0
    assert "1 chunks of 1 files are now in" in made.out
    about = run("info", "--db", tmp_path / "b.db", "--json").json
    assert (about["chunks"], about["index_type"], about["vector_dtype"], about["advice"]) == (
        {"image": 1},
        "HNSW",
        "fp32",
        "",
    )


def test_info_says_what_the_last_runs_skipped(run, db):
    with MilvusIndex.open(str(db), EmbedderInfo("colors", "f", 2, "p")) as index:
        index.put_skipped_files({"/a": {".mp3": 2}, "/b": {".svg": 1, ".mp3": 1}})
    assert "\nskipped     4: 3 .mp3, 1 .svg\n" in run("info", "--db", db).out
    assert run("info", "--db", db, "--json").json["skipped"] == {".mp3": 3, ".svg": 1}


def test_a_file_that_is_no_database_is_not_exported(run, tmp_path):
    outcome = run("export", tmp_path / "bulk", "--db", tmp_path / "none.db")
    assert outcome.code == 1
    assert "there is no database at" in outcome.err


@pytest.mark.parametrize("command", [("index", "x"), ("import", "x")], ids=["index", "import"])
@pytest.mark.parametrize("name,explanation", [("nonsense", "is unknown"), ("bin_flat", "cannot be chosen")])
def test_index_types_are_checked_with_the_arguments(run, command, name, explanation):
    outcome = run(*command, "--index-type", name)
    assert outcome.code == 2
    assert explanation in " ".join(outcome.err.replace("│", " ").split())


def test_lite_refuses_other_index_types_before_a_model_is_loaded(tmp_path, monkeypatch):
    from florence_rag.rag import FlorenceRAG

    use_color_models(monkeypatch, lambda: pytest.fail("a model was opened"))
    with pytest.raises(InputError, match="unknown to Milvus Lite"):
        FlorenceRAG.open(tmp_path / "a.db", index_type="diskann")
    assert not list(tmp_path.iterdir())


def test_index_passes_the_storage_options_to_open(run, photos, opened_with):
    assert run("index", photos, "--index-type", "hnsw", "--vector-dtype", "fp16").code == 0
    (_, options), *_ = opened_with
    assert (options["index_type"], options["vector_dtype"]) == ("HNSW", "fp16")
