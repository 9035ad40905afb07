"""The losses of a run as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 640, 360, 48
COLORS = {"loss": "#1f77b4", "eval_loss": "#d62728"}
NAMES = {"loss": "training", "eval_loss": "validation"}


def draw_curves(history: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Training and validation loss over the steps. history: the log entries of a Trainer."""
    entries = list(history)
    curves = {key: [(each["step"], float(each[key])) for each in entries if key in each] for key in COLORS}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return
    last = max(step for step, _ in points) or 1
    low, high = min(0.0, *(loss for _, loss in points)), max(loss for _, loss in points)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    pen.rectangle((MARGIN, MARGIN / 2, WIDTH - MARGIN / 2, HEIGHT - MARGIN), outline="#888888")
    pen.text((4, MARGIN / 2), f"{high:.3g}", fill="black")
    pen.text((4, HEIGHT - MARGIN - 10), f"{low:.3g}", fill="black")
    pen.text((WIDTH - MARGIN - 40, HEIGHT - MARGIN + 6), f"step {last}", fill="black")
    for row, (key, curve) in enumerate(curves.items()):
        pen.text((WIDTH / 2, MARGIN / 2 + 6 + 14 * row), NAMES[key], fill=COLORS[key])
        places = [
            (
                MARGIN + step / last * (WIDTH - 1.5 * MARGIN),
                HEIGHT - MARGIN - (loss - low) / ((high - low) or 1) * (HEIGHT - 1.5 * MARGIN),
            )
            for step, loss in curve
        ]
        if len(places) > 1:
            pen.line(places, fill=COLORS[key], width=2)
        for x, y in places:
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=COLORS[key])
    image.save(path)
