"""How an index run tells of itself: a bar on a terminal, lines of JSON for machines, and where its time went."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from florence_rag.cli.output import notes, plain

if TYPE_CHECKING:
    from florence_rag.ingest.ingest import Progress as Step

Report = Callable[["Step"], None]

EVERY_S = 1.0
"""Between two lines of JSON."""
STAGES = {
    "read": "reading",
    "words": "reading words",
    "caption": "captioning",
    "detect": "detecting",
    "embed": "embedding",
    "store": "storing",
}


@contextmanager
def shown_progress(*, events: bool = False, profile: bool = False) -> Iterator[Report]:
    """What `add` reports to. On a terminal there is a bar while the block runs; elsewhere nothing is written.

    events: lines of JSON on standard error instead, about one a second. profile: in the end, where the time went.
    """
    last: list[Step] = []
    with _lines(notes()) if events else _bar(notes()) as report:

        def reported(step: Step) -> None:
            last[:] = [step]
            report(step)

        yield reported
    if profile and last:
        notes().print(profile_to_text(last[0]))


@contextmanager
def _bar(console: Console) -> Iterator[Report]:
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    with Progress(*columns, name, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking for files", total=None)

        def report(step: Step) -> None:
            bar.update(task, completed=step.files_done, total=step.files_total, description=state_of(step))

        yield report


@contextmanager
def _lines(console: Console) -> Iterator[Report]:
    due = time.monotonic()

    def report(step: Step) -> None:
        nonlocal due
        if time.monotonic() >= due or step.files_done == step.files_total:
            due = time.monotonic() + EVERY_S
            busy = {stage: round(share, 3) for stage, share in step.busy.items()}
            record = {**asdict(step), "busy": busy, "bottleneck": step.bottleneck, "left_s": left_s(step)}
            print(json.dumps(record), file=console.file, flush=True)

    yield report


def left_s(step: Step) -> float | None:
    """Seconds until the end, if the rest goes as what is done; None before anything is done."""
    if not step.files_done:
        return None
    return round(step.elapsed_s / step.files_done * (step.files_total - step.files_done), 1)


def state_of(step: Step) -> str:
    """In one line: how fast, what failed, what the others wait for, and the file last heard of."""
    parts = [f"{step.chunks / step.elapsed_s:.1f} chunks/s"] if step.elapsed_s else []
    if step.failures:
        parts.append(f"{step.failures} failed")
    if step.bottleneck:
        parts.append(f"mostly {STAGES.get(step.bottleneck, step.bottleneck)}")
    return ", ".join([*parts, plain(Path(step.source).name).plain])


def profile_to_text(step: Step) -> str:
    """How busy each stage was, the busiest first."""
    ranked = sorted(step.busy.items(), key=lambda pair: -pair[1])
    lines = [f"  {STAGES.get(stage, stage):<14}{share:6.0%} of the time" for stage, share in ranked]
    total = f"{step.chunks} chunks of {step.files_done} files in {step.elapsed_s:.1f} s; its threads were busy"
    return "\n".join([total, *lines])
