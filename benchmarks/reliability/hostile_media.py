"""Index a folder of more than 500 damaged and malicious files between good ones, and judge each: exit 1 on a fault.

    python benchmarks/reliability/hostile_media.py --seed 20261129
    python benchmarks/reliability/hostile_media.py --each all

Every good file, and every good member of a container, must be indexed. Every other one must be indexed, failed or
skipped by name, with a reason of one line and no traceback. The run must end in time and keep to its budget of memory.

`--each` reads files one by one instead, each in a worker process of its own with the limits of a run, and
prints the one of each kind that needs the most memory, and the one that needs the most time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import psutil
import typer
from hostile_files import KINDS, kind_of, write_files

from florence_rag.chunking import chunk_or_skip
from florence_rag.ingest.engine import IngestConfig
from florence_rag.ingest.progress import StageTimer
from florence_rag.ingest.read_stage import FileReader, read_source
from florence_rag.sources import discover
from florence_rag.sources.io.uris import SUBTITLE_SUFFIXES, Member, quote_name, suffix_of
from florence_rag.sources.paths import Places
from florence_rag.types import Failure, Skipped
from florence_rag.workers import close_workers

_POLL_S = 0.1
_BASE_MB = 700.0
"""What Python, its libraries and Milvus Lite need, in addition to the budget of a run."""
_LIMITS = {"file_timeout_s": 30.0, "max_chunks_per_file": 1_000}
"""The limits of the run, a half and a tenth of the defaults, which takes minutes less."""
_RUN = """
import json, sys
from florence_rag import FlorenceRAG
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest.engine import IngestConfig
from florence_rag.testing import ColorEmbedder

embedder = ColorEmbedder()
ingest = IngestConfig(**json.loads(sys.argv[2]))
with FlorenceRAG(MilvusIndex.open(sys.argv[1], embedder.info), embedder, ingest=ingest) as rag:
    report = rag.add(*sys.argv[3:])
    failed = {each.source: each.reason for each in report.failed}
    skipped = {each.source: each.reason for each in report.skipped}
    print(json.dumps([sorted(rag.index.sources()), failed, skipped]))
"""


class Usage(threading.Thread):
    """Measures the processes that a process starts, until it is stopped.

    Attributes:
        mb: The most memory of all of them at the same time; of the worst one with `is_worst`.
        cpu_s: The time of processors that they used.
    """

    def __init__(self, process: psutil.Process, *, is_worst: bool = False) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0
        self._process, self._is_worst = process, is_worst
        self._cpu_s: dict[int, float] = {}
        self._ended = threading.Event()
        self.start()

    @property
    def cpu_s(self) -> float:
        """The time of all processes."""
        return sum(self._cpu_s.values())

    def run(self) -> None:
        """Measure until `stop` is called."""
        while not self._ended.wait(_POLL_S):
            self._measure()

    def stop(self) -> None:
        """Measure for the last time."""
        self._measure()
        self._ended.set()
        self.join()

    def _measure(self) -> None:
        sizes = [0.0]
        try:
            processes = self._process.children(recursive=True)
            for each in processes if self._is_worst else [self._process, *processes]:
                sizes.append(self._measure_one(each))
        except psutil.Error:
            pass
        self.mb = max(self.mb, max(sizes) if self._is_worst else sum(sizes))

    def _measure_one(self, process: psutil.Process) -> float:
        try:
            with process.oneshot():
                times = process.cpu_times()
                self._cpu_s[process.pid] = times.user + times.system
                return process.memory_info().rss / 1e6
        except psutil.Error:
            return 0.0


@dataclass(frozen=True)
class Outcome:
    """The uris that are indexed, the reasons why others are not, and what the run needed."""

    indexed: frozenset[str]
    failed: Mapping[str, str]
    skipped: Mapping[str, str]
    seconds: float
    cpu_s: float
    peak_mb: float

    def of(self, path: str) -> str:
        """Return what became of a file; "lost" if the report does not name it. Subtitles belong to their video."""
        names = {path, path.encode("utf-8", "backslashreplace").decode()}
        members = tuple(f"{scheme}:{path}#" for scheme in ("tar", "parquet", "arrow"))
        if names & self.failed.keys():
            return "failed"
        if (video := str(Path(path).with_suffix(".mp4"))) in self.indexed and suffix_of(path) in SUBTITLE_SUFFIXES:
            return "skipped" if f"{suffix_of(path)} that" in self.skipped.get(video, "") else "indexed"
        if names & self.indexed or any(each.startswith(members) for each in self.indexed):
            return "indexed"
        reported = (*self.failed, *self.skipped)
        is_named = names & self.skipped.keys() or any(each.startswith(members) for each in reported)
        return "skipped" if is_named else "lost"

    def faults(self, paths: list[str]) -> Iterator[str]:
        """Yield what must not be."""
        for path in paths:
            if (outcome := self.of(path)) == "lost":
                yield f"{path!r} is lost"
            elif outcome != "indexed" and kind_of(path) == "good":
                yield f"{path!r} is not indexed but {outcome}"
        members = {uri for path in paths if path.endswith(".tar") for uri in _good_members(path)}
        yield from (f"{uri!r} is not indexed" for uri in sorted(members - self.indexed))
        for source, reason in {**self.failed, **self.skipped}.items():
            if "Traceback" in reason or ", line " in reason or len(reason.splitlines()) != 1:
                yield f"the reason of {source!r} is not one line: {reason!r}"


def _good_members(path: str) -> Iterator[str]:
    """Yield the uris of the good members of a malicious tar."""
    if kind_of(path) not in ("containers", "sidecars"):
        return
    try:
        with tarfile.open(path) as tar:
            names = tar.getnames()
    except (tarfile.TarError, ValueError, OverflowError):
        return
    good = (name for name in names if os.path.basename(name).startswith("good_"))
    yield from (Member("tar", path, quote_name(name)).uri for name in good)


def run(folder: Path, containers: list[str], db: Path, limit_s: float) -> Outcome:
    """Index the folder and the containers in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-c", _RUN, str(db), json.dumps(_LIMITS), str(folder), *containers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        usage = Usage(psutil.Process(process.pid))
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit(f"FAULT: the run has not ended after {limit_s:g} s")
        usage.stop()
    if process.returncode:
        sys.exit(f"FAULT: the run ended with exit code {process.returncode}")
    indexed, failed, skipped = json.loads(output.splitlines()[-1])
    return Outcome(frozenset(indexed), failed, skipped, time.monotonic() - started, usage.cpu_s, usage.mb)


class Reading(NamedTuple):
    """What reading one file needed, and what came of it."""

    path: str
    cpu_s: float
    mb: float
    outcome: str


def read_alone(path: str) -> Reading:
    """Read a file, or all members of a container, as the last stage of a run does, in a worker that starts for it."""
    config = IngestConfig(**_LIMITS)
    reader = FileReader(chunk_or_skip, config.limits(1), config.max_chunks_per_file)
    usage, counts, exceeding = Usage(psutil.Process(), is_worst=True), Counter[str](), Counter[str]()
    contents = set[str]()
    is_odd = kind_of(path) == "names"  # which only a folder may contain
    for found in discover(Places(() if is_odd else [path], [path] if is_odd else (), [os.path.dirname(path)])):
        if isinstance(found, Failure | Skipped):
            counts["failed" if isinstance(found, Failure) else "skipped"] += 1
            continue
        if found.content_hash in contents:  # which a run does not read either
            counts["equal"] += 1
            continue
        contents.add(found.content_hash)
        for event in read_source(found, reader, None, StageTimer(), exceeding=exceeding):
            kind = "chunk" if event.chunk else "skipped" if event.skipped else "failed" if event.failure else ""
            counts.update([kind] if kind else ())
    usage.stop()
    close_workers()
    described = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return Reading(path, usage.cpu_s, usage.mb, described or "nothing")


def print_worst(paths: list[str], kinds: Sequence[str]) -> None:
    """Read each file, and print the worst ones of each kind."""
    print("| kind | file | result | time of the processor | peak of the worker |\n|---|---|---|---:|---:|")
    for kind in kinds:
        readings = []
        for path in paths:
            if kind_of(path) == kind:
                readings.append(read_alone(path))
                print(_row(kind, readings[-1]), file=sys.stderr, flush=True)
        worst = {max(readings, key=lambda each: each.mb), max(readings, key=lambda each: each.cpu_s)}
        print("\n".join(_row(kind, each) for each in worst), flush=True)


def _row(kind: str, reading: Reading) -> str:
    name = os.path.basename(reading.path)
    return f"| {kind} | `{name!a}` | {reading.outcome} | {reading.cpu_s:.1f} s | {reading.mb:,.0f} MB |"


def main(
    seed: Annotated[int, typer.Option(help="Determines the damage.")] = 20261129,
    limit_s: Annotated[float, typer.Option(help="The time in which the run must end.")] = 900.0,
    every: Annotated[int, typer.Option(help="Write only one of so many damaged files.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the counts.")] = None,
    keep: Annotated[Path | None, typer.Option(help="An empty folder for the files, which are kept.")] = None,
    each: Annotated[
        str, typer.Option(metavar="KIND", help="Read the files of a kind, or of all, one by one, and print the worst.")
    ] = "",
) -> None:
    """Write the files, index them in one run, and print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary, "media")
        folder.mkdir(exist_ok=True)
        containers = write_files(folder.resolve(), seed, every)
        paths = [str(path) for path in sorted(folder.resolve().iterdir()) if not path.is_dir()]
        if each:
            print_worst(paths, KINDS if each == "all" else [each])
            return
        outcome = run(folder.resolve(), containers, Path(temporary, "media.db"), limit_s)
        faults = list(outcome.faults(paths))
    if outcome.peak_mb > IngestConfig().memory_budget_mb * 1.05 + _BASE_MB:
        faults.append(f"the processes needed {outcome.peak_mb:,.0f} MB")
    print("| files | indexed | failed | skipped |\n|---|---:|---:|---:|")
    for kind in KINDS:
        counts = Counter(outcome.of(path) for path in paths if kind_of(path) == kind)
        print(f"| {kind} | {counts['indexed']} | {counts['failed']} | {counts['skipped']} |")
    print(
        f"\n{len(paths)} files, {outcome.seconds:.0f} s, {outcome.cpu_s:.0f} s of the processors, "
        f"peak memory of all processes {outcome.peak_mb:,.0f} MB"
    )
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    if json_file is not None:
        line = {"line": "hostile media", "tried": len(paths), "survived": len(paths) - len(faults)}
        json_file.write_text(json.dumps([line]))
    raise typer.Exit(int(bool(faults)))


if __name__ == "__main__":
    typer.run(main)
