"""Kill and restart a server at random moments, while one client writes and others read.

    python benchmarks/reliability/lite_server.py --restarts 20

The server is that of Milvus Lite with one thread. It stands in for a Milvus server, which loses its connections and
restarts in the same way. All calls must succeed after a while, every answer must be right, and at the end the
database must hold the same rows as one that was never interrupted. The embedder is a mean of colors.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Annotated

import load
import typer
from workload import Result, Snapshot, differences, draw, open_rag, snapshot

START_S = 30.0
SETTLE_S = 10.0


class LiteServer:
    """A process with the server of Milvus Lite, which is killed at the end of the context."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        place = ["--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(self._port)]
        # With more workers, two simultaneous writes lose rows, and a read during a flush may miss rows. Eight of them
        # answered only a third more, because one thread at a time runs the Python code of Milvus Lite.
        self._command = [sys.executable, "-m", "milvus_lite", "server", *place, "--max-workers", "1"]

    def __enter__(self) -> LiteServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self._process.pid
        for _ in range(int(START_S * 10)):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError(f"{' '.join(self._command)} does not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def index_and_write(images: int) -> int:
    """Index many images in one run, then write until the event `stop` is set."""
    shared, uri = load.context()
    with open_rag(uri) as rag:
        report = rag.add(shared.folder / "many")
        if report.failed or report.added != images:
            raise RuntimeError(f"{report.added} of {images} images are indexed, failed: {report.failed[:3]}")
        return load.write(rag, shared)


def save_images(folder: Path, count: int, seed: int) -> None:
    folder.mkdir()
    random = Random(seed)
    for number in range(count):
        draw(random, (64, 64)).save(folder / f"{number:05}.jpg")


def uninterrupted(shared: load.Shared) -> Snapshot:
    """Return the contents of a database into which everything is written without an interruption."""
    with open_rag(shared.folder / "expected.db") as rag:
        rag.add(*(shared.folder / name for name in ("files", "many", "changing")))
        for number in range(load.ITEMS):
            load.put_items(rag, range(number, number + 1), shared.versions[number])
        return snapshot(rag)


def main(
    restarts: Annotated[int, typer.Option(min=1)] = 20,
    images: Annotated[int, typer.Option(min=1, help="The number of images that are indexed during the kills.")] = 2000,
    readers: Annotated[int, typer.Option(min=1)] = 4,
    seed: int = 0,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print how many restarts the clients survived, and whether rows were lost."""
    random = Random(seed)
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        shared = load.Shared(Path(scratch), seed)
        save_images(shared.folder / "many", images, seed)
        with LiteServer(shared.folder / "server") as server:
            with open_rag(server.uri) as rag:
                shared.prepare(rag)
            with load.start_pool(readers + 1, shared, server.uri) as pool:
                writer = pool.submit(index_and_write, images)
                futures = [pool.submit(load.read_in_process, seed + number) for number in range(readers)]
                try:
                    for number in range(1, restarts + 1):
                        time.sleep(random.uniform(0.5, 4))
                        server.kill()
                        time.sleep(random.uniform(0, 1.5))
                        server.start()
                        print(f"restarted {number} times", flush=True)
                        result.add("server killed and restarted")
                    time.sleep(SETTLE_S)
                finally:
                    shared.stop.set()
                steps = writer.result()
                load.add_readings(result, "answers during the restarts", [each.result() for each in futures])
            with open_rag(server.uri) as rag:
                found = snapshot(rag)
        result.add("rows after the restarts", differences(found, uninterrupted(shared)), tried=found.rows)
        result.notes["rows after the restarts"] = f"{steps} writes"


if __name__ == "__main__":
    typer.run(main)
