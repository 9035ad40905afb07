import json
from io import StringIO

import pytest
from rich.console import Console

from florence_rag.cli import progress
from florence_rag.cli.progress import left_s, profile_to_text, progress_to_text, show_progress
from florence_rag.ingest.progress import Progress

STEP = Progress(3, 7, 9, "/photos/[red]a.jpg", 1, 4.5, {"read": 0.2, "embed": 0.95, "store": 0.05})


def written(monkeypatch, terminal: bool, *steps: Progress, **options: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=160)
    monkeypatch.setattr(progress, "stderr", lambda: console)
    with show_progress(**options) as report:
        for step in steps or (STEP,):
            report(step)
    return console.file.getvalue()


def test_a_terminal_shows_a_progress_bar(monkeypatch):
    text = written(monkeypatch, terminal=True)
    assert "3/7" in text
    assert "[red]a.jpg" in text


def test_a_pipe_gets_no_progress(monkeypatch):
    assert written(monkeypatch, terminal=False) == ""


def test_progress_has_the_speed_the_failures_and_the_bottleneck():
    assert progress_to_text(STEP) == "2.0 chunks/s, 1 failed, mostly embedding, [red]a.jpg"
    assert progress_to_text(Progress(0, 7, 0, "/a.jpg", 0)) == "a.jpg"


def test_a_run_that_captions_for_long_says_once_how_to_do_without(monkeypatch):
    steps = [Progress(done, 100, done, "/a.jpg", 0, done * 8.0, {"caption": 0.9, "embed": 0.1}) for done in range(1, 6)]
    text = written(monkeypatch, False, *steps)
    assert text.startswith("About 13 minutes are left for 97 files, most of it for captions.")
    assert text.count("--captioner never") == 1 and "--caption-px" not in text
    assert "--caption-px 384" in written(monkeypatch, False, *steps, can_scale_captions=True)
    quick = [Progress(done, 5, done, "/a.jpg", 0, done * 8.0, {"caption": 0.9}) for done in range(1, 6)]
    assert written(monkeypatch, False, *quick) == ""
    others = [Progress(done, 100, done, "/a.jpg", 0, done * 8.0, {"ocr": 0.9, "caption": 0.1}) for done in range(1, 6)]
    assert written(monkeypatch, False, *others) == ""


def test_events_are_lines_of_json_and_include_the_last_one(monkeypatch):
    steps = [Progress(done, 7, done, "/a.jpg", 0, done / 2, {"embed": 1.0}) for done in range(1, 8)]
    first, last = map(json.loads, written(monkeypatch, False, *steps, events=True).splitlines())
    assert (first["files_done"], first["left_s"]) == (1, 3.0)
    assert (last["files_done"], last["left_s"], last["bottleneck"]) == (7, 0.0, "embed")
    assert last["busy"] == {"embed": 1.0}


def test_a_profile_lists_the_busiest_stage_first(monkeypatch):
    text = written(monkeypatch, terminal=False, profile=True)
    assert text.splitlines()[0] == "9 chunks of 3 files in 4.5 s; its threads were busy"
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["embedding", "reading", "storing"]
    assert profile_to_text(STEP) in text


def test_the_remaining_time_is_estimated_from_the_speed():
    assert left_s(STEP) == pytest.approx(6.0)
    assert left_s(Progress(0, 7, 0, "/a.jpg", 0)) is None


def test_the_second_pass_is_announced_once(monkeypatch):
    steps = [Progress(done, 9, done, "/a.jpg", 0, done / 2) for done in (8, 9)]
    words = [Progress(done, 7, done, "/a.jpg", 0, done / 2, task="words") for done in (1, 2)]
    text = written(monkeypatch, False, *steps, *words)
    assert text.startswith("Files can be found by visual similarity now. Reading the words of 7; Ctrl-C stops it")
    assert text.count("\n") == 1
    assert "2/7" in written(monkeypatch, True, *steps, *words)
