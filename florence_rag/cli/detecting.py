"""What `florence-rag detect` does with each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import print_download
from florence_rag.cli.output import notes, place, plain
from florence_rag.errors import InputError, ModelError

if TYPE_CHECKING:
    from florence_rag.perception.base import Detection
    from florence_rag.types import Failure, Frame


def detected(
    images: Sequence[Path],
    name: str,
    folder: Path | None,
    failed: list[Failure],
    *,
    segment: str | None = None,
    offline: bool,
) -> Iterator[dict[str, Any]]:
    """One record for each picture: its file, its objects, and where the drawing is.

    Files that cannot be read are put down in `failed`; InputError where none can. segment: only what these words refer
    to, with its outlines.
    """
    from florence_rag.chunking import read_image
    from florence_rag.image_store import readable
    from florence_rag.loading.loaders import DETECTOR
    from florence_rag.loading.model_loader import load_model
    from florence_rag.loading.model_options import ModelOptions

    if folder is not None and len({image.stem for image in images}) < len(images):
        raise InputError("two pictures have one name, so their drawings would be one file: draw them apart")
    pictures = list(readable(images, lambda image: (image, (read_image(image),)), failed, str))
    if not pictures:
        raise InputError(f"none of the pictures can be read: {failed[0].reason}")
    with notes().status("Loading the model"):
        access = replace(ModelOptions.from_environment(), offline=offline, announce=print_download)
        detector = load_model(DETECTOR, name, access)
        find = detector.detect if segment is None else _outlining(detector, segment)
    for image, (frame,) in pictures:
        (regions,) = find([frame])
        drawing = {} if folder is None else {"drawing": str(_drawn(folder, image, frame, regions))}
        yield {"file": str(image), "objects": [_region_to_dict(region) for region in regions], **drawing}


def _outlining(model: object, words: str) -> Callable[[Sequence[Frame]], list[list[Detection]]]:
    from florence_rag.perception.base import Segmenter
    from florence_rag.tasks.segment import NO_SEGMENTER

    if not isinstance(model, Segmenter):
        raise ModelError(NO_SEGMENTER)
    segmenter = model
    return lambda frames: [[region] if (region := segmenter.segment(frame, words)) else [] for frame in frames]


def _drawn(folder: Path, image: Path, frame: Frame, regions: Iterable[Detection]) -> Path:
    from florence_rag.viz.boxes import Marked, draw_boxes

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.stem}.png"
    marked = [Marked(each.label, each.box, _percent(each.confidence), each.polygons) for each in regions]
    draw_boxes(frame, marked).save(path)
    return path


def _region_to_dict(region: Detection) -> dict[str, Any]:
    box = [round(edge, 4) for edge in region.box]
    outlines = [[[round(x, 4), round(y, 4)] for x, y in outline] for outline in region.polygons]
    polygons = {"polygons": outlines} if outlines else {}
    return {"label": region.label, "box": box, "confidence": region.confidence, **polygons}


def detected_to_text(records: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Each picture with its objects, one a line."""
    return Group(*(part for record in records for part in _picture_to_text(record)))


def _picture_to_text(record: Mapping[str, Any]) -> Iterator[Text]:
    count = len(record["objects"])
    drawn = f", drawn in {record['drawing']}" if "drawing" in record else ""
    yield Text.assemble(place(record["file"]), plain(f"  {count} found{drawn}", "bold"))
    for found in record["objects"]:
        box = " ".join(f"{edge:.2f}" for edge in found["box"])
        outlines = f"  outlines {len(found['polygons'])}" if "polygons" in found else ""
        yield plain(f"     {found['label']}  {_percent(found['confidence'])}  box {box}{outlines}")


def _percent(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.0%}"
