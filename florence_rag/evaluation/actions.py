"""Action recognition on clips listed as Kinetics lists them: a CSV file of labels, videos and times."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from florence_rag.chunking.motion import read_motion
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import interval
from florence_rag.evaluation.classify import TOPS
from florence_rag.evaluation.pictures import Watch
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.types import Failure, Frame

FIELDS = ("label", "youtube_id", "time_start", "time_end", "split")
_MOST_FRAMES = 300
_STILL_S = 1.0


class ClipClassifier(Protocol):
    """What is asked of a model: perception.actions.VideoCoSwinRecognizer is one."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What it knows."""
        ...

    @property
    def rate_hz(self) -> float:
        """How many pictures of a second it looks at."""
        ...

    def classify(self, frames: Sequence[Frame]) -> list[tuple[str, float]]:
        """All labels for one clip, with their confidence, the likeliest first."""
        ...


class Listed(NamedTuple):
    """A clip of a video, and what is done in it. Times are seconds of the whole video."""

    label: str
    video: str
    start_s: float
    end_s: float


def read_kinetics(file: str | Path, *, split: str | None = None) -> list[Listed]:
    """The clips of one split, by default of all. The file's first row names its columns: label, youtube_id, time_start,
    time_end, split; the last may be missing where no split is chosen. InputError names the field that is wrong."""
    path = Path(file).expanduser()
    try:
        rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{str(file)!r} cannot be read as a CSV file in UTF-8: {error}") from error
    if not rows:
        raise InputError(f"{str(file)!r} lists no clips; its columns must be {', '.join(FIELDS)}")
    needed = FIELDS if split is not None else FIELDS[:4]
    if missing := [name for name in needed if name not in rows[0]]:
        raise InputError(f"{str(file)!r} has no column {missing[0]!r}; its columns must be {', '.join(FIELDS)}")
    listed = [_listed(row, f"row {number} of {str(file)!r}", needed) for number, row in enumerate(rows, start=2)]
    chosen = [clip for clip, row in zip(listed, rows, strict=True) if split in (None, row["split"])]
    if not chosen:
        there = ", ".join(sorted({row["split"] for row in rows}))
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {there}")
    return chosen


def _listed(row: Mapping[str, str | None], where: str, needed: Sequence[str]) -> Listed:
    cells = {name: (row[name] or "").strip() for name in needed}
    if empty := [name for name, cell in cells.items() if not cell]:
        raise InputError(f"the field {empty[0]!r} of {where} is empty")
    try:
        start_s, end_s = float(cells["time_start"]), float(cells["time_end"])
    except ValueError as error:
        raise InputError(f"the fields 'time_start' and 'time_end' of {where} must be seconds: {error}") from error
    if not 0 <= start_s < end_s < float("inf"):
        raise InputError(
            f"the fields 'time_start' and 'time_end' of {where} are {start_s:g} and {end_s:g}; 0 <= start < end"
        )
    return Listed(cells["label"], cells["youtube_id"], start_s, end_s)


class Videos:
    """The video files below a folder, by name: ID_000010_000020.mp4 is a clip that was cut out, ID.mp4 all of it."""

    def __init__(self, folder: str | Path) -> None:
        top = Path(folder).expanduser()
        if not top.is_dir():
            raise InputError(f"{str(top)!r} is no folder; give the folder of the videos with --videos")
        files = (path for path in sorted(top.rglob("*")) if MEDIA_BY_SUFFIX.get(path.suffix.lower()) == "video")
        self._files = {path.stem: path for path in files}

    def frames(self, clip: Listed, rate_hz: float) -> list[Frame]:
        """The pictures of a clip at even times; MediaError or InputError where there are none."""
        length_s = clip.end_s - clip.start_s
        rate_hz = min(rate_hz, _MOST_FRAMES / length_s)
        cut = self._files.get(f"{clip.video}_{int(clip.start_s):06d}_{int(clip.end_s):06d}")
        path, start_s = (cut, 0.0) if cut is not None else (self._files.get(clip.video), clip.start_s)
        if path is None:
            raise InputError("there is no such video")
        seen = list(read_motion(str(path), start_s, start_s + length_s, rate_hz))
        # Of a video that has ended before, the last picture is shown all the time.
        if not seen or seen[-1][1] < start_s - _STILL_S:
            raise InputError(f"{str(path)!r} ends before {start_s:g} s")
        return [frame for _, _, frame in seen]


def evaluate_actions(
    clips: Sequence[Listed], videos: Videos, classifier: ClipClassifier, name: str, watch: Watch = iter
) -> EvaluationReport:
    """Top-1, and top-5 where there are more than five labels, of one view of each clip as a whole.

    name: of the model, for the report. Clips that are missing or damaged are reported; a label that the model does not
    know is an InputError.
    """
    if unknown := sorted({clip.label for clip in clips} - set(classifier.labels)):
        raise InputError(f"{name} does not know the label {unknown[0]!r}; it knows {', '.join(classifier.labels):.200}")
    failed: list[Failure] = []
    ranks = np.array(list(_ranks(watch(clips), videos, classifier, failed)))
    if not len(ranks):
        raise InputError(f"none of the clips can be read: {failed[0].source}: {failed[0].reason}")
    found = {top: (ranks < top).astype(float) for top in TOPS if top < len(classifier.labels)}
    figures = tuple(Figure(f"top-{top}", float(right.mean()), *interval(right)) for top, right in found.items())
    counts = {"clips": len(ranks), "classes": len(classifier.labels)}
    return EvaluationReport("actions", name, counts, figures, tuple(failed))


def _ranks(clips: Iterable[Listed], videos: Videos, classifier: ClipClassifier, failed: list[Failure]) -> Iterator[int]:
    """The place of the right label among what is said of each clip, 0 for the first."""
    for clip in clips:
        try:
            frames = videos.frames(clip, classifier.rate_hz)
        except InputError as error:
            failed.append(Failure(f"{clip.video} from {clip.start_s:g} s", str(error)))
            continue
        yield [label for label, _ in classifier.classify(frames)].index(clip.label)
