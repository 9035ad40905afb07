"""Sources of `florence-rag index` that are not files or folders."""

import io
from pathlib import Path

import pytest

from florence_rag.chunking import ChunkingConfig
from florence_rag.cli.index import read_list
from florence_rag.rag import FlorenceRAG
from tests.cli.stand_ins import use_color_models
from tests.sources.io.makers import Page, png, serving, write_parquet, write_tar


@pytest.fixture(autouse=True)
def doubles(monkeypatch, tmp_path) -> None:
    """Real Milvus Lite and real media; colors for models."""
    use_color_models(monkeypatch)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def index(run):
    return lambda *arguments: run("index", *arguments, "--db", "x.db", "--ocr", "never", "--json")


def test_patterns_urls_tars_and_tables_in_one_run(index, run, tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    write_tar(tmp_path / "a.tar", {"1.png": png("green"), "1.txt": "emerald"})
    write_parquet(tmp_path / "p.parquet", {"photo": [png("blue")], "said": ["azure"]})
    with serving({"/white.png": Page(png("white"), {"ETag": "1"})}) as site:
        arguments = ("*.png", "a.tar", "p.parquet", f"{site.url}/white.png", "--caption-column", "said")
        outcome = index(*arguments)
        assert outcome.code == 0 and outcome.json["added"] == 4
        assert index(*arguments).json["unchanged"] == 4
    found = run("search", "azure", "--db", "x.db", "--json").json["hits"]
    assert found[0]["source"].endswith("p.parquet#row=0&image=photo&caption=said")
    shown = run("search", "emerald", "--db", "x.db").out
    assert f"tar:{tmp_path.resolve()}/a.tar#1.png" in shown


def test_missing_files_of_a_list_are_reported(index, tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    (tmp_path / "list.txt").write_text("red.png\n\ngone.png\nhttp://127.0.0.1:1/a.png\n")
    outcome = index("--files-from", "list.txt")
    assert outcome.code == 0
    assert outcome.json["added"] == 1
    assert [failure["source"] for failure in outcome.json["failed"]] == [
        "http://127.0.0.1:1/a.png",
        str(tmp_path.resolve() / "gone.png"),
    ]


def test_a_list_may_come_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a.png\nb.png\n"))
    assert read_list(Path("-")) == ["a.png", "b.png"]


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa.png\r\n\r\nb\u2028c.png\r\n".encode())
    assert read_list(tmp_path / "list.txt") == ["a.png", "b\u2028c.png"]


def test_index_needs_paths_or_a_list(index):
    outcome = index()
    assert outcome.code == 2 and "give paths, or a list" in outcome.err


def test_a_missing_list_is_one_line(index):
    outcome = index("--files-from", "nowhere.txt")
    assert outcome.code != 0 and "'nowhere.txt' cannot be read" in outcome.err


def test_the_error_about_a_table_without_images_names_its_columns(index, tmp_path):
    write_parquet(tmp_path / "p.parquet", {"id": [1], "words": ["a"]})
    outcome = index("p.parquet")
    assert outcome.code != 0
    assert "--image-column`: id (int64), words (string)" in outcome.json["failed"][0]["reason"]


@pytest.mark.parametrize("command", ["index", "watch"])
def test_index_passes_video_frames_to_open(run, monkeypatch, tmp_path, command):
    class Opened(Exception):
        """With what."""

    def open(db, model, *, chunking: ChunkingConfig, **options):
        raise Opened(chunking.video_frames)

    monkeypatch.setattr(FlorenceRAG, "open", open)
    with pytest.raises(Opened, match="key"):
        run(command, tmp_path, "--video-frames", "key")
    with pytest.raises(Opened, match="all"):
        run(command, tmp_path)
