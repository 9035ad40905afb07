"""Action recognition on clips listed as Kinetics lists them: a CSV file of labels, videos and times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from florence_rag.chunking.frame_sampling import read_motion
from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import cell, read_table
from florence_rag.evaluation.bootstrap import interval
from florence_rag.evaluation.classify import TOPS
from florence_rag.evaluation.image_dataset import Watch
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.evaluation.videos import Videos
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
    rows = read_table(file, FIELDS if split is not None else FIELDS[:4])
    listed = [(_listed(row, where), row.get("split")) for row, where in rows]
    chosen = [clip for clip, part in listed if split in (None, part)]
    if not chosen:
        raise InputError(
            f"{str(file)!r} has no split {split!r}; it has {', '.join(sorted({str(part) for _, part in listed}))}"
        )
    return chosen


def _listed(row: Mapping[str, str | None], where: str) -> Listed:
    label, video, start, end = (cell(row, name, where) for name in FIELDS[:4])
    try:
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise InputError(f"the fields 'time_start' and 'time_end' of {where} must be seconds: {error}") from error
    if not 0 <= start_s < end_s < float("inf"):
        raise InputError(
            f"the fields 'time_start' and 'time_end' of {where} are {start_s:g} and {end_s:g}; 0 <= start < end"
        )
    return Listed(label, video, start_s, end_s)


def frames_of(clip: Listed, videos: Videos, rate_hz: float) -> list[Frame]:
    """The pictures of a clip at even times: of ID_000010_000020.mp4, a clip that was cut out, or of ID.mp4, all of it.

    MediaError or InputError where there are none.
    """
    length_s = clip.end_s - clip.start_s
    rate_hz = min(rate_hz, _MOST_FRAMES / length_s)
    cut = videos.get(f"{clip.video}_{int(clip.start_s):06d}_{int(clip.end_s):06d}")
    path, start_s = (cut, 0.0) if cut is not None else (videos[clip.video], clip.start_s)
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
            frames = frames_of(clip, videos, classifier.rate_hz)
        except InputError as error:
            failed.append(Failure(f"{clip.video} from {clip.start_s:g} s", str(error)))
            continue
        yield [label for label, _ in classifier.classify(frames)].index(clip.label)
