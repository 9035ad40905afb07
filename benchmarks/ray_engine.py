"""Index on Ray with several workers into one Milvus server: the same rows as one process stores, and images per second.

    python deploy/milvus_test_server.py .venv-milvus python benchmarks/ray_engine.py --images 20000 --workers 1,2,4

The server is the one that FLORENCE_TEST_MILVUS names. Each run goes to a database of its own. In an additional run, one
of the processes that embed is killed at half of the images. The embedder is a mean of colors, so nearly all the time
goes to reading, to Ray and to the server; a real model takes much longer, and gains more from several workers.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any

import psutil
import ray
import ray.data
import typer
from pymilvus import MilvusClient

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.progress import Progress
from florence_rag.ingest.ray_engine import RayConfig, RayEngine
from florence_rag.testing import ColorEmbedder

sys.path.append(str(Path(__file__).parent / "reliability"))
from workload import Snapshot, differences, draw, open_rag, snapshot

SIDE = 64


@contextmanager
def database(server: str) -> Iterator[str]:
    """Create a database on the server, and drop it in the end."""
    name = f"ray_{uuid.uuid4().hex[:12]}"
    MilvusClient(server, timeout=60).create_database(name)
    yield f"{server}/{name}"
    client = MilvusClient(server, db_name=name, timeout=60, dedicated=True)
    for collection in client.list_collections():
        client.drop_collection(collection)
    client.close()
    MilvusClient(server, timeout=60).drop_database(name)


def no_ocr() -> None:
    return None


def on_ray(workers: int) -> Callable[..., RayEngine]:
    load_embed = partial(EmbedStage.from_models, Models.of(ColorEmbedder()))
    return partial(RayEngine, load_embed, no_ocr, config=RayConfig(actors=workers, batch_size=64))


def command(process: psutil.Process) -> list[str]:
    """Return the command line of a process, which may just have ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


class KillAtHalf:
    """Kills one of the processes that embed when half of the files are indexed."""

    def __init__(self) -> None:
        self.pid = 0

    def __call__(self, progress: Progress) -> None:
        if not self.pid and progress.files_done * 2 > progress.files_total:
            ours = psutil.Process().children(recursive=True)
            embedding = next(each for each in ours if "_EmbedActor" in " ".join(command(each)))
            self.pid = embedding.pid
            embedding.kill()


def index(server: str, folder: Path, images: int, **options: Any) -> tuple[float, dict[str, float], Snapshot]:
    """Index a folder into a new database, and return the seconds, the busy seconds of each stage, and the rows."""
    with database(server) as uri, open_rag(uri) as rag:
        report, seconds, busy = add(rag, folder, **options)
        if report.failed or report.added != images:
            raise SystemExit(f"{report.added} of {images} images are indexed, failed: {report.failed[:3]}")
        return seconds, busy, snapshot(rag)


def add(rag: FlorenceRAG, folder: Path, **options: Any) -> tuple[Any, float, dict[str, float]]:
    steps: list[Progress] = []
    also = options.pop("progress", None)

    def progress(step: Progress) -> None:
        steps.append(step)
        if also:
            also(step)

    started = time.perf_counter()
    report = rag.add(folder, progress=progress, **options)
    return report, time.perf_counter() - started, dict(steps[-1].busy)


def main(
    images: Annotated[int, typer.Option(min=10)] = 20_000,
    workers: Annotated[str, typer.Option(help="The numbers of processes that embed, separated by commas.")] = "1,2,4",
    seed: int = 0,
) -> None:
    """Print images per second by number of workers, and whether the rows are those that one process stores."""
    server, counts = os.environ["FLORENCE_TEST_MILVUS"], [int(each) for each in workers.split(",")]
    random, faults = Random(seed), 0
    ray.init(num_cpus=max(counts) + 1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        for number in range(images):
            draw(random, (SIDE, SIDE)).save(folder / f"{number:06}.png")
        seconds, busy, expected = index(server, folder, images)
        print(f"{'':24}{'images/s':>10}{'ratio':>8}  busy", flush=True)
        runs = [(f"{count} on Ray", on_ray(count), None) for count in counts]
        runs.append((f"{max(counts)} on Ray, one killed", on_ray(max(counts)), KillAtHalf()))
        show("one process", images / seconds, 1.0, busy)
        for name, engine, kill in runs:
            took, busy, found = index(server, folder, images, engine=engine, progress=kill)
            show(name, images / took, seconds / took, busy)
            wrong = differences(found, expected) + (["no process was killed"] if kill and not kill.pid else [])
            faults += bool(wrong)
            print(*(f"FAULT {name}: {fault}" for fault in wrong[:5]), sep="\n", end="" if not wrong else "\n")
    print(f"{len(runs) - faults} of {len(runs)} runs stored the ids and vectors of one process")
    ray.shutdown()
    sys.exit(faults > 0)


def show(name: str, rate: float, ratio: float, busy: dict[str, float]) -> None:
    shares = ", ".join(f"{stage} {share:.2f}" for stage, share in busy.items())
    print(f"{name:24}{rate:10.1f}{ratio:8.2f}  {shares}", flush=True)


if __name__ == "__main__":
    typer.run(main)
