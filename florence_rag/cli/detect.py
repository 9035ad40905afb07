"""`florence-rag detect`: finds or outlines objects in images without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from florence_rag.cli.opening import load_for_command, model_options
from florence_rag.cli.options import AsJson, Images, Offline, OneDetector, absolute_path
from florence_rag.cli.output import failed_to_text, failures_to_dicts, plain, print_result, source_to_text
from florence_rag.errors import InputError, ModelError

if TYPE_CHECKING:
    from florence_rag.perception.base import Detection
    from florence_rag.types import Failure, Frame

Detect = Callable[[Sequence["Frame"]], list[list["Detection"]]]


def detect(
    images: Images,
    detector: OneDetector = "florence-2-base",
    segment: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Outline only the object that this names, such as 'the red car'.")
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", parser=absolute_path, help="Also draw boxes or outlines into copies of the images."
        ),
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Find the objects in images, with their boxes."""
    from florence_rag.chunking import read_image
    from florence_rag.image_store import readable
    from florence_rag.loading.loaders import DETECTOR

    if draw is not None and len({image.stem for image in images}) < len(images):
        raise InputError("two images have the same name, so their drawings would be one file: draw them separately")
    failed: list[Failure] = []
    opened = list(readable(images, lambda image: (image, (read_image(image),)), failed, str))
    if not opened:
        raise InputError(f"none of the images can be read: {failed[0].reason}")
    model = load_for_command(DETECTOR, detector, model_options(offline))
    find = model.detect if segment is None else _outline(model, segment)
    records = [_detect_in(image, frame, find, draw) for image, (frame,) in opened]
    text = Group(failed_to_text(failed), *(part for record in records for part in _record_to_text(record)))
    print_result({"images": records, "failed": failures_to_dicts(failed)}, text, as_json)


def _outline(model: object, text: str) -> Detect:
    """Return a function that outlines the object that a text names, as a detector does."""
    from florence_rag.perception.base import Segmenter
    from florence_rag.tasks.segment import NO_SEGMENTER

    if not isinstance(model, Segmenter):
        raise ModelError(NO_SEGMENTER)
    segmenter = model
    return lambda frames: [[found] if (found := segmenter.segment(frame, text)) else [] for frame in frames]


def _detect_in(image: Path, frame: Frame, find: Detect, folder: Path | None) -> dict[str, Any]:
    (detections,) = find([frame])
    drawing = {} if folder is None else {"drawing": str(_draw(folder, image, frame, detections))}
    return {"source": str(image), "objects": [_detection_to_dict(each) for each in detections], **drawing}


def _draw(folder: Path, image: Path, frame: Frame, detections: Iterable[Detection]) -> Path:
    from florence_rag.viz.boxes import LabeledBox, draw_boxes

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.stem}.png"
    boxes = [LabeledBox(each.label, each.box, _percent(each.confidence), each.polygons) for each in detections]
    draw_boxes(frame, boxes).save(path)
    return path


def _detection_to_dict(detection: Detection) -> dict[str, Any]:
    box = [round(edge, 4) for edge in detection.box]
    outlines = [[[round(x, 4), round(y, 4)] for x, y in outline] for outline in detection.polygons]
    polygons = {"polygons": outlines} if outlines else {}
    return {"label": detection.label, "box": box, "confidence": detection.confidence, **polygons}


def _record_to_text(record: Mapping[str, Any]) -> Iterator[Text]:
    drawing = f", drawn in {record['drawing']}" if "drawing" in record else ""
    yield Text.assemble(source_to_text(record["source"]), plain(f"  {len(record['objects'])} found{drawing}", "bold"))
    for found in record["objects"]:
        box = " ".join(f"{edge:.2f}" for edge in found["box"])
        outlines = f"  outlines {len(found['polygons'])}" if "polygons" in found else ""
        yield plain(f"     {found['label']}  {_percent(found['confidence'])}  box {box}{outlines}")


def _percent(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.0%}"
