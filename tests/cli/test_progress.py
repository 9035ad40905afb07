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


def test_a_terminal_shows_how_far_the_run_is(monkeypatch):
    text = written(monkeypatch, terminal=True)
    assert "3/7" in text
    assert "[red]a.jpg" in text


def test_a_pipe_stays_silent(monkeypatch):
    assert written(monkeypatch, terminal=False) == ""


def test_the_state_says_how_fast_what_failed_and_what_the_rest_waits_for():
    assert progress_to_text(STEP) == "2.0 chunks/s, 1 failed, mostly embedding, [red]a.jpg"
    assert progress_to_text(Progress(0, 7, 0, "/a.jpg", 0)) == "a.jpg"


def test_machines_get_read_list_json_the_last_one_always(monkeypatch):
    steps = [Progress(done, 7, done, "/a.jpg", 0, done / 2, {"embed": 1.0}) for done in range(1, 8)]
    first, last = map(json.loads, written(monkeypatch, False, *steps, events=True).splitlines())
    assert (first["files_done"], first["left_s"]) == (1, 3.0)
    assert (last["files_done"], last["left_s"], last["bottleneck"]) == (7, 0.0, "embed")
    assert last["busy"] == {"embed": 1.0}


def test_a_profile_names_the_stages_the_busiest_first(monkeypatch):
    text = written(monkeypatch, terminal=False, profile=True)
    assert text.splitlines()[0] == "9 chunks of 3 files in 4.5 s; its threads were busy"
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["embedding", "reading", "storing"]
    assert profile_to_text(STEP) in text


def test_what_is_left_is_guessed_from_what_is_done():
    assert left_s(STEP) == pytest.approx(6.0)
    assert left_s(Progress(0, 7, 0, "/a.jpg", 0)) is None
