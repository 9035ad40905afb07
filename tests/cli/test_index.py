"""florence-rag watch and failures, as programs on a real Milvus Lite."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from florence_rag.index.milvus import MilvusIndex
from florence_rag.index_report import IndexReport
from florence_rag.testing import ColorEmbedder, color_frame

SKIPPED = ("skipped", "skipped_counts", "words_pending")
PROGRAM = Path(__file__).with_name("color_program.py")


def test_index_counts_files_and_skips_unchanged_ones(run, photos):
    first = run("index", photos)
    assert (first.code, first.out.strip()) == (0, "4 added, 0 updated, 0 unchanged, 0 removed, 0 failed")
    assert run("index", photos).out.strip() == "0 added, 0 updated, 4 unchanged, 0 removed, 0 failed"


def test_index_json_is_one_line_with_the_report(run, photos):
    (photos / "broken.jpg").write_text("no image")
    outcome = run("index", photos, "--json")
    assert outcome.code == 0
    assert outcome.out.count("\n") == 1
    assert outcome.json.keys() == {"added", "updated", "unchanged", "removed", "failed", "near_duplicates", *SKIPPED}
    assert outcome.json["added"] == 4
    assert [Path(failure["source"]).name for failure in outcome.json["failed"]] == ["broken.jpg"]


def test_files_that_are_not_read_are_counted_by_kind(run, photos):
    for name in ("a.mp3", "b.mp3", "c.svg", "Makefile", ".DS_Store"):
        (photos / name).write_bytes(b"x")
    line = "0 failed; skipped 4: 2 .mp3, 1 .svg, 1 without suffix\n"
    assert run("index", photos).out.endswith(line)
    assert run("index", photos).out.endswith(line)  # nothing has changed, and it is said again
    record = run("index", photos, "--json").json
    assert record["skipped_counts"] == {".mp3": 2, ".svg": 1, "without suffix": 1}
    assert {"source": str(photos / "c.svg"), "reason": ".svg"} in record["skipped"]


def test_files_that_are_not_read_are_listed_on_request(run, photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "a.mp3").write_bytes(b"x")
    (photos / "out").symlink_to(photos.parent)
    out = run("index", photos, "--verbose").out
    assert out.startswith("skipped a.mp3: .mp3\nskipped out: link to a parent folder\n4 added, ")


def test_links_out_of_a_folder_are_followed_on_request(run, photos, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "photos").symlink_to(photos)
    assert "nothing to index in" in run("index", folder).err and "1 link out of the folder" in run("index", folder).err
    assert run("index", folder, "--follow-links").out.startswith("4 added")


def test_a_bad_file_is_named_with_its_reason(run, photos):
    (photos / "broken.jpg").write_bytes(b"")
    outcome = run("index", photos)
    assert outcome.code == 0
    assert "broken.jpg: " in outcome.out
    assert outcome.out.rstrip().endswith("1 failed")


def test_index_where_every_file_is_bad_fails_and_says_so(run, tmp_path, opened_with):
    (tmp_path / "broken.jpg").write_text("no image")
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


def test_prune_deletes_the_entries_of_missing_files(run, photos):
    run("index", photos)
    (photos / "red.png").unlink()
    assert run("index", photos, "--json").json["removed"] == 0
    assert run("index", photos, "--prune", "--json").json["removed"] == 1


def test_index_passes_the_action_model_to_open(run, photos, opened_with):
    run("index", photos, "--action-model", "florence-tiny")
    assert opened_with[-1][1]["action_model"] == "florence-tiny"


def test_a_model_that_cannot_recognize_is_one_line(run, photos, monkeypatch, tmp_path):
    monkeypatch.undo()
    models = ("--model", "florence-tiny", "--action-model", "siglip2-base")
    outcome = run("index", photos, "--db", tmp_path / "x.db", *models)
    assert outcome.code == 1 and "'siglip2-base' lacks the role 'action'; models with it: florence-tiny" in outcome.err


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(color_frame("red")).save(folder / "red.png")
    return folder


@pytest.fixture
def blue(tmp_path):
    Image.fromarray(color_frame("blue")).save(tmp_path / "blue.png")
    return tmp_path / "blue.png"


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_watch_prints_a_line_for_each_change_and_ends_cleanly(folder, blue, tmp_path, sent):
    db = str(tmp_path / "x.db")
    command = [sys.executable, str(PROGRAM), "watch", str(folder), "--db", db, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        events = (json.loads(line) for line in process.stdout)
        first = next(events)
        assert (first["event"], first["added"]) == ("ready", 1)
        shutil.copy(blue, folder / "blue.png")
        assert next(events) == {"event": "added", "source": str(folder / "blue.png")}
        (folder / "broken.jpg").write_text("no image")
        assert next(events) == {
            "event": "failed",
            "source": str(folder / "broken.jpg"),
            "reason": "is not an image: it starts like text",
        }
        (folder / "red.png").unlink()
        assert next(events) == {"event": "removed", "source": str(folder / "red.png")}
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.splitlines()[-1]) == (0, "", "Stopped. Indexed files are kept.")
    with MilvusIndex.open(db, ColorEmbedder.info, create=False) as index:
        assert list(index.sources()) == [str(folder / "blue.png")]


def test_watch_prints_changes_as_text(folder, blue, opened_with, rag, run, monkeypatch):
    reports = rag.watch(folder)
    monkeypatch.setattr(rag, "watch", lambda *paths, **rest: interrupted_after(reports, 2))
    (folder / "broken.jpg").write_text("no image")

    def interrupted_after(steps, count):
        yield next(steps)
        shutil.copy(blue, folder / "blue.png")
        for _ in range(count - 1):
            yield next(steps)
        raise KeyboardInterrupt

    outcome = run("watch", folder)
    assert outcome.code == 0
    first, summary, added = outcome.out.splitlines()
    assert first.endswith("broken.jpg: is not an image: it starts like text")
    assert summary == "1 added, 0 updated, 0 unchanged, 0 removed, 1 failed"
    assert added.startswith("added ") and added.endswith("blue.png")
    assert outcome.err.splitlines() == [
        f"Watching {folder}. Ctrl-C ends it.",
        "Stopped. Indexed files are kept.",
    ]


def test_watch_takes_the_model_options_of_index(folder, opened_with, rag, run, monkeypatch):
    monkeypatch.setattr(rag, "watch", lambda *_, **__: iter([IndexReport()]))
    run("watch", folder, "--action-model", "florence-tiny", "--detector", "mine", "--captioner", "never")
    options = opened_with[-1][1]
    assert (options["action_model"], options["detector"], options["captioner"]) == ("florence-tiny", "mine", "never")


def test_failures_are_listed_without_a_model(run, tmp_path):
    db = str(tmp_path / "x.db")
    with MilvusIndex.open(db, ColorEmbedder.info) as index:
        index.fail("/photos/a.jpg", "'/photos/a.jpg' is damaged")
    assert run("failures", "--db", db, "--json").json == {
        "failed": [{"source": "/photos/a.jpg", "reason": "'/photos/a.jpg' is damaged"}]
    }
    outcome = run("failures", "--db", db)
    assert "a.jpg: is damaged" in outcome.out and "florence-rag failures --retry" in outcome.out
    with MilvusIndex.open(db, ColorEmbedder.info) as index:
        index.delete_sources(["/photos/a.jpg"])
    assert run("failures", "--db", db).out == "No file has failed.\n"
    missing = run("failures", "--db", str(tmp_path / "none.db"))
    assert (missing.code, missing.err.count("\n")) == (1, 1)


def test_failures_are_retried(folder, opened_with, rag, run):
    (folder / "broken.jpg").write_text("no image")
    assert run("index", folder, "--json").json["added"] == 1
    report = run("failures", "--retry", "--json").json
    assert [failure["source"] for failure in report["failed"]] == [str(folder / "broken.jpg")]
    assert len(run("index", folder, "--retry", "--json").json["failed"]) == 1


def test_near_duplicates_are_counted(folder, opened_with, run):
    shutil.copy(folder / "red.png", folder / "again.png")
    outcome = run("index", folder, "--near-duplicates", "drop")
    assert outcome.out.endswith("1 added, 0 updated, 0 unchanged, 0 removed, 0 failed, 1 near-duplicates\n")
    assert run("index", folder, "--near-duplicates", "hide").code == 2


def test_near_duplicates_are_listed_under_their_hit(folder, opened_with, run):
    shutil.copy(folder / "red.png", folder / "again.png")
    run("index", folder)
    out = run("search", "red").out
    assert "also " in out and "again.png" in out and "red.png" in out and "  2  " not in out
