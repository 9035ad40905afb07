"""OCR: its share of an index run, the effect of memory and batches, and what it reads on streets: make bench-all.

    python benchmarks/ocr.py

The images are synthetic scenes; one in four has a sign with text. Images without text only cost the text detector.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw
from rapidocr import RapidOCR
from rapidocr.ch_ppocr_rec import TextRecInput

from florence_rag import FlorenceRAG, Progress
from florence_rag.models.registry import TINY
from florence_rag.perception.ocr import RapidOcrReader
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import sample_scene

BATCHES = (1, 6, 24)
SHORT_TEXTS = ("7", "42", "Ja", "OK", "WC", "STOP", "EXIT", "221B", "12.99", "HOTEL")


def save_scenes(folder: Path, count: int) -> None:
    """Save PNG images of 640x480."""
    random = Random(0)
    for number in range(count):
        image = draw_scene(sample_scene(random), (640, 480))
        if number % 4 == 0:
            draw = ImageDraw.Draw(image)
            draw.rectangle((180, 20, 460, 80), fill="white")
            draw.text((200, 32), f"Street {number}", fill="black", font_size=32)
        image.save(folder / f"{number:04}.png")


def seconds_by_stage(folder: Path, db: Path) -> dict[str, float]:
    """Return the share of each stage of an index run with OCR; "run" is its duration in seconds."""
    steps: list[Progress] = []
    with FlorenceRAG.open(db, TINY) as rag:
        rag.add(folder, progress=steps.append)
    return {"run": steps[-1].elapsed_s, **steps[-1].busy}


def seconds_by_batch(lines: int) -> dict[int, float]:
    """Return the seconds for reading lines on one thread by batch size, best of three."""
    random = np.random.default_rng(0)
    crops = []
    for number in range(lines):
        line = Image.new("RGB", (200 + int(random.integers(0, 120)), 48), "white")
        ImageDraw.Draw(line).text((8, 12), f"word {number} street", fill="black", font_size=24)
        crops.append(np.asarray(line))
    one = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1}
    reader = RapidOCR(params={"Global.log_level": "critical", "Global.use_cls": False, **one})
    reader(crops[0], use_det=False)
    best = dict.fromkeys(BATCHES, float("inf"))
    for _ in range(3):
        for batch in BATCHES:
            reader.text_rec.rec_batch_num = batch
            started = time.perf_counter()
            reader.text_rec(TextRecInput(img=crops))
            best[batch] = min(best[batch], time.perf_counter() - started)
    return best


def seconds_by_memory(folder: Path) -> dict[str, float]:
    """Return the processor seconds of reading images with memory from an arena, and from the system for each pass."""
    one = {"EngineConfig.onnxruntime.intra_op_num_threads": 1, "EngineConfig.onnxruntime.inter_op_num_threads": 1}
    common = {"Global.log_level": "critical", "Global.use_cls": False, "Det.limit_type": "max", **one}
    name = "EngineConfig.onnxruntime.enable_cpu_mem_arena"
    readers = {kind: RapidOCR(params={**common, name: kind == "arena"}) for kind in ("arena", "system")}
    spent = dict.fromkeys(readers, 0.0)
    for number, path in enumerate(sorted(folder.iterdir())):
        for kind, reader in readers.items():
            started = time.process_time()
            reader(np.asarray(Image.open(path).convert("RGB")))
            spent[kind] += time.process_time() - started if number else 0.0  # the first image loads the models
    return spent


def streets_with_words(scenes: int) -> tuple[int, int]:
    """Return on how many drawn streets without text words are read, and on how many with a short sign just its text."""
    random, reader, noisy, exact = Random(1), RapidOcrReader(), 0, 0
    for number in range(scenes):
        street = draw_scene(sample_scene(random), (640, 480)).convert("RGB")
        noisy += bool(reader.read(np.asarray(street)))
        text, draw = SHORT_TEXTS[number % len(SHORT_TEXTS)], ImageDraw.Draw(street)
        draw.rectangle((180, 20, 360, 80), fill="white")
        draw.text((200, 32), text, fill="black", font_size=32)
        exact += [line.text for line in reader.read(np.asarray(street))] == [text]
    return noisy, exact


def main(images: Annotated[int, typer.Option(min=4)] = 64, lines: Annotated[int, typer.Option(min=1)] = 48) -> None:
    """Measure everything, and print it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "streets"
        folder.mkdir()
        save_scenes(folder, images)
        stages = seconds_by_stage(folder, Path(scratch) / "ocr.db")
        memory = seconds_by_memory(folder)
    print(f"{images} images in {stages.pop('run'):.1f} s; how busy the threads of each stage were")
    for stage, share in sorted(stages.items(), key=lambda pair: -pair[1]):
        print(f"  {stage:8}{share:6.0%}")
    print(f"memory from an arena: {memory['arena'] / memory['system']:.2f} of the processor time without one")
    print(f"{lines} lines, one thread")
    for batch, seconds in seconds_by_batch(lines).items():
        print(f"  {batch:2} per batch{lines / seconds:8.1f} lines/s")
    noisy, exact = streets_with_words(images)
    print(f"{images} drawn streets: words on {noisy} without text; exactly the text on {exact} with a short sign")


if __name__ == "__main__":
    typer.run(main)
