"""Shows the progress of indexing: a bar on a terminal, lines of JSON for programs, and a profile of the stages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn, track
from rich.progress import Progress as ProgressBar

from florence_rag.cli.output import plain, stderr

if TYPE_CHECKING:
    from florence_rag.ingest.progress import Progress

Report = Callable[["Progress"], None]

EVENT_INTERVAL_S = 1.0
"""Seconds between two lines of JSON."""
_NOTICE_AFTER_S, _NOTICE_LEFT_S = 20.0, 60.0
"""A run that is older and has longer to go explains what takes so long."""
STAGES = {
    "read": "reading",
    "ocr": "reading text",
    "caption": "captioning",
    "detect": "detecting",
    "embed": "embedding",
    "store": "storing",
}


@contextmanager
def show_progress(*, events: bool = False, profile: bool = False, can_scale_captions: bool = False) -> Iterator[Report]:
    """Yield a callback for the progress of `FlorenceRAG.add`.

    On a terminal it draws a bar; elsewhere it prints nothing, apart from one line if captions take long. With events it
    prints lines of JSON to standard error instead, about one per second. With profile it prints in the end how busy
    each stage was. The line on captions suggests to scale their images only if the captioner can, and does not yet.
    """
    latest: list[Progress] = []
    notices: list[str] = []
    console = stderr()
    with _json_lines(console) if events else _bar(console) as report:

        def report_and_keep(step: Progress) -> None:
            if step.task == "words" and not events and "words" not in [each.task for each in latest]:
                console.print(plain(words_notice(step)))
            latest[:] = [step]
            report(step)
            if not events and not notices and (notice := captions_notice(step, can_scale_captions)):
                notices.append(notice)
                console.print(plain(notice), soft_wrap=True)  # the command stays in one piece

        yield report_and_keep
    if profile and latest:
        stderr().print(profile_to_text(latest[0]))


@contextmanager
def _bar(console: Console) -> Iterator[Report]:
    columns = (SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeRemainingColumn())
    name = TextColumn("{task.description}", markup=False)
    with ProgressBar(*columns, name, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking for files", total=None)
        latest = "index"

        def report(step: Progress) -> None:
            nonlocal latest
            if step.task != latest:
                bar.reset(task)  # the speed of another task tells nothing of this one
                latest = step.task
            bar.update(task, completed=step.files_done, total=step.files_total, description=progress_to_text(step))

        yield report


@contextmanager
def _json_lines(console: Console) -> Iterator[Report]:
    due = time.monotonic()

    def report(step: Progress) -> None:
        nonlocal due
        if time.monotonic() >= due or step.files_done == step.files_total:
            due = time.monotonic() + EVENT_INTERVAL_S
            busy = {stage: round(share, 3) for stage, share in step.busy.items()}
            record = {**asdict(step), "busy": busy, "bottleneck": step.bottleneck, "left_s": left_s(step)}
            print(json.dumps(record), file=console.file, flush=True)

    yield report


def left_s(step: Progress) -> float | None:
    """Estimate the seconds until the end at the present speed; None before the first file is done."""
    if not step.files_done:
        return None
    return round(step.elapsed_s / step.files_done * (step.files_total - step.files_done), 1)


def captions_notice(step: Progress, can_scale_captions: bool) -> str:
    """Return how long a run still takes, and how to do without captions, if these are what takes long; "" otherwise."""
    left = left_s(step)
    if step.bottleneck != "caption" or step.elapsed_s < _NOTICE_AFTER_S or left is None or left < _NOTICE_LEFT_S:
        return ""
    scaled = ", or, for a third of the time, florence-rag index PATH --caption-px 384" if can_scale_captions else ""
    return (
        f"About {ceil(left / 60)} minutes are left for {step.files_total - step.files_done} files, most of it for "
        "captions. To do without them, stop; finished files are kept. Then: florence-rag index PATH --captioner never"
        f"{scaled}"
    )


def words_notice(step: Progress) -> str:
    """Return what the second pass over the files does."""
    return (
        f"Files can be found by visual similarity now. Reading the words of {step.files_total}; "
        "Ctrl-C stops it, and the next run continues."
    )


def progress_to_text(step: Progress) -> str:
    """Return one line: the speed, the failures, the bottleneck, and the latest file."""
    parts = [f"{step.chunks / step.elapsed_s:.1f} chunks/s"] if step.elapsed_s else []
    if step.failures:
        parts.append(f"{step.failures} failed")
    if step.bottleneck:
        parts.append(f"mostly {STAGES.get(step.bottleneck, step.bottleneck)}")
    return ", ".join([*parts, plain(Path(step.source).name).plain])


def profile_to_text(step: Progress) -> str:
    """Return how busy each stage was, the busiest first."""
    ranked = sorted(step.busy.items(), key=lambda pair: -pair[1])
    lines = [f"  {STAGES.get(stage, stage):<14}{share:6.0%} of the time" for stage, share in ranked]
    total = f"{step.chunks} chunks of {step.files_done} files in {step.elapsed_s:.1f} s; its threads were busy"
    return "\n".join([total, *lines])


def track_items(items: Sequence[Any]) -> Iterable[Any]:
    """Iterate over the items of an evaluation, with a bar on a terminal."""
    console = stderr()
    return track(items, "Evaluating", console=console, transient=True, disable=not console.is_terminal)
