import subprocess
import sys
from importlib.metadata import version

import pytest

from florence_rag.chunking import ChunkingConfig
from florence_rag.ingest.engine import IngestConfig


@pytest.mark.parametrize(
    "arguments",
    [
        ["index"],
        ["search", "red", "--kind", "photo"],
        ["search", "red", "-k", "0"],
        ["ask"],
        ["index", ".", "--ocr", "sometimes"],
        ["dance"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_exit_with_2_before_anything_is_opened(run, opened_with, arguments):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert opened_with == []


def test_options_reach_open(run, photos, opened_with):
    run("index", photos, "--db", "my.db", "--model", "some-model", "--ocr", "never", "--token", "root:Milvus",
        "--captioner", "some-captioner", "--offline", "--precision", "bf16", "--backend", "openvino")  # fmt: skip
    names = {"captioner": "some-captioner", "detector": None, "action_model": None, "text_embedder": None}
    names |= {
        "tenant": None,
        "index_type": None,
        "vector_dtype": None,
        "chunking": ChunkingConfig(),
        "create": True,
        "ingest": IngestConfig(),
    }
    ((arguments, options),) = opened_with
    access = options.pop("model_options")
    assert (arguments, options) == (("my.db", "some-model"), {"token": "root:Milvus", "ocr": "never", **names})
    assert (access.offline, access.precision, access.backend) == (True, "bf16", "openvino")


def test_search_and_ask_do_not_create_a_database(run, photos, opened_with):
    run("search", "red")
    run("ask", "red?")
    assert [options["create"] for _, options in opened_with] == [False, False]


def test_info_without_a_database_says_how_to_make_one(run, tmp_path):
    outcome = run("info", "--db", tmp_path / "none.db")
    assert outcome.code == 1
    assert "florence-rag index" in outcome.err
    assert not (tmp_path / "none.db").exists()


def test_python_m_is_the_same_command():
    called = subprocess.run(
        [sys.executable, "-m", "florence_rag", "--help"], capture_output=True, text=True, check=True
    )
    assert "florence-rag" in called.stdout


def test_the_version_is_printed(run):
    assert run("--version").out == f"florence-rag {version('florence-rag')}\n"
