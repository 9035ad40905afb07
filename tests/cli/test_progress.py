from io import StringIO

from rich.console import Console

from florence_rag.cli import progress
from florence_rag.cli.progress import shown_progress
from florence_rag.pipeline import Progress


def written(monkeypatch, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, width=100)
    monkeypatch.setattr(progress, "notes", lambda: console)
    with shown_progress() as report:
        report(Progress(files_done=3, files_total=7, chunks=9, source="/photos/[red]a.jpg", failures=0))
    return console.file.getvalue()


def test_a_terminal_shows_how_far_the_run_is(monkeypatch):
    text = written(monkeypatch, terminal=True)
    assert "3/7" in text
    assert "[red]a.jpg" in text


def test_a_pipe_stays_silent(monkeypatch):
    assert written(monkeypatch, terminal=False) == ""
