import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.chunking import ChunkingConfig
from florence_rag.testing import color_frame


def test_index_counts_files_and_leaves_the_unchanged_alone(run, photos):
    first = run("index", photos)
    assert (first.code, first.out.strip()) == (0, "4 added, 0 updated, 0 unchanged, 0 removed, 0 failed")
    assert run("index", photos).out.strip() == "0 added, 0 updated, 4 unchanged, 0 removed, 0 failed"


def test_index_json_is_one_line_with_the_report(run, photos):
    (photos / "broken.jpg").write_text("no picture")
    outcome = run("index", photos, "--json")
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert outcome.json.keys() == {"added", "updated", "unchanged", "removed", "failed", "near_duplicates"}
    assert outcome.json["added"] == 4
    assert [Path(failure["source"]).name for failure in outcome.json["failed"]] == ["broken.jpg"]


def test_a_bad_file_is_named_with_its_reason(run, photos):
    (photos / "broken.jpg").write_bytes(b"")
    outcome = run("index", photos)
    assert outcome.code == 0
    assert "broken.jpg: " in outcome.out
    assert outcome.out.rstrip().endswith("1 failed")


def test_index_where_every_file_is_bad_fails_and_says_so(run, tmp_path, opened_with):
    (tmp_path / "broken.jpg").write_text("no picture")
    outcome = run("index", tmp_path, "--json")
    assert outcome.code == 1
    assert outcome.json["added"] == 0
    assert outcome.err.startswith("Error: ")


def test_index_of_nothing_says_what_could_be_indexed(run, tmp_path, opened_with):
    outcome = run("index", tmp_path)
    assert outcome.code == 1
    assert ".jpg" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_missing_path_is_one_line_and_exit_code_1(run, opened_with):
    outcome = run("index", "no/such/folder")
    assert (outcome.code, outcome.out) == (1, "")
    assert "no/such/folder" in outcome.err
    assert outcome.err.count("\n") == 1


def test_prune_forgets_files_that_are_gone(run, photos):
    run("index", photos)
    (photos / "red.png").unlink()
    assert run("index", photos, "--json").json["removed"] == 0
    assert run("index", photos, "--prune", "--json").json["removed"] == 1


def test_search_by_words_shows_the_best_first(run, photos):
    run("index", photos)
    lines = run("search", "a blue thing", "-k", "2").out.splitlines()
    assert lines[0].split()[0] == "1"
    assert lines[0].endswith("blue.png")
    assert "visual similarity" in lines[1]


def test_search_json_holds_the_hits(run, photos):
    run("index", photos)
    outcome = run("search", "a blue thing", "--json")
    assert outcome.out.count("\n") == 1
    hits = outcome.json["hits"]
    assert hits[0].keys() >= {"id", "kind", "source", "score", "locator", "text", "explanation"}
    assert Path(hits[0]["source"]).name == "blue.png"


def test_search_by_image_and_by_both(run, photos, tmp_path):
    run("index", photos)
    query = tmp_path / "query.png"
    Image.fromarray(color_frame("green")).save(query)
    assert Path(run("search", "--image", query, "--json").json["hits"][0]["source"]).name == "green.png"
    both = run("search", "red", "--image", query, "-k", "2", "--kind", "image", "--json").json["hits"]
    assert {Path(hit["source"]).name for hit in both} == {"green.png", "red.png"}


def test_kinds_narrow_the_search(run, photos):
    run("index", photos)
    hits = run("search", "the red bakery", "--kind", "text", "--kind", "page", "--json").json["hits"]
    assert {hit["kind"] for hit in hits} == {"text"}


def test_filter_is_passed_on_as_it_is(run, photos):
    run("index", photos)
    outcome = run("search", "red", "--filter", "start_s >= 10")
    assert outcome.code == 1
    assert "'start_s >= 10'" in outcome.err


def test_search_says_when_nothing_is_found(run, photos):
    run("index", photos / "notes.txt")
    assert run("search", "red", "--kind", "clip").out.strip() == "Nothing found."


def test_search_draws_a_contact_sheet(run, photos, tmp_path):
    run("index", photos)
    sheet = tmp_path / "sheet.png"
    assert run("search", "blue", "--contact-sheet", sheet).code == 0
    with Image.open(sheet) as picture:
        assert picture.width > 480


def test_a_sheet_that_cannot_be_written_is_one_line(run, photos, tmp_path):
    run("index", photos)
    outcome = run("search", "blue", "--contact-sheet", tmp_path / "missing" / "sheet.png")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1


def test_ask_answers_with_confidence_and_citations(run, photos):
    run("index", photos)
    outcome = run("ask", "What is blue?", "--kind", "image", "--json")
    assert outcome.json.keys() >= {"answer", "confidence", "citations"}
    assert outcome.json["answer"] == "blue"
    assert Path(outcome.json["citations"][0]["source"]).name == "blue.png"
    told = run("ask", "What is blue?", "--kind", "image").out
    assert told.startswith("blue  confidence ")
    assert "blue.png" in told


def test_ask_quotes_a_passage(run, photos):
    run("index", photos)
    assert "“The bakery opens at seven in the morning.”" in run("ask", "When does the bakery open?").out


def test_ask_about_one_picture(run, photos):
    outcome = run("ask", "What colour is this?", "--image", photos / "green.png", "--json")
    assert outcome.json["answer"] == "green"


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
    names |= {"index_type": None, "vector_dtype": None, "chunking": ChunkingConfig(), "create": True}
    ((arguments, options),) = opened_with
    access = options.pop("model_options")
    assert (arguments, options) == (("my.db", "some-model"), {"token": "root:Milvus", "ocr": "never", **names})
    assert (access.offline, access.precision, access.backend) == (True, "bf16", "openvino")


def test_searching_makes_no_database(run, photos, opened_with):
    run("search", "red")
    run("ask", "red?")
    assert [options["create"] for _, options in opened_with] == [False, False]


def test_models_lists_what_each_is_for_and_whether_it_is_here(run):
    models = {model["name"]: model for model in run("models", "--json").json["models"]}
    tiny, default = models["florence-tiny"], models["siglip2-base"]
    assert (tiny["local"], tiny["default"], default["local"], default["default"]) == (True, False, False, True)
    assert "synthetic" in tiny["training_data"]
    told = run("models").out
    assert "florence-tiny  embed, answer, match, describe, detect, action, 9.8M parameters, on this machine" in told
    assert "siglip2-base  embed, 375M parameters, 1500 MB to fetch" in told
    assert run("models", "--markdown").out.startswith("| name | roles |")


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


def test_the_version_is_told(run):
    assert run("--version").out == f"florence-rag {version('florence-rag')}\n"
