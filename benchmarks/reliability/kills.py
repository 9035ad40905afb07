"""Kill a process at random moments, repeat what it did, and compare the database with that of an uninterrupted run.

    python benchmarks/reliability/kills.py --kills 100 --seed 0

Each job runs in a process that SIGKILL ends: an index run, its second pass, a run that removes files, a move to another
embedder, a program that stores and deletes items, a watch of a folder, an index run inside one long video, and a
repair. A process that decodes files for an index run is killed, too. After each kill the database is opened and
checked: every source must be complete or absent, and nothing may be missing that was acknowledged, or that the job does
not change. Then the job is repeated until it is complete. The embedder is a mean of colors.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Annotated

import numpy as np
import psutil
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
    save_video,
    snapshot,
)

from florence_rag.context import loaded
from florence_rag.index import writer
from florence_rag.index.lite.profile import LiteProfile
from florence_rag.index.milvus import MilvusIndex
from florence_rag.ingest import words_pass
from florence_rag.ingest.engine import IngestConfig
from florence_rag.ingest.words_pass import WordsMode
from florence_rag.types import Frame

Acknowledge = Callable[[int], object]
DECODER = "decoder process"
STEPS = 60  # of the program that stores items
ITEMS = 12


@dataclass(frozen=True)
class Workplace:
    """A database and its files, whose paths are the same for every kill, because ids follow from paths."""

    folder: Path

    @property
    def db(self) -> Path:
        return self.folder / "x.db"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def later(self) -> Path:
        """Files that are moved into the folder while it is watched; an empty one deletes the file of its name."""
        return self.folder / "later"

    def restore(self, copy: Path) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(copy, self.folder)


# Small buffers, so that more of the kills come between two writes.
writer.BUFFER_ROWS, LiteProfile.flush_rows, words_pass.WRITE_S = 8, 24, 0.0


class DigestCaptioner:
    """A `Captioner` that names the pixels of an image."""

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Return a digest of each frame, after as long as a fast model would take."""
        time.sleep(len(frames) / 20)
        return [blake2b(frame.tobytes(), digest_size=8).hexdigest() for frame in frames]


def index(place: Workplace, start: int, acknowledge: Acknowledge) -> None:
    """Index the folder, and delete files that no longer exist from the database."""
    with open_rag(place.db, ingest=IngestConfig(batch_size=4)) as rag:
        rag.add(place.files, prune=True)


def read_words(place: Workplace, start: int, acknowledge: Acknowledge, words: WordsMode = "later") -> None:
    """Caption the images of the folder, which are indexed."""
    with open_rag(place.db, ingest=IngestConfig(batch_size=4)) as rag:
        rag.models.captioner = loaded(DigestCaptioner())
        rag.add(place.files, words=words)


def reembed(place: Workplace, start: int, acknowledge: Acknowledge) -> None:
    """Move the database to another embedder, unless that has been done."""
    with open_rag(place.db) as rag:
        if rag.index.embedder != OtherEmbedder.info:
            rag.reembed(OtherEmbedder()).switch()


def put(place: Workplace, start: int, acknowledge: Acknowledge) -> None:
    """Store, replace and delete items, step by step."""
    with open_rag(place.db) as rag:
        for step in range(start, STEPS):
            ids = step_ids(step)
            if step % 5 == 4:
                rag.items.delete(ids)
            elif step % 5 == 3:
                pixels = [np.asarray(draw(Random(f"{step} {id}"), (32, 32))) for id in ids]
                rag.items.upsert_images(pixels, ids=ids, metadatas=[{"step": step, f"only{step}": 1}] * len(ids))
            else:
                texts = [f"A red text, written in step {step} for {id}." for id in ids]
                rag.items.upsert_texts(texts, ids=ids, metadatas=[{"step": step, f"only{step}": 1}] * len(ids))
            acknowledge(step + 1)


def step_ids(step: int) -> list[str]:
    return [f"item {id}" for id in Random(step).sample(range(ITEMS), 3)]


def stored_items(steps: int) -> dict[str, int]:
    """Return the step that wrote each item that exists after this number of steps."""
    items: dict[str, int] = {}
    for step in range(steps):
        for id in step_ids(step):
            items.pop(id, None)
            if step % 5 != 4:
                items[id] = step
    return items


def watch(place: Workplace, start: int, acknowledge: Acknowledge) -> None:
    """Watch the folder, while files are created, changed and deleted one by one."""
    stop = threading.Event()
    with open_rag(place.db) as rag:
        for _ in rag.watch(place.files, stop=stop):
            waiting = sorted(place.later.iterdir())
            if not waiting:
                stop.set()
                continue
            target = place.files / waiting[0].name
            if waiting[0].stat().st_size:
                os.replace(waiting[0], target)
            else:
                target.unlink(missing_ok=True)
                waiting[0].unlink()


def repair(place: Workplace, start: int, acknowledge: Acknowledge) -> None:
    """Repair the database, with the embedder that filled it."""
    from florence_rag.maintenance import repair as module

    def open_database(db: str, model: str | None, options: object) -> SimpleNamespace:
        rag = open_rag(db)
        return SimpleNamespace(index=rag.index, models=rag.models, image_folder=rag.context.images.folder)

    module.open_database = open_database
    module.repair_database(place.db)


def prepare_damage(place: Workplace, seed: int) -> None:
    """Index the files, then change rows under their checksums, delete rows, and cut off the end of a data file."""
    prepare_database(place, seed)
    random = Random(seed)
    with MilvusIndex.open_unchecked(str(place.db)) as index:
        connection, name = index.chunks.connection, index.chunks.name
        rows = list(connection.rows(name, ["*"]))
        changed = random.sample(rows, len(rows) // 3)
        connection.upsert(name, [{**row, "text": "damaged"} for row in changed if row.pop("bm25", True)])
        index.chunks.drop_sources([str(path) for path in sorted(place.files.iterdir())[:5]])
    data = sorted(place.db.rglob("data_*.parquet"))[0]
    data.write_bytes(data.read_bytes()[:-100])


def prepare_files(place: Workplace, seed: int) -> None:
    save_corpus(place.files, seed)


def prepare_database(place: Workplace, seed: int) -> None:
    prepare_files(place, seed)
    with open_rag(place.db) as rag:
        rag.add(place.files)


def prepare_words(place: Workplace, seed: int) -> None:
    place.files.mkdir(parents=True)
    random = Random(seed)
    for number in range(80):
        draw(random).save(place.files / f"{number:03}.png")
    read_words(place, 0, lambda step: None, "never")


def prepare_removal(place: Workplace, seed: int) -> None:
    save_corpus(place.files, seed, images=120)
    with open_rag(place.db) as rag:
        rag.add(place.files)
    for file in sorted(place.files.iterdir())[::2]:
        file.unlink()


def prepare_items(place: Workplace, seed: int) -> None:
    place.folder.mkdir(parents=True, exist_ok=True)


def prepare_watch(place: Workplace, seed: int) -> None:
    prepare_database(place, seed)
    place.later.mkdir()
    random = Random(seed + 1)
    for name in ("001.png", "new1.png", "new2.png"):
        draw(random).save(place.later / name)
    (place.later / "000.jpg").touch()


def prepare_video(place: Workplace, seed: int) -> None:
    place.files.mkdir(parents=True)
    save_video(place.files / "long.mp4", Random(seed), seconds=60, size=(320, 240), rate=12)


@dataclass
class Job:
    """A job that is killed: a function that makes its files, and one that can be repeated until it completes."""

    run: Callable[[Workplace, int, Acknowledge], None]
    prepare: Callable[[Workplace, int], None]
    copy: Path = Path()
    duration_s: float = 0.0
    late_kills: int = 0
    before: Snapshot | None = None
    after: Snapshot = field(default_factory=lambda: Snapshot({}, {}, frozenset()))


JOBS = {
    "index": Job(index, prepare_files),
    "words": Job(read_words, prepare_words),
    "prune": Job(index, prepare_removal),
    "reembed": Job(reembed, prepare_database),
    "put": Job(put, prepare_items),
    "watch": Job(watch, prepare_watch),
    "inside a video": Job(index, prepare_video),
    "repair": Job(repair, prepare_damage),
    DECODER: Job(index, prepare_files),
}


def run_in_child(name: str, folder: Path, start: int, results: Connection) -> None:
    """Run a job in this process, from a step on."""
    results.send(0)
    JOBS[name].run(Workplace(folder), start, lambda step: results.send(step))
    results.send(-1)


def run_and_kill(name: str, place: Workplace, start: int, kill_after_s: float | None) -> int:
    """Run a job in a process, kill that after some seconds, and return the steps that it acknowledged; -1 if all."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_in_child, args=(name, place.folder, start, theirs))
    process.start()
    theirs.close()
    acknowledged = start
    try:
        with suppress(EOFError, OSError), ours:  # the kill may cut a message in two
            ours.recv()
            if kill_after_s is not None:
                threading.Timer(kill_after_s, process.kill).start()
            while acknowledged >= 0:
                acknowledged = ours.recv()
        process.join()
    finally:
        process.kill()  # if this program is interrupted
    if process.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{name} ended with {process.exitcode}")
    return acknowledged


def prepare(name: str, place: Workplace, copies: Path, seed: int) -> None:
    """Make the files of a job, and run it without a kill."""
    job = JOBS[name]
    job.copy = copies / name
    shutil.rmtree(place.folder, ignore_errors=True)
    job.prepare(place, seed)
    shutil.copytree(place.folder, job.copy)
    if place.db.exists() and job.run is not repair:
        with open_rag(place.db) as rag:
            job.before = snapshot(rag)
    place.restore(job.copy)
    started = time.monotonic()
    run_and_kill(name, place, 0, None)
    job.duration_s = time.monotonic() - started
    with open_rag(place.db) as rag:
        job.after = snapshot(rag)


def faults_after_kill(job: Job, found: Snapshot, acknowledged: int) -> list[str]:
    """Return a line for each source that is incomplete or lost."""
    faults = [*found.faults, *(f"{uri} is partly there after the kill" for uri in found.partial)]
    if job.run is put:
        return faults + lost_items(found, acknowledged)
    states = [each.sources for each in (job.before, job.after) if each is not None]
    for uri, state in found.sources.items():
        rows = [each[uri][1] for each in states if uri in each]
        if job.run is not watch and state[1] not in rows:
            faults.append(f"{uri} is complete with other rows after the kill")
    if job.before is not None and job.run is not reembed:
        kept = {uri for uri, state in job.before.sources.items() if job.after.sources.get(uri) == state}
        faults += [f"{uri} is lost after the kill" for uri in kept - found.sources.keys()]
    return faults


def lost_items(found: Snapshot, acknowledged: int) -> list[str]:
    """Compare the items with those that were acknowledged; the last step may have happened or not."""
    sure, possible = stored_items(acknowledged), stored_items(min(STEPS, acknowledged + 1))
    faults = []
    for id in {f"item {number}" for number in range(ITEMS)}:
        rows = found.sources.get(f"item:{id}", ("", ()))[1]
        step = next((int(part) for row in rows for part in [row[6].partition('"step": ')[2].rstrip("}")]), None)
        if step not in (sure.get(id), possible.get(id)):
            faults.append(f"{id!r} is of step {step}, acknowledged was {sure.get(id)} after {acknowledged} steps")
    return faults


def try_kill(name: str, place: Workplace, random: Random) -> list[str]:
    """Kill a job up to three times, check the database after each kill, complete the job, and compare the databases."""
    job = JOBS[name]
    place.restore(job.copy)
    faults: list[str] = []
    start = 0
    for _ in range(random.choice((1, 1, 3))):
        acknowledged = run_and_kill(name, place, start, random.uniform(0, job.duration_s))
        start = STEPS if acknowledged < 0 else acknowledged
        job.late_kills += acknowledged < 0
        if place.db.exists() and job.run is not repair:
            with open_rag(place.db) as rag:
                faults += faults_after_kill(job, snapshot(rag), start)
    job.run(place, start, lambda step: None)
    with open_rag(place.db) as rag:
        return faults + differences(snapshot(rag), job.after)


def try_decoder_kill(place: Workplace, random: Random) -> list[str]:
    """Kill a process that decodes files for an index run. The run must end, and the next one must read its file."""
    job = JOBS[DECODER]
    place.restore(job.copy)
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_in_child, args=(DECODER, place.folder, 0, theirs))
    process.start()
    ours.recv()
    ends = time.monotonic() + random.uniform(0, job.duration_s)
    decoders: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):  # the run may have ended
        while process.is_alive() and (time.monotonic() < ends or not decoders):
            decoders = psutil.Process(process.pid).children() or decoders
            time.sleep(0.01)
        random.choice(decoders).kill()
        job.late_kills -= 1
    job.late_kills += 1
    process.join()
    faults = [] if process.exitcode == 0 else [f"the run ended with {process.exitcode}"]
    with open_rag(place.db) as rag:
        failed = rag.index.failures()
        faults += [f"{len(failed)} files failed for one process"] * (len(failed) > 1)
        rag.add(place.files, retry=True)
        return faults + differences(snapshot(rag), job.after)


def main(
    kills: Annotated[int, typer.Option(min=1, help="The number of kills over all jobs.")] = 100,
    seed: int = 0,
    only: Annotated[str | None, typer.Option(help=f"One of {', '.join(JOBS)}.")] = None,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Kill each job in turn, and print how often the repeated run ended with the same database."""
    names = [only] if only else list(JOBS)
    random = Random(seed)
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        place = Workplace(Path(scratch) / "work")
        for name in names:
            prepare(name, place, Path(scratch) / "copies", seed)
        for number in range(kills):
            name = names[number % len(names)]
            try:
                faults = try_decoder_kill(place, random) if name == DECODER else try_kill(name, place, random)
            except Exception as error:
                faults = [f"{type(error).__name__}: {error}"]
            result.add(f"killed: {name}", faults)
            note = f"{JOBS[name].after.rows} rows, {JOBS[name].late_kills} kills came after the end"
            result.notes[f"killed: {name}"] = note
            print(f"{number + 1} of {kills} kills: {name}, {len(faults)} faults", flush=True)


if __name__ == "__main__":
    typer.run(main)
