"""What `florence-rag detect` does with each picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import tell_download
from florence_rag.cli.screen import notes, place, plain
from florence_rag.errors import InputError

if TYPE_CHECKING:
    from florence_rag.perception.base import Region
    from florence_rag.types import Frame


def detected(images: Sequence[Path], name: str, folder: Path | None, *, offline: bool) -> Iterator[dict[str, Any]]:
    """One record for each picture: its file, its objects, and where the drawing is; a bad file ends the run."""
    from florence_rag.chunking import read_image
    from florence_rag.pipeline.access import Access
    from florence_rag.pipeline.opening import open_detector

    if folder is not None and len({image.stem for image in images}) < len(images):
        raise InputError("two pictures have one name, so their drawings would be one file: draw them apart")
    frames = [read_image(image) for image in images]
    with notes().status("Loading the model"):
        access = replace(Access.from_environment(), offline=offline, announce=tell_download)
        detector = open_detector(name, access)
    for image, frame in zip(images, frames, strict=True):
        (regions,) = detector.detect([frame])
        drawing = {} if folder is None else {"drawing": str(_drawn(folder, image, frame, regions))}
        yield {"file": str(image), "objects": [_region_to_dict(region) for region in regions], **drawing}


def _drawn(folder: Path, image: Path, frame: Frame, regions: Iterable[Region]) -> Path:
    from florence_rag.show.boxes import Marked, draw_boxes

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{image.stem}.png"
    marked = [Marked(region.label, region.box, _percent(region.confidence)) for region in regions]
    draw_boxes(frame, marked).save(path)
    return path


def _region_to_dict(region: Region) -> dict[str, Any]:
    return {"label": region.label, "box": [round(edge, 4) for edge in region.box], "confidence": region.confidence}


def detected_to_text(records: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Each picture with its objects, one a line."""
    return Group(*(part for record in records for part in _picture_to_text(record)))


def _picture_to_text(record: Mapping[str, Any]) -> Iterator[Text]:
    count = len(record["objects"])
    drawn = f", drawn in {record['drawing']}" if "drawing" in record else ""
    yield Text.assemble(place(record["file"]), plain(f"  {count} found{drawn}", "bold"))
    for found in record["objects"]:
        box = " ".join(f"{edge:.2f}" for edge in found["box"])
        yield plain(f"     {found['label']}  {_percent(found['confidence'])}  box {box}")


def _percent(confidence: float | None) -> str:
    return "" if confidence is None else f"{confidence:.0%}"
