"""The progress bar of an index run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from florence_rag.cli.screen import notes, plain

if TYPE_CHECKING:
    from florence_rag.pipeline import Progress as Step


@contextmanager
def shown_progress() -> Iterator[Callable[[Step], None]]:
    """What `add` reports to. On a terminal there is a bar while the block runs; elsewhere nothing is written."""
    console = notes()
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    with Progress(*columns, name, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking for files", total=None)

        def report(step: Step) -> None:
            shown = plain(Path(step.source).name).plain
            bar.update(task, completed=step.files_done, total=step.files_total, description=shown)

        yield report
