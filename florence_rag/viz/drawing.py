"""Draws boxes, outlines, labels and heat maps into copies of images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from florence_rag.types import Box, Frame, Hit
from florence_rag.viz.fonts import TextStyle

Polygons = Sequence[Sequence[Sequence[float]]]
"""Outlines, each a list of points (x, y) in fractions of width and height."""
ACCENT = "#d1242f"
COLORS = (ACCENT, "#0969da", "#1a7f37", "#9a6700", "#8250df", "#bf3989", "#116329", "#57606a")
"""Colors dark enough for white text. Boxes with the same label have the same color."""
WARM = (255, 96, 0)
STRENGTH = 0.65


def polygons_of(hit: Hit) -> Polygons:
    """Return the outlines of a region; () for other hits, and if the metadata has no valid outlines."""
    polygons: Any = hit.metadata.get("polygons") if hit.locator.box else ()
    return polygons if isinstance(polygons, list) and all(map(_is_outline, polygons)) else ()


def _is_outline(points: object) -> bool:
    """Return whether a value from a database is a list of at least three points in fractions of width and height."""
    return isinstance(points, list) and len(points) >= 3 and all(map(_is_point, points))


def _is_point(point: object) -> bool:
    if not isinstance(point, list) or len(point) != 2:
        return False
    return all(isinstance(share, int | float) and 0 <= share <= 1 for share in point)


def outline(image: Image.Image, box: Box, color: str = ACCENT, polygons: Polygons = ()) -> None:
    """Draw a box, in fractions of width and height, into the image; if there are polygons, draw them instead."""
    draw, width = ImageDraw.Draw(image), max(2, image.width // 120)
    for polygon in polygons:
        points = [(x * (image.width - 1), y * (image.height - 1)) for x, y in polygon]
        draw.line([*points, points[0]], color, width, joint="curve")
    left, top = box[0] * image.width, box[1] * image.height
    right, bottom = box[2] * image.width - 1, box[3] * image.height - 1
    if not polygons and right >= left and bottom >= top:
        draw.rectangle((left, top, right, bottom), outline=color, width=width)


@dataclass(frozen=True, slots=True)
class LabeledBox:
    """A box in fractions of width and height, with a label and a note; polygons are drawn instead of the box."""

    label: str
    box: Box
    note: str = ""
    polygons: Polygons = ()


def draw_boxes(frame: Frame, boxes: Iterable[LabeledBox]) -> Image.Image:
    """Return a copy of the frame with boxes; later boxes are drawn over earlier ones."""
    image = Image.fromarray(frame).convert("RGB")
    colors: dict[str, str] = {}
    labeled = [(each, colors.setdefault(each.label, COLORS[len(colors) % len(COLORS)])) for each in boxes]
    for each, color in labeled:
        outline(image, each.box, color, each.polygons)
    used: list[tuple[float, float, float, float]] = []
    for each, color in labeled:
        _write_label(image, f"{each.label} {each.note}", each.box, color, used)
    return image


def _write_label(
    image: Image.Image, text: str, box: Box, color: str, used: list[tuple[float, float, float, float]]
) -> None:
    """Write a label above its box, or else inside it, below the labels that are there already."""
    style, draw = TextStyle(text, max(11, image.height // 34)), ImageDraw.Draw(image)
    text = style.fit(image.width - 6)
    if not text:
        return
    right, bottom = draw.textbbox((0, 0), text, font=style.font)[2:]
    width, height = right + 5, bottom + 4
    x, top = min(box[0] * image.width, max(image.width - width - 1, 0)), box[1] * image.height
    places = [top + row * (height + 1) for row in range(-1, int(image.height // height))]
    inside = [y for y in places if 0 <= y <= image.height - height] or [0.0]
    y = next((y for y in inside if not any(_overlaps((x, y, x + width, y + height), each) for each in used)), inside[0])
    used.append((x, y, x + width, y + height))
    draw.rectangle(used[-1], fill=color)
    draw.text((x + 3, y + 1), text, "#ffffff", style.font)


def _overlaps(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def heat_map(
    frame: Frame, weights: np.ndarray, box: Box | None = None, view: Box = (0.0, 0.0, 1.0, 1.0)
) -> Image.Image:
    """Return the image, warmer where the weights (rows, columns) are larger, with an optional box.

    Args:
        frame: The image, (H, W, 3) uint8.
        weights: Non-negative weights, (rows, columns).
        box: A box to outline, in fractions of width and height.
        view: The part of the image that the weights cover, in fractions of width and height.

    Returns:
        A new image of the same size.
    """
    image = Image.fromarray(frame)
    left, top = round(view[0] * image.width), round(view[1] * image.height)
    covered = (max(1, round(view[2] * image.width) - left), max(1, round(view[3] * image.height) - top))
    levels = Image.fromarray((weights / max(float(weights.max()), 1e-12) * 255 * STRENGTH).astype(np.uint8))
    mask = Image.new("L", image.size)
    mask.paste(levels.resize(covered, Image.Resampling.BICUBIC), (left, top))
    image.paste(Image.new("RGB", image.size, WARM), mask=mask)
    if box is not None:
        outline(image, box)
    return image


def scaled(image: Image.Image, pixels: int) -> Image.Image:
    """Return the image in its aspect ratio with at most this many pixels; it is never enlarged."""
    factor = (pixels / (image.width * image.height)) ** 0.5
    if factor >= 1:
        return image
    width = max(1, min(int(image.width * factor), pixels))
    height = max(1, min(int(image.height * factor), pixels // width))  # a side of a long strip may become 1
    return image.resize((width, height), Image.Resampling.LANCZOS)
