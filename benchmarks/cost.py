"""CPU time per item and memory of each task with florence-tiny.

python benchmarks/cost.py [--json FILE]

Each row runs in its own process. Its time is the CPU time of all threads (time.process_time) after the first item,
which loads the models. Its memory is the growth of the peak of the process after the import of the libraries: models,
index and images. Another process draws and indexes the data first.
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
from florence_rag.chunking.video import sample_frames, video_duration_s
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.datasets.coco import CocoFiles
from florence_rag.datasets.vqav2 import VQAFiles
from florence_rag.finetuning.actions import ActionTask
from florence_rag.finetuning.detection import DetectorTask
from florence_rag.finetuning.settings import Settings, Step
from florence_rag.finetuning.trainer import fine_tune
from florence_rag.finetuning.unicl import UniCLTask
from florence_rag.finetuning.vqa import MeterTask
from florence_rag.loading.loaders import ACTION_RECOGNIZER, CAPTIONER, DETECTOR
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import TINY, find_model
from florence_rag.tasks.answer_cache import CachedVQA
from recipes.florence_tiny.synthetic.clips import write_mp4
from recipes.florence_tiny.synthetic.dataset_export import export_datasets
from recipes.florence_tiny.synthetic.scene import CATEGORIES, sample_scene
from recipes.florence_tiny.synthetic.video_scenes import sample_video_scene
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES

SCENES, VIDEOS, SCENES_PER_VIDEO, SEGMENTS = 60, 3, 2, 5
FPS, SIZE = 12, (480, 360)
LABELS = [ANSWER_NAMES[name] for name in CATEGORIES]
QUESTION = "What color is the bus?"
BATCH, STEPS = 16, 6

Done = Callable[[float], None]
"""Receives the total number of finished items."""
Row = Callable[[Path, Done], None]


def prepare(data: Path) -> None:
    """Write scenes and videos, an index of each, a trained classifier, and tags."""
    export_datasets(data, SCENES)
    rng = random.Random("cost benchmark")
    (data / "long_videos").mkdir()
    for number in range(VIDEOS):
        video_scenes = [sample_video_scene(rng, SEGMENTS, scene=sample_scene(rng)) for _ in range(SCENES_PER_VIDEO)]
        frames = (
            image
            for video_scene in video_scenes
            for image in video_scene.draw([i / FPS for i in range(round(video_scene.seconds * FPS))], SIZE)
        )
        write_mp4(data / "long_videos" / f"{number}.mp4", frames, FPS, SIZE)
    with FlorenceRAG.open(data / "town.db", TINY, ocr="never") as rag:
        rag.add(data / "images")
        rag.classifiers.train(data / "classes", "kinds")
        rag.set_tags({hit.id: [LABELS[i % 2], LABELS[2 + i % 3]] for i, hit in enumerate(indexed_images(rag)[:20])})
    with FlorenceRAG.open(data / "videos.db", TINY, action_model=TINY, ocr="never") as rag:
        rag.add(data / "long_videos")


def indexed_images(rag: FlorenceRAG) -> list[Any]:
    """Return all indexed images."""
    return list(rag.index.find(kinds={"image"}))


def image_files(data: Path) -> list[Path]:
    """Return the image files."""
    return sorted((data / "images").iterdir())


def repeat(work: Callable[[int], object], times: int, done: Done, items: float = 1) -> None:
    """Call `work` with increasing numbers; every call finishes a number of items."""
    for number in range(times):
        work(number)
        done((number + 1) * items)


def label(data: Path, done: Done) -> None:
    """Set the labels of a zero-shot classifier, with 81 prompts each."""
    with FlorenceRAG.open(data / "town.db") as rag:
        repeat(lambda number: rag.classifiers.get([*LABELS, f"thing {number}"], None), 3, done, len(LABELS) + 1)


def classify(data: Path, done: Done, probe: str | None = None) -> None:
    """Classify batches of images by their names, or by a probe."""
    paths = image_files(data)
    with FlorenceRAG.open(data / "town.db") as rag:
        classifier = rag.classifiers.get(None if probe else LABELS, probe)
        repeat(lambda number: rag.classifiers.classify(classifier, paths[number * 15 : number * 15 + 15]), 4, done, 15)


def tag(data: Path, done: Done) -> None:
    """Tag 40 images by 20 tagged ones."""
    with FlorenceRAG.open(data / "town.db") as rag:
        repeat(lambda _: rag.tag(LABELS), 4, done, SCENES - 20)


def detect(data: Path, done: Done) -> None:
    """Detect objects in one image after another."""
    paths, detector = image_files(data), load_model(DETECTOR, TINY)
    repeat(lambda number: detector.detect([read_image(paths[number])]), 30, done)


def describe(data: Path, done: Done) -> None:
    """Caption one image after another."""
    paths, captioner = image_files(data), load_model(CAPTIONER, TINY)
    repeat(lambda number: captioner.caption([read_image(paths[number])]), 30, done)


def new_database(data: Path) -> Path:
    """Return the path of a new database."""
    return Path(tempfile.mkdtemp(dir=data)) / "new.db"


def index(data: Path, done: Done, **parts: str) -> None:
    """Index images in a new database; the first ten load the models."""
    paths = image_files(data)
    with FlorenceRAG.open(new_database(data), TINY, ocr="never", **parts) as rag:  # type: ignore[arg-type]
        for end in (10, SCENES):
            rag.add(*paths[:end])
            done(end)


def recognize(data: Path, done: Done) -> None:
    """Recognize actions in videos, without an index."""
    recognizer, seconds = load_model(ACTION_RECOGNIZER, TINY), 0.0
    for video in sorted((data / "long_videos").iterdir()):
        end_s = video_duration_s(str(video))
        frames = ((time_s, frame) for time_s, _, frame in sample_frames(str(video), 0, end_s, recognizer.fps))
        recognizer.recognize(frames, end_s)
        done(seconds := seconds + end_s)


def index_videos(data: Path, done: Done, **parts: str) -> None:
    """Index videos in a new database; the first one loads the models."""
    videos, seconds = sorted((data / "long_videos").iterdir()), 0.0
    with FlorenceRAG.open(new_database(data), TINY, ocr="never", **parts) as rag:  # type: ignore[arg-type]
        for video in videos:
            rag.add(video)
            done(seconds := seconds + video_duration_s(str(video)))


def moments(data: Path, done: Done) -> None:
    """Search for moments in three videos."""
    with FlorenceRAG.open(data / "videos.db") as rag:
        repeat(lambda number: rag.find_moments(f"the {LABELS[number % 9]} leaves to the right"), 30, done)


def recommend(data: Path, done: Done) -> None:
    """Recommend by three liked images and a disliked one."""
    with FlorenceRAG.open(data / "town.db") as rag:
        ids = [hit.id for hit in indexed_images(rag)]
        repeat(lambda number: rag.recommend(ids[number : number + 3], [ids[number + 3]]), 20, done)


def ask(data: Path, done: Done) -> None:
    """Ask METER about one image after another."""
    frames = [read_image(path) for path in image_files(data)]
    with FlorenceRAG.open(data / "town.db") as rag:
        vqa = rag.models.require_vqa().get()
        repeat(lambda number: vqa.answer(frames[number], QUESTION), 40, done)


def cache_answers(data: Path, done: Done) -> None:
    """Ask about the same images a second time."""
    frames = [read_image(path) for path in image_files(data)[:30]]
    with FlorenceRAG.open(data / "town.db") as rag:
        memory = CachedVQA(rag.models.require_vqa(), rag.index.answer_store(), rag.models.embedder, TINY)  # type: ignore[attr-defined]
        for frame in frames:
            memory.answer(frame, QUESTION)
        repeat(lambda number: memory.answer(frames[number], QUESTION), len(frames), done)


def train(data: Path, done: Done, what: str) -> None:
    """Train for a few steps; evaluations are not counted."""
    settings = Settings(steps=STEPS, batch=BATCH, checks=1)
    options: dict[str, Any] = {"settings": settings, "progress": lambda step: _steps(step, done)}
    start, out = Path(find_model(TINY).source), data / "mine"
    if what == "unicl":
        fine_tune(UniCLTask([data / "classes"]), out, start / "florence", **options)
    elif what == "meter":
        files = VQAFiles((data / "questions.json",), (data / "annotations.json",), data / "images")
        fine_tune(MeterTask(files), out, start / "meter", **options)
    elif what == "detector":
        files = CocoFiles((data / "instances.json",), data / "images")
        fine_tune(DetectorTask(files), out, start / "florence", **options)
    else:
        rows = [line.split(",") for line in (data / "actions.csv").read_text("utf-8").splitlines()[1:]]
        (data / "moves.csv").write_text("".join(f"actions/{row[1]}.mp4,{row[0]}\n" for row in rows), "utf-8")
        fine_tune(ActionTask(data / "moves.csv"), out, start / "video", **options)


def _steps(step: Step, done: Done) -> None:
    done(step.step)


ROWS: dict[str, tuple[str, Row]] = {
    "insert a label into 81 prompts": ("label", label),
    "classify by names": ("image", classify),
    "classify by a trained probe": ("image", lambda data, done: classify(data, done, "kinds")),
    "tag indexed images": ("image", tag),
    "detect": ("image", detect),
    "caption (`--captioner`)": ("image", describe),
    "index": ("image", index),
    "index with regions (`--detector`)": ("image", lambda data, done: index(data, done, detector=TINY)),
    "recognize actions": ("second of video", recognize),
    "index videos": ("second of video", index_videos),
    "index videos with actions": ("second of video", lambda data, done: index_videos(data, done, action_model=TINY)),
    "find moments": ("search", moments),
    "recommend": ("search", recommend),
    "ask METER": ("question", ask),
    "ask METER, from the cache": ("question", cache_answers),
    f"train unicl, {BATCH} examples": ("step", lambda data, done: train(data, done, "unicl")),
    f"train meter, {BATCH} examples": ("step", lambda data, done: train(data, done, "meter")),
    f"train detector, {BATCH} examples": ("step", lambda data, done: train(data, done, "detector")),
    f"train actions, {BATCH} examples": ("step", lambda data, done: train(data, done, "actions")),
}


def peak_mib() -> float:
    """Return the peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(row: Row, data: Path) -> dict[str, float]:
    """Return CPU milliseconds per item, the growth of the peak memory, and the memory of the libraries, in MiB."""
    marks: list[tuple[float, float]] = []

    def done(items: float) -> None:
        if not marks or items > marks[-1][0]:
            marks.append((items, time.process_time()))

    libraries = peak_mib()
    row(data, done)
    (first, start), (last, end) = marks[0], marks[-1]
    return {"cpu_ms": 1000 * (end - start) / (last - first), "mib": peak_mib() - libraries, "libraries_mib": libraries}


def run_in_process(data: Path, row: str) -> str:
    """Run a row, or `prepare`, in its own process, and return its output."""
    command = [sys.executable, __file__, "--data", str(data), "--row", row]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def show(metrics: dict[str, dict[str, float]]) -> None:
    """Print a row for each task."""
    libraries = np.mean([each["libraries_mib"] for each in metrics.values()])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{spent.ru_utime + spent.ru_stime:.0f} s of CPU time in total")
    table = Table(
        "", "CPU ms", "a", "MiB", title=f"{torch.get_num_threads()} threads; libraries alone {libraries:.0f} MiB"
    )
    for name, each in metrics.items():
        table.add_row(name, f"{each['cpu_ms']:.1f}", ROWS[name][0], f"{each['mib']:.0f}")
    Console().print(table)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only rows whose name contains this.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
    row: Annotated[str | None, typer.Option(hidden=True)] = None,
    data: Annotated[Path, typer.Option(hidden=True)] = Path("data"),
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    if row == "prepare":
        return prepare(data)
    if row is not None:
        return print(json.dumps(measure(ROWS[row][1], data)))
    with tempfile.TemporaryDirectory() as folder:
        run_in_process(Path(folder), "prepare")
        metrics = {name: json.loads(run_in_process(Path(folder), name)) for name in select_rows(only or [""])}
    show(metrics)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


def select_rows(parts: Sequence[str]) -> list[str]:
    """Return the names that contain one of the parts."""
    return [name for name in ROWS if any(part in name for part in parts)]


if __name__ == "__main__":
    typer.run(main)
