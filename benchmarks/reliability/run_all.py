"""Run all reliability programs, and print one table: make reliability, or make reliability-all.

The short version takes about ten minutes on two idle processors. Each program has a time limit there, and writes what
it prints to a file as it goes, so an interrupted run keeps the tables so far.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import psutil
import typer

HERE = Path(__file__).parent
JSON = "--json"


class Program(NamedTuple):
    """A program with its arguments in the short and in the long version, and its time limit in the short one."""

    name: str
    short: str
    long: str
    limit_s: int
    has_json: bool = True


PROGRAMS = (
    Program("kills", "--kills 24", "--kills 100", 240),
    Program("lite_server", "--restarts 5 --images 400 --readers 2", "--restarts 20", 150),
    Program("disk_full", "--rounds 2", "--rounds 12", 150),
    Program("readers_writer", "--minutes 0.75", "--minutes 10", 240),
    Program("many_images", "--images 3000", "--images 100000", 180),
    Program("damage", "--flips 1", "--flips 20", 180),
    Program("fairness", "--rows 5000", "--rows 25000", 120),
    Program("fuzz", "--minutes 0.5", "--minutes 10", 120, has_json=False),
    Program("hostile_media", "--every 12", "", 150),
)


class Line(NamedTuple):
    """A row of the table."""

    line: str
    tried: int
    survived: int
    peak_mib: float
    seconds: float


def run(program: Program, arguments: list[str], limit_s: float | None, folder: Path) -> list[Line]:
    """Run a program, and return what its JSON file says; without one, whether it ended well."""
    output, log = folder / f"{program.name}.json", folder / f"{program.name}.log"
    output.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / f"{program.name}.py"), *arguments]
    command += [JSON, str(output)] if program.has_json else []
    print(f"{' '.join(command[1:])} > {log}", flush=True)
    started, peak = time.monotonic(), 0.0
    with log.open("w") as text:
        process = psutil.Popen(command, stdout=text, stderr=subprocess.STDOUT)
        while process.poll() is None:
            time.sleep(0.5)
            with suppress(psutil.Error):
                tree = [process, *process.children(recursive=True)]
                peak = max(peak, *(each.memory_info().rss / 2**20 for each in tree))
            if limit_s and time.monotonic() - started > limit_s:
                stop(process)
                print(f"FAULT {program.name}: stopped after {limit_s} s", flush=True)
                break
    seconds = time.monotonic() - started
    lines = [Line(*each, peak, seconds) for each in counts(program, output)]
    if process.returncode and all(line.tried == line.survived for line in lines):
        lines.append(Line(f"{program.name} ended with {process.returncode}", 1, 0, peak, seconds))
    return lines or [Line(program.name, 1, 1, peak, seconds)]


def counts(program: Program, output: Path) -> list[tuple[str, int, int]]:
    """Return the lines of a JSON file with what was tried and survived; none if it has other contents."""
    record = json.loads(output.read_text()) if output.exists() else []
    if isinstance(record, list):
        return [(each["line"], each["tried"], each["survived"]) for each in record]
    tried = sum(record.get("outcomes", {}).values())
    return [(program.name, tried, tried - len(record["faults"]))] if tried else []


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


def show(lines: list[Line]) -> None:
    width = max(len(each.line) for each in lines) + 2
    print(f"\n{'':{width}}{'tried':>10}{'survived':>10}{'peak MiB':>10}{'seconds':>9}")
    for each in lines:
        print(f"{each.line:{width}}{each.tried:10,}{each.survived:10,}{each.peak_mib:10,.0f}{each.seconds:9.0f}")


def main(
    complete: Annotated[bool, typer.Option("--all", help="Run the long versions, without a limit of time.")] = False,
    only: Annotated[str, typer.Option(help="The names of programs, separated by commas.")] = "",
    folder: Annotated[Path, typer.Option(help="Where to write what the programs print.")] = Path("reliability"),
) -> None:
    """Run each program, and print the table; exit with 1 if anything failed."""
    folder.mkdir(exist_ok=True)
    wanted = only.split(",") if only else [each.name for each in PROGRAMS]
    lines: list[Line] = []
    try:
        for program in PROGRAMS:
            if program.name in wanted and (HERE / f"{program.name}.py").exists():
                arguments = (program.long if complete else program.short).split()
                lines += run(program, arguments, None if complete else program.limit_s, folder)
    finally:
        if lines:
            show(lines)
    if any(each.survived < each.tried for each in lines):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
