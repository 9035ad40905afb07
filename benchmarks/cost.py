"""What each thing costs with florence-tiny: CPU time of an item, and the memory that it takes.

python benchmarks/cost.py [--json FILE]

Each row runs in a process of its own. Its time is that of all threads together (time.process_time) after the first
item, with which models are loaded. Its memory is what the peak of the process grows by after the libraries are
imported: models, index and pictures. Data is drawn and indexed before, by yet another process.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.chunking.frame_sampling import sample_frames, video_duration_s
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.datasets.coco import CocoFiles
from florence_rag.datasets.vqav2 import VQAFiles
from florence_rag.finetuning.actions import train_actions
from florence_rag.finetuning.detection import train_detector
from florence_rag.finetuning.settings import Settings, Step
from florence_rag.finetuning.unicl import train_unicl
from florence_rag.finetuning.vqa import train_meter
from florence_rag.loading.loaders import ACTION_RECOGNIZER, CAPTIONER, DETECTOR
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import TINY, find_model
from florence_rag.tasks.cached_vqa import CachedVQA
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.dataset_export import export_datasets
from recipes.florence_tiny.synthetic.scene import CATEGORIES, sample_scene
from recipes.florence_tiny.synthetic.video_scenes import sample_video_scene
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

STREETS, FILMS, TAKES, LEGS = 60, 3, 2, 5
FPS, SIZE = 12, (480, 360)
LABELS = [ANSWER_NAMES[name] for name in CATEGORIES]
QUESTION = "What colour is the bus?"
BATCH, STEPS = 16, 6

Done = Callable[[float], None]
"""Is told how many items are done in all."""
Row = Callable[[Path, Done], None]


def prepare(data: Path) -> None:
    """Streets, films, an index of each, a trained classifier, and answers by people as tags."""
    export_datasets(data, STREETS)
    rng = random.Random("cost benchmark")
    (data / "films").mkdir()
    for number in range(FILMS):
        takes = [sample_video_scene(rng, LEGS, scene=sample_scene(rng)) for _ in range(TAKES)]
        drawn = (
            picture
            for take in takes
            for picture in take.draw([i / FPS for i in range(round(take.seconds * FPS))], SIZE)
        )
        write_mp4(data / "films" / f"{number}.mp4", drawn, FPS, SIZE)
    with FlorenceRAG.open(data / "town.db", TINY, ocr="never") as rag:
        rag.add(data / "images")
        rag.train_classifier(data / "classes", "kinds")
        rag.set_tags({hit.id: [LABELS[i % 2], LABELS[2 + i % 3]] for i, hit in enumerate(streets(rag)[:20])})
    with FlorenceRAG.open(data / "films.db", TINY, action_model=TINY, ocr="never") as rag:
        rag.add(data / "films")


def streets(rag: FlorenceRAG) -> list[Any]:
    """All that are indexed."""
    return list(rag.index.find(kinds={"image"}))


def pictures(data: Path) -> list[Path]:
    """Their files."""
    return sorted((data / "images").iterdir())


def repeat(work: Callable[[int], object], times: int, done: Done, items: float = 1) -> None:
    """Do it so often, with the number of the time; items: how many it does each time."""
    for number in range(times):
        work(number)
        done((number + 1) * items)


def label(data: Path, done: Done) -> None:
    """Set the labels of a zero-shot classifier in 81 sentences each."""
    with FlorenceRAG.open(data / "town.db") as rag:
        repeat(lambda number: rag.classifying.classifier([*LABELS, f"thing {number}"], None), 3, done, len(LABELS) + 1)


def classify(data: Path, done: Done, probe: str | None = None) -> None:
    """By names, or by a probe; pictures come in batches."""
    paths = pictures(data)
    with FlorenceRAG.open(data / "town.db") as rag:
        classifier = rag.classifying.classifier(None if probe else LABELS, probe)
        repeat(lambda number: rag.classifying.pictures(classifier, paths[number * 15 : number * 15 + 15]), 4, done, 15)


def tag(data: Path, done: Done) -> None:
    """All that are not tagged, 40 by 20."""
    with FlorenceRAG.open(data / "town.db") as rag:
        repeat(lambda _: rag.tag(LABELS), 4, done, STREETS - 20)


def detect(data: Path, done: Done) -> None:
    """One picture after the other, with its file."""
    paths, detector = pictures(data), load_model(DETECTOR, TINY)
    repeat(lambda number: detector.detect([read_image(paths[number])]), 30, done)


def describe(data: Path, done: Done) -> None:
    """One picture after the other."""
    paths, captioner = pictures(data), load_model(CAPTIONER, TINY)
    repeat(lambda number: captioner.caption([read_image(paths[number])]), 30, done)


def new_database(data: Path) -> Path:
    """Of a name that is not taken."""
    return Path(tempfile.mkdtemp(dir=data)) / "new.db"


def index(data: Path, done: Done, **parts: str) -> None:
    """Pictures into a new database; the first ten load what is needed."""
    paths = pictures(data)
    with FlorenceRAG.open(new_database(data), TINY, ocr="never", **parts) as rag:  # type: ignore[arg-type]
        for end in (10, STREETS):
            rag.add(*paths[:end])
            done(end)


def recognize(data: Path, done: Done) -> None:
    """What happens in films, without an index."""
    recognizer, seconds = load_model(ACTION_RECOGNIZER, TINY), 0.0
    for film in sorted((data / "films").iterdir()):
        end_s = video_duration_s(str(film))
        frames = ((time_s, frame) for time_s, _, frame in sample_frames(str(film), 0, end_s, recognizer.rate_hz))
        recognizer.recognize(frames, end_s)
        done(seconds := seconds + end_s)


def index_films(data: Path, done: Done, **parts: str) -> None:
    """Films into a new database; the first one loads what is needed."""
    films, seconds = sorted((data / "films").iterdir()), 0.0
    with FlorenceRAG.open(new_database(data), TINY, ocr="never", **parts) as rag:  # type: ignore[arg-type]
        for film in films:
            rag.add(film)
            done(seconds := seconds + video_duration_s(str(film)))


def moments(data: Path, done: Done) -> None:
    """Searches over three films."""
    with FlorenceRAG.open(data / "films.db") as rag:
        repeat(lambda number: rag.find_moments(f"the {LABELS[number % 9]} leaves to the right"), 30, done)


def recommend(data: Path, done: Done) -> None:
    """By three liked streets and one that is not."""
    with FlorenceRAG.open(data / "town.db") as rag:
        ids = [hit.id for hit in streets(rag)]
        repeat(lambda number: rag.recommend(ids[number : number + 3], [ids[number + 3]]), 20, done)


def ask(data: Path, done: Done) -> None:
    """METER about one picture after the other."""
    frames = [read_image(path) for path in pictures(data)]
    with FlorenceRAG.open(data / "town.db") as rag:
        vqa = rag.models.require_vqa()
        repeat(lambda number: vqa.answer(frames[number], QUESTION), 40, done)


def cache_answers(data: Path, done: Done) -> None:
    """The same about the same pictures a second time."""
    frames = [read_image(path) for path in pictures(data)[:30]]
    with FlorenceRAG.open(data / "town.db") as rag:
        memory = CachedVQA(rag.models.require_vqa(), rag.index.answer_store(), rag.models.embedder, TINY)  # type: ignore[attr-defined]
        for frame in frames:
            memory.answer(frame, QUESTION)
        repeat(lambda number: memory.answer(frames[number], QUESTION), len(frames), done)


def train(data: Path, done: Done, what: str) -> None:
    """A few steps, each with so many examples; checks are not counted."""
    settings = Settings(steps=STEPS, batch=BATCH, checks=1)
    told: dict[str, Any] = {"settings": settings, "progress": lambda step: _steps(step, done)}
    start, out = Path(find_model(TINY).source), data / "mine"
    if what == "unicl":
        train_unicl([data / "classes"], out, start / "florence", **told)
    elif what == "meter":
        files = VQAFiles((data / "questions.json",), (data / "annotations.json",), data / "images")
        train_meter(files, out, start / "meter", **told)
    elif what == "detector":
        train_detector(CocoFiles((data / "instances.json",), data / "images"), out, start / "florence", **told)
    else:
        rows = [line.split(",") for line in (data / "actions.csv").read_text("utf-8").splitlines()[1:]]
        (data / "moves.csv").write_text("".join(f"actions/{row[1]}.mp4,{row[0]}\n" for row in rows), "utf-8")
        train_actions(data / "moves.csv", out, start / "video", **told)


def _steps(step: Step, done: Done) -> None:
    done(step.step)


ROWS: dict[str, tuple[str, Row]] = {
    "set a label in 81 sentences": ("label", label),
    "classify by names": ("picture", classify),
    "classify by a trained probe": ("picture", lambda data, done: classify(data, done, "kinds")),
    "tag what is indexed": ("picture", tag),
    "detect": ("picture", detect),
    "caption (`--captioner`)": ("picture", describe),
    "index": ("picture", index),
    "index with regions (`--detector`)": ("picture", lambda data, done: index(data, done, detector=TINY)),
    "recognise actions": ("second of film", recognize),
    "index films": ("second of film", index_films),
    "index films with actions": ("second of film", lambda data, done: index_films(data, done, action_model=TINY)),
    "find moments": ("search", moments),
    "recommend": ("search", recommend),
    "ask METER": ("question", ask),
    "ask METER, from memory": ("question", cache_answers),
    f"train unicl, {BATCH} examples": ("step", lambda data, done: train(data, done, "unicl")),
    f"train meter, {BATCH} examples": ("step", lambda data, done: train(data, done, "meter")),
    f"train detector, {BATCH} examples": ("step", lambda data, done: train(data, done, "detector")),
    f"train actions, {BATCH} examples": ("step", lambda data, done: train(data, done, "actions")),
}


def peak_mib() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(row: Row, data: Path) -> dict[str, float]:
    """In a process of its own: CPU milliseconds of an item, what the peak grew by, and what it was before, in MiB."""
    marks: list[tuple[float, float]] = []

    def done(items: float) -> None:
        if not marks or items > marks[-1][0]:
            marks.append((items, time.process_time()))

    libraries = peak_mib()
    row(data, done)
    (first, start), (last, end) = marks[0], marks[-1]
    return {"cpu_ms": 1000 * (end - start) / (last - first), "mib": peak_mib() - libraries, "libraries_mib": libraries}


def in_a_process(data: Path, row: str) -> str:
    """What `measure` prints, or `prepare`."""
    command = [sys.executable, __file__, "--data", str(data), "--row", row]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def show(figures: dict[str, dict[str, float]]) -> None:
    """A row for each."""
    libraries = np.mean([each["libraries_mib"] for each in figures.values()])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{spent.ru_utime + spent.ru_stime:.0f} s of CPU time in all")
    drawn = Table(
        "", "CPU ms", "a", "MiB", title=f"{torch.get_num_threads()} threads; libraries alone {libraries:.0f} MiB"
    )
    for name, each in figures.items():
        drawn.add_row(name, f"{each['cpu_ms']:.1f}", ROWS[name][0], f"{each['mib']:.0f}")
    Console().print(drawn)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only rows whose name has this in it.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    row: Annotated[str | None, typer.Option(hidden=True)] = None,
    data: Annotated[Path, typer.Option(hidden=True)] = Path("data"),
) -> None:
    """Measure and print."""
    quiet_libraries()
    if row == "prepare":
        return prepare(data)
    if row is not None:
        return print(json.dumps(measure(ROWS[row][1], data)))
    with tempfile.TemporaryDirectory() as folder:
        in_a_process(Path(folder), "prepare")
        figures = {name: json.loads(in_a_process(Path(folder), name)) for name in chosen(only or [""])}
    show(figures)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def chosen(parts: Sequence[str]) -> list[str]:
    """The names that have one of these in them."""
    return [name for name in ROWS if any(part in name for part in parts)]


if __name__ == "__main__":
    typer.run(main)
