"""`florence-rag describe` and `detect`: captions, boxes and outlines of images without a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from florence_rag.cli.command import ModelCommand
from florence_rag.cli.options import CaptionPx, Images, OneDetector, absolute_path, check_output_folder, expand_images
from florence_rag.cli.output import failed_to_text, plain, source_to_text
from florence_rag.errors import InputError, ModelError

if TYPE_CHECKING:
    from florence_rag.perception.base import Detection
    from florence_rag.types import Failure, Frame


class Describe(ModelCommand):
    """Caption images."""

    images: Images
    captioner: Annotated[str, typer.Option(metavar="NAME", help="The model that writes captions.")] = "florence-2-base"
    caption_px: CaptionPx = None

    def run(self) -> None:
        from florence_rag.image_store import read_outside_index
        from florence_rag.loading.loaders import CAPTIONER
        from florence_rag.tasks.describe import describe_images

        images = require_readable(expand_images(self.images))
        captioner = self.load(CAPTIONER, self.captioner, caption_px=self.caption_px)
        captions = describe_images(captioner, images, read_outside_index)
        lines = []
        for image in captions.images:
            caption = plain(image.caption) if image.caption else Text("no caption", "yellow")
            lines.append(Text.assemble(source_to_text(image.source), "\n     ", caption))
        self.print(captions.to_dict(), Group(failed_to_text(captions.failed), *lines))
        if captions.failed and not captions.images:
            raise InputError("none of the images can be read; the report lists the reasons")


class Detect(ModelCommand):
    """Find the objects in images, with their boxes."""

    images: Images
    detector: OneDetector = "florence-2-base"
    segment: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Outline only the object that this names, such as 'the red car'.")
    ] = None
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=absolute_path,
            callback=check_output_folder,
            help="Also draw boxes or outlines into copies of the images.",
        ),
    ] = None

    def run(self) -> None:
        from florence_rag.image_store import image_name, read_outside_index, readable

        failed: list[Failure] = []
        images = require_readable(expand_images(self.images))
        find, records, drawn = self._load_detector(), [], set[str]()
        for hit, (frame,) in readable(images, read_outside_index, failed, image_name):
            detections = find(frame)
            record = {"source": hit.source, "objects": [_detection_to_dict(each) for each in detections]}
            if self.draw is not None:
                name = _unused_name(Path(hit.source).stem, drawn)
                record["drawing"] = str(_draw(self.draw / name, frame, detections))
            records.append(record)
        text = Group(failed_to_text(failed), *(part for record in records for part in _record_to_text(record)))
        self.print({"images": records, "failed": [asdict(failure) for failure in failed]}, text)

    def _load_detector(self) -> Callable[[Frame], Sequence[Detection]]:
        """Return a function that finds all objects in an image, or that outlines the one that --segment names."""
        from florence_rag.loading.loaders import DETECTOR
        from florence_rag.perception.base import Segmenter
        from florence_rag.tasks.segment import NO_SEGMENTER

        model, text = self.load(DETECTOR, self.detector), self.segment
        if text is None:
            return lambda frame: model.detect([frame])[0]
        if not isinstance(model, Segmenter):
            raise ModelError(NO_SEGMENTER)
        segmenter: Segmenter = model
        return lambda frame: [found] if (found := segmenter.segment(frame, text)) else []


def require_readable(images: Sequence[str]) -> Sequence[str]:
    """Return the images; raise InputError if none can be read, before a model is loaded."""
    from florence_rag.image_store import image_name, read_outside_index, readable

    failed: list[Failure] = []
    if next(readable(images, read_outside_index, failed, image_name), None) is None:
        raise InputError(f"none of the images can be read: {failed[0].reason}")
    return images


def _unused_name(stem: str, used: set[str]) -> str:
    """Return the name of a drawing, with a number if an earlier image has it, and add it to the used ones."""
    names = (f"{stem}-{number}.png" if number > 1 else f"{stem}.png" for number in count(1))
    name = next(each for each in names if each.lower() not in used)
    used.add(name.lower())  # a file system may not tell them apart by case
    return name


def _draw(path: Path, frame: Frame, detections: Sequence[Detection]) -> Path:
    from florence_rag.viz.drawing import LabeledBox, draw_boxes

    path.parent.mkdir(parents=True, exist_ok=True)
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
