"""Run all reliability programs, and print one table: make reliability, or make reliability-all.

The short version takes about twelve minutes on two processors; there, each program has a time limit. The long version
takes hours and may be interrupted: a program that has ended well is not run again, and the table shows when it ran.
Delete the folder of the results to run everything again.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import psutil
import typer
from kills import JOBS

HERE = Path(__file__).parent
PARTS = ("threads", "processes")


class Program(NamedTuple):
    """A program with its arguments in the short version, its time limit there, and each part of the long version."""

    name: str
    short: str
    limit_s: int
    long: tuple[str, ...]


PROGRAMS = (
    Program("kills", "--kills 8", 150, tuple(f"--kills 13 --only {shlex.quote(name)}" for name in JOBS)),
    Program("lite_server", "--restarts 3 --images 200 --readers 2", 120, ("--restarts 20",)),
    Program("milvus_server", "--kills 2 --pauses 0 --full-disks 0 --images 100", 240, ("--kills 20",)),
    Program("disk_full", "--rounds 1", 120, ("--rounds 12",)),
    Program("readers_writer", "--minutes 0.5", 240, tuple(f"--minutes 10 --only {part}" for part in PARTS)),
    Program("many_images", "--images 2000", 120, ("--images 100000",)),
    Program("damage", "--flips 1 --every 8", 120, ("--flips 20",)),
    Program("fairness", "--rows 3000", 120, ("--rows 25000",)),
    Program("fuzz", "--minutes 0.5", 90, ("--minutes 10",)),
    Program("hostile_media", "--every 12", 150, ("--every 1",)),
)


@dataclass
class Record:
    """The result of one run of a program, which is kept in a file.

    Attributes:
        lines: What the program counts: dictionaries with the keys "line", "tried" and "survived".
        exit_code: Its exit code; None if it was stopped.
        peak_mib: The most memory of any of its processes.
        seconds: How long it took.
        load: The mean number of processes on the machine that wanted a processor.
        ended: The time at which it ended.
    """

    lines: list[dict[str, Any]]
    exit_code: int | None
    peak_mib: float
    seconds: float
    load: float
    ended: str

    @property
    def ended_well(self) -> bool:
        return self.exit_code == 0 and all(line["tried"] == line["survived"] for line in self.lines)


def run(name: str, arguments: str, limit_s: float | None, place: Path) -> Record:
    """Run a program, and return what it counted. Its output goes to a file with the suffix .log."""
    counts, log = place.with_name(f"{place.name}.counts"), place.with_name(f"{place.name}.log")
    counts.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / f"{name}.py"), *shlex.split(arguments), "--json", str(counts)]
    print(f"{name} {arguments} > {log}", flush=True)
    started, peak, loads = time.monotonic(), 0.0, [os.getloadavg()[0]]
    with log.open("w") as text:
        process = psutil.Popen(command, stdout=text, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None and (limit_s is None or time.monotonic() - started < limit_s):
                time.sleep(0.5)
                loads.append(os.getloadavg()[0])
                with suppress(psutil.Error):
                    tree = [process, *process.children(recursive=True)]
                    peak = max(peak, *(each.memory_info().rss / 2**20 for each in tree))
        finally:
            stopped = process.poll() is None
            if stopped:
                stop(process)
    lines = json.loads(counts.read_text()) if counts.exists() else []
    if stopped or (process.returncode and all(line["tried"] == line["survived"] for line in lines)):
        end = f"stopped after {limit_s} s" if stopped else f"ended with {process.returncode}"
        lines.append({"line": f"{name} {end}", "tried": 1, "survived": 0})
    counts.unlink(missing_ok=True)
    now = f"{datetime.now():%Y-%m-%d %H:%M}"
    code = None if stopped else process.returncode
    return Record(lines, code, peak, time.monotonic() - started, sum(loads) / len(loads), now)


def stop(process: psutil.Popen) -> None:
    """Let a program print its table, then end it and all its processes."""
    tree = process.children(recursive=True)
    process.terminate()
    with suppress(psutil.TimeoutExpired):
        process.wait(10)
    for each in [process, *tree]:
        with suppress(psutil.Error):
            each.kill()
    process.wait()


def run_or_read(name: str, arguments: str, limit_s: float | None, folder: Path, *, resume: bool) -> Record:
    """Return the record of an earlier run that ended well, if that is wanted; otherwise run the program."""
    place = folder / f"{name} {arguments}".replace("--", "").replace("'", "").replace(" ", "-")
    file = place.with_name(f"{place.name}.json")
    if resume and file.exists():
        record = Record(**json.loads(file.read_text()))
        if record.ended_well:
            return record
    record = run(name, arguments, limit_s, place)
    file.write_text(json.dumps(asdict(record), indent=1))
    return record


def show(records: list[Record]) -> None:
    """Print a row for each line of each record."""
    rows = [(line, record) for record in records for line in record.lines]
    width = max((len(line["line"]) for line, _ in rows), default=0) + 2
    print(f"\n{'':{width}}{'tried':>10}{'survived':>10}{'peak MiB':>10}{'seconds':>9}{'load':>6}  ended")
    for line, each in rows:
        numbers = f"{each.peak_mib:10,.0f}{each.seconds:9.0f}{each.load:6.1f}  {each.ended}"
        print(
            f"{line['line']:{width}}{line['tried']:10,}{line['survived']:10,}{numbers}  {line.get('note', '')}".rstrip()
        )
    seconds = sum(record.seconds for record in records)
    print(f"\n{len(records)} programs, {seconds / 60:.1f} minutes; memory and seconds are those of the whole program")


def runs(complete: bool, names: list[str]) -> Iterator[tuple[str, str, float | None]]:
    """Yield the name, the arguments and the time limit of each run."""
    for program in PROGRAMS:
        if not names or program.name in names:
            parts = program.long if complete else (program.short,)
            yield from ((program.name, part, None if complete else program.limit_s) for part in parts)


def main(
    complete: Annotated[bool, typer.Option("--all", help="Run the long versions, without a limit of time.")] = False,
    only: Annotated[str, typer.Option(help="The names of programs, separated by commas.")] = "",
    folder: Annotated[Path, typer.Option(help="Where to write the output of the programs.")] = Path("reliability"),
) -> None:
    """Run each program, and print the table; exit with 1 if anything failed."""
    folder /= "long" if complete else "short"
    folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    try:
        for name, arguments, limit_s in runs(complete, only.split(",") if only else []):
            records.append(run_or_read(name, arguments, limit_s, folder, resume=complete))
    finally:
        show(records)
    if not all(record.ended_well for record in records):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
