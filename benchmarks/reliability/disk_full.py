"""Fill the disk at a random point of each job: there must be one clear error, and nothing may be lost.

    python benchmarks/reliability/disk_full.py --rounds 10

The database lies on a small file system in memory, which the program mounts for itself alone (Linux, with `unshare`).
After the disk is full, the job must end with one error of florence_rag that names the reason, or succeed. Then there is
space again, and the same program stores items and is killed. The next one must find every source that was complete
before, and every item that was acknowledged, and complete the job to the same rows as without the full disk. The
embedder is a mean of colors.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import numpy as np
import typer
from workload import (
    PROCESSES,
    OtherEmbedder,
    Result,
    Snapshot,
    differences,
    draw,
    open_rag,
    save_corpus,
    snapshot,
)

from florence_rag import FlorenceRAG
from florence_rag.errors import FlorenceError
from florence_rag.index.bulk.export import export

DISK_MIB = 48
MOUNTED = "FLORENCE_RELIABILITY_DISK"
ITEMS_AFTER = 6
LEAST_BYTES = 2**17  # also a job after which less of the disk is used needs space at first
ANSWERS = 20


def index(rag: FlorenceRAG, place: Path) -> None:
    rag.add(place / "more")


def replace_items(rag: FlorenceRAG, place: Path) -> None:
    texts = [f"A blue text {number}. " + "It replaces an older one. " * 40 for number in range(60)]
    for first in range(0, 60, 12):
        rag.items.upsert_texts(texts[first : first + 12], ids=[f"kept {first + n}" for n in range(12)])


def put_images(rag: FlorenceRAG, place: Path) -> None:
    pixels = [np.asarray(draw(Random(number))) for number in range(24)]
    rag.items.upsert_images(pixels, ids=[f"image {number}" for number in range(24)])


def put_texts(rag: FlorenceRAG, place: Path) -> None:
    rag.items.upsert_texts([f"A text {n}. " * 200 for n in range(60)], ids=[f"text {n}" for n in range(60)])


def flush(rag: FlorenceRAG, place: Path) -> None:
    rag.index.flush()


def tag(rag: FlorenceRAG, place: Path) -> None:
    rag.set_tags({hit.id: ["checked"] for hit in rag.index.find(kinds={"image"})})


def reembed(rag: FlorenceRAG, place: Path) -> None:
    if rag.index.embedder != OtherEmbedder.info:
        rag.reembed(OtherEmbedder()).switch()


def export_all(rag: FlorenceRAG, place: Path) -> None:
    shutil.rmtree(place / "exported", ignore_errors=True)
    export(rag.index, place / "exported")


def cache_answers(rag: FlorenceRAG, place: Path) -> None:
    for number in range(ANSWERS):
        rag.ask(f"What is the color of thing {number}?", image=np.asarray(draw(Random(number))), cache_answers=True)


def nothing(rag: FlorenceRAG, place: Path) -> None:
    pass


class Job(NamedTuple):
    """What runs while the disk is full, and what runs before."""

    run: Callable[[FlorenceRAG, Path], None]
    first: Callable[[FlorenceRAG, Path], None] = nothing


JOBS = {
    "index": Job(index),
    "replace items": Job(replace_items),
    "put images": Job(put_images),
    "flush": Job(flush, first=put_texts),
    "tag": Job(tag),
    "reembed": Job(reembed),
    "export": Job(export_all),
    "answer cache": Job(cache_answers),
}


def prepare(place: Path, seed: int) -> None:
    """Make a database with files and items, and more files that are not yet indexed."""
    save_corpus(place / "files", seed, images=12)
    save_corpus(place / "more", seed + 1, images=30)
    with open_rag(place / "x.db") as rag:
        rag.add(place / "files")
        rag.items.upsert_texts([f"An old red text {n}." for n in range(60)], ids=[f"kept {n}" for n in range(60)])


def restore(place: Path, copy: Path) -> None:
    for each in place.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
    shutil.copytree(copy, place, dirs_exist_ok=True)


def store_after(rag: FlorenceRAG, number: int) -> None:
    rag.items.upsert_texts([f"Written with space again, {number}."], ids=[f"after {number}"])


def fill_disk(place: Path, free_bytes: int) -> None:
    """Write a file that leaves so much space."""
    room = os.statvfs(place)
    blocks = max(0, room.f_bavail * room.f_frsize - free_bytes) // room.f_frsize
    with (place / "ballast").open("wb") as ballast:
        for _ in range(blocks):
            ballast.write(b"\0" * room.f_frsize)


def run_on_full_disk(name: str, place: Path, free_bytes: int, results: Connection) -> None:
    """Run a job on a disk that gets full, then store items with space again, and end like a killed program."""
    rag = open_rag(place / "x.db")
    JOBS[name].first(rag, place)
    fill_disk(place, free_bytes)
    try:
        JOBS[name].run(rag, place)
        results.send(("done", ""))
    except Exception as error:
        clear = isinstance(error, FlorenceError) and "space" in str(error)
        results.send(("error" if clear else "fault", f"{type(error).__name__}: {error}"))
    (place / "ballast").unlink()
    for number in range(ITEMS_AFTER):
        try:
            store_after(rag, number)
        except FlorenceError as error:
            results.send(("error" if "open it again" in str(error) else "fault", f"with space again: {error}"))
            with suppress(FlorenceError):
                rag.close()
            rag = open_rag(place / "x.db")
            store_after(rag, number)
        results.send(("stored", f"item:after {number}"))
    os.kill(os.getpid(), signal.SIGKILL)


def undisturbed(name: str, place: Path, copy: Path) -> tuple[Snapshot, Snapshot, int]:
    """Return the database before and after a job on a disk with space, and the bytes that the job takes."""
    restore(place, copy)
    with open_rag(place / "x.db") as rag:
        before = snapshot(rag)
        JOBS[name].first(rag, place)
        free = os.statvfs(place).f_bfree
        JOBS[name].run(rag, place)
        for number in range(ITEMS_AFTER):
            store_after(rag, number)
        after = snapshot(rag)
    room = os.statvfs(place)
    return before, after, max(LEAST_BYTES, (free - room.f_bfree) * room.f_frsize)


def try_full_disk(name: str, place: Path, free_bytes: int, before: Snapshot, after: Snapshot) -> tuple[bool, list[str]]:
    """Return whether the disk was full for a job, and what was wrong then or later."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_on_full_disk, args=(name, place, free_bytes, theirs))
    process.start()
    theirs.close()
    messages: list[tuple[str, str]] = []
    with suppress(EOFError, OSError), ours:
        while True:
            messages.append(ours.recv())
    process.join()
    faults = [text for kind, text in messages if kind == "fault"]
    stored = [text for kind, text in messages if kind == "stored"]
    if len(stored) < ITEMS_AFTER:
        faults.append(f"only {len(stored)} of {ITEMS_AFTER} items could be stored with space again")
    with open_rag(place / "x.db") as rag:
        found = snapshot(rag)
        lost = (before.sources.keys() | set(stored)) - found.sources.keys()
        faults += [*found.faults, *(f"{uri} is lost" for uri in sorted(lost))]
        JOBS[name].first(rag, place)
        JOBS[name].run(rag, place)
        for number in range(ITEMS_AFTER):
            store_after(rag, number)
        faults += differences(snapshot(rag), after)
    return any(kind == "error" for kind, _ in messages), faults


def mount() -> Path:
    """Return an empty file system of its own, after starting this program again with the right to mount one."""
    if MOUNTED not in os.environ:
        os.environ[MOUNTED] = tempfile.mkdtemp()
        command = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
        done = subprocess.run(command)
        os.rmdir(os.environ[MOUNTED])
        sys.exit(done.returncode)
    place = os.environ[MOUNTED]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", place], check=True)
    return Path(place)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How often the disk gets full for each job.")] = 10,
    seed: int = 0,
    only: Annotated[str | None, typer.Option(help=f"One of {', '.join(JOBS)}.")] = None,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print how often each job survived."""
    place = mount()
    random = Random(seed)
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        prepare(place, seed)
        copy = Path(scratch) / "copy"
        shutil.copytree(place, copy)
        for name in [only] if only else JOBS:
            before, after, needed = undisturbed(name, place, copy)
            full = 0
            for _ in range(rounds):
                restore(place, copy)
                free = int(random.random() ** 2 * needed)
                try:
                    was_full, faults = try_full_disk(name, place, free, before, after)
                except Exception as error:
                    was_full, faults = True, [f"{type(error).__name__}: {error}"]
                full += was_full
                result.add(f"disk full: {name}", [f"{free} bytes free: {fault}" for fault in faults])
                print(f"{name}, {free} bytes free: {len(faults)} faults", flush=True)
            result.notes[f"disk full: {name}"] = f"full in {full} of {rounds}, it takes {needed // 1024} KiB"


if __name__ == "__main__":
    typer.run(main)
