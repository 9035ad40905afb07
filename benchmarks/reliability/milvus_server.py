"""Kill, stop and fill a real Milvus server while files are indexed on it, and write to it from two clients at once.

    python benchmarks/reliability/milvus_server.py --kills 20

The server is the one of `make test-server`, and this program runs with it in a network namespace without other
interfaces (Linux, with `unshare`). Each index run goes to a database of its own, is repeated until it succeeds, and
must leave the same rows and vectors as a run that nothing disturbed. The embedder is a mean of colors.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from pymilvus import MilvusClient, MilvusException
from workload import Result, Snapshot, differences, open_rag, save_corpus, snapshot

from florence_rag.errors import FlorenceError, StoreMismatchError
from florence_rag.testing import COLORS

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "deploy"))
from milvus_test_server import MilvusServer, enable_loopback, install  # noqa: E402

ISOLATED = "FLORENCE_TEST_NAMESPACE"
DISK_MIB = 1024
PAUSE_S = 30
MOST_RUNS = 6


class Trials:
    """A server, a corpus, and what a database holds into which nothing disturbed the indexing of the corpus."""

    def __init__(self, server: MilvusServer, corpus: Path, result: Result) -> None:
        self.server, self.corpus, self.result = server, corpus, result
        with self.database() as uri:
            self.index(uri)  # the first run also loads libraries
        with self.database() as uri:
            started = time.monotonic()
            self.index(uri)
            self.seconds = time.monotonic() - started
            self.expected = self.snapshot(uri)
        print(f"undisturbed: {self.expected.rows} rows in {self.seconds:.1f} s", flush=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create a database, and drop it in the end."""
        self.supervise()
        name = f"trial_{uuid.uuid4().hex[:12]}"
        self._call(lambda client: client.create_database(name), "")
        yield f"{self.server.uri}/{name}"
        self._call(lambda client: [client.drop_collection(each) for each in client.list_collections()], name)
        self._call(lambda client: client.drop_database(name), "")

    def _call(self, call: Callable[[MilvusClient], object], database: str) -> None:
        client = MilvusClient(self.server.uri, db_name=database, timeout=60, dedicated=True)
        try:
            call(client)
        finally:
            client.close()

    def index(self, uri: str) -> list[str]:
        """Index the corpus until a run ends well, and return the errors of the others."""
        errors: list[str] = []
        for _ in range(MOST_RUNS):
            try:
                with open_rag(uri) as rag:
                    failed = rag.add(self.corpus).failed
                    return [*errors, *(f"FAILED {each.source}: {each.reason}" for each in failed)]
            except FlorenceError as error:
                errors.append(f"{type(error).__name__}: {error}")
                time.sleep(3)
        return [*errors, f"FAILED {MOST_RUNS} times"]

    def snapshot(self, uri: str) -> Snapshot:
        with open_rag(uri) as rag:
            return snapshot(rag)

    def disturb(self, line: str, disturbance: Callable[[], None], after_s: float) -> None:
        """Index while something happens to the server, and compare what is stored."""
        with self.database() as uri:
            with ThreadPoolExecutor(1) as pool:
                run = pool.submit(self.index, uri)
                time.sleep(after_s)
                disturbance()
                while not run.done():
                    self.supervise()
                    time.sleep(0.5)
                errors = run.result()
            faults = [error for error in errors if error.startswith("FAILED") or "\n" in error]
            self.result.add(line, [*faults, *differences(self.snapshot(uri), self.expected)])
        print(f"{line}, after {after_s:.2f} s", *errors, sep="\n    ", flush=True)

    def supervise(self) -> None:
        """Start the server again if it has ended: by a kill, or by itself, as after it missed its heartbeats."""
        if (status := self.server.process.poll()) is not None:
            print(f"the server ended with {status}", flush=True)
            self.server.start()

    def paused(self) -> None:
        self.server.process.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE_S)
        self.server.process.send_signal(signal.SIGCONT)

    def full(self, room: int) -> Callable[[], None]:
        """Return a disturbance that leaves so many bytes of the disk; then there is space, and the server restarts."""

        def fill() -> None:
            ballast = self.server.folder / "data" / "ballast"
            free = shutil.disk_usage(ballast.parent).free
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free - room))
            time.sleep(10)
            ballast.unlink()
            self.server.kill()

        return fill

    def two_writers(self) -> None:
        """Two clients index the same files at once; the run after them must find or make everything as it should be."""
        with self.database() as uri, ThreadPoolExecutor(2) as pool:
            errors = [error for run in [pool.submit(self.index, uri) for _ in range(2)] for error in run.result()]
            errors += self.index(uri)
            self.result.add("a second writer", [*errors, *differences(self.snapshot(uri), self.expected)])

    def dropped(self) -> None:
        """A reader and a writer of a collection that another client drops get one line each, and create nothing."""
        faults = []
        with self.database() as uri:
            reader, writer = open_rag(uri), open_rag(uri)
            writer.add(self.corpus)
            name = uri.rpartition("/")[2]
            drop = lambda client: [client.drop_collection(each) for each in client.list_collections()]  # noqa: E731
            self._call(drop, name)
            for call in (lambda: reader.search(next(iter(COLORS))), reader.info, lambda: writer.add(self.corpus)):
                try:
                    faults.append(f"no error, but {call()!r:.80}")
                except StoreMismatchError as error:
                    faults += [str(error)] if "\n" in str(error) else []
            for each in (reader, writer):
                with suppress(StoreMismatchError):
                    each.close()
            self._call(lambda client: faults.extend(client.list_collections()), name)
        self.result.add("dropped under a reader and a writer", faults)


def isolate() -> None:
    """Start this program again with a network and with mounts of its own."""
    if ISOLATED in os.environ:
        enable_loopback()
        return
    install(ROOT / ".venv-milvus")
    command = ["unshare", "--map-root-user", "--net", "--mount", sys.executable, *sys.argv]
    sys.exit(subprocess.call(command, env={**os.environ, ISOLATED: "1"}))


def main(
    kills: Annotated[int, typer.Option(min=0)] = 20,
    pauses: Annotated[int, typer.Option(min=0, help=f"How often the server is stopped for {PAUSE_S} s.")] = 1,
    full_disks: Annotated[int, typer.Option(min=0, help="How often the disk of the server gets full.")] = 3,
    images: Annotated[int, typer.Option(min=1, help="The number of images in the corpus.")] = 400,
    seed: int = 0,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print how many index runs led to the same rows as one that nothing disturbed."""
    isolate()
    random = Random(seed)
    with Result().reported(output) as result, tempfile.TemporaryDirectory() as scratch:
        corpus, data = Path(scratch) / "corpus", Path(scratch) / "server" / "data"
        save_corpus(corpus, seed, images)
        data.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", data], check=True)
        server = MilvusServer(ROOT / ".venv-milvus", data.parent)
        server.start()
        try:
            trials = Trials(server, corpus, result)
            trials.two_writers()
            trials.dropped()
            disturbances = [("server stopped for 30 s", trials.paused)] * pauses
            disturbances += [("server killed", server.kill)] * kills
            disturbances += [
                ("disk of the server full", trials.full(random.randrange(2**20))) for _ in range(full_disks)
            ]
            for line, disturbance in disturbances:
                try:
                    trials.disturb(line, disturbance, random.random() * trials.seconds)
                except (FlorenceError, MilvusException) as error:
                    result.add(line, [f"{type(error).__name__}: {error}"])
        finally:
            server.kill()
            subprocess.run(["umount", data], check=True)


if __name__ == "__main__":
    typer.run(main)
