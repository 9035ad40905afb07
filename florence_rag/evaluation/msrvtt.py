"""Retrieval of videos in both directions, on lists of captioned videos as MSR-VTT has them.

The 1k-A test list is a CSV file, a caption for each of 1,000 videos; the full test split a JSON file, 2,990 videos with
20 captions each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from florence_rag.chunking import ChunkingConfig
from florence_rag.chunking.frame_sampling import length_s, read_motion
from florence_rag.embedding.base import Embedder, unit_rows
from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import cell, field, read_json, read_table, records
from florence_rag.evaluation.image_dataset import Watch
from florence_rag.evaluation.report import EvaluationReport
from florence_rag.evaluation.retrieval import both_ways
from florence_rag.evaluation.videos import Videos
from florence_rag.types import Failure, Frame

FRAMES = 12
"""So many of a video are looked at; the Florence article does not say how many it took."""


class CaptionedVideo(NamedTuple):
    """The name of one video, and what people say of it."""

    id: str
    captions: tuple[str, ...]


def read_msrvtt(file: str | Path, *, split: str = "test", captions: int | None = None) -> list[CaptionedVideo]:
    """The videos of a list, each with its first captions, by default all.

    file: a CSV file with the columns video_id and sentence (MSRVTT_JSFUSION_test.csv), or MSR-VTT's JSON, of which one
    split is taken: {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}. InputError names the
    field that is wrong.
    """
    said = _of_csv(file) if Path(file).suffix.lower() == ".csv" else _of_json(file, split)
    return [CaptionedVideo(video, tuple(texts[:captions])) for video, texts in said.items()]


def _of_csv(file: str | Path) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for row, where in read_table(file, ("video_id", "sentence")):
        said.setdefault(cell(row, "video_id", where), []).append(cell(row, "sentence", where))
    return said


def _of_json(file: str | Path, split: str) -> dict[str, list[str]]:
    content = read_json(file)
    listed = records(content, "videos", file)
    splits = {field(record, "video_id", str, where): field(record, "split", str, where) for record, where in listed}
    if len(splits) < len(listed):
        raise InputError(f"two of the 'videos' of {str(file)!r} have the same 'video_id'")
    said: dict[str, list[str]] = {video: [] for video, part in splits.items() if part == split}
    if not said:
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {', '.join(sorted(set(splits.values())))}")
    for record, where in records(content, "sentences", file):
        video, caption = field(record, "video_id", str, where), field(record, "caption", str, where)
        if video not in splits:
            raise InputError(f"the field 'video_id' of {where} is {video!r}, which the file does not describe")
        if not caption.strip():
            raise InputError(f"the field 'caption' of {where} is empty")
        if video in said:
            said[video].append(caption)
    if silent := [video for video, texts in said.items() if not texts]:
        raise InputError(f"the 'sentences' of {str(file)!r} have no caption of the video {silent[0]!r}")
    return said


def even_frames(path: Path, count: int) -> list[Frame]:
    """So many pictures of a whole video, each of the middle of its part, as large as those of an index.

    MediaError and InputError where it cannot be read.
    """
    end_s = length_s(str(path))
    side_px = ChunkingConfig().keyframe_side_px
    return [frame for _, _, frame in read_motion(str(path), 0.0, end_s, count / end_s, side_px)]


def evaluate_videos(
    listed: Sequence[CaptionedVideo], videos: Videos, embedder: Embedder, *, frames: int = FRAMES, watch: Watch = iter
) -> EvaluationReport:
    """R@1, R@5, R@10 and the median rank both ways; intervals over videos, with all their captions.

    A video has the mean direction of its frames, as a clip of an index has. Those that are missing or damaged are
    reported; InputError where all are.
    """
    failed: list[Failure] = []
    kept: list[CaptionedVideo] = []
    vectors: list[np.ndarray] = []
    for video in watch(listed):
        try:
            seen = even_frames(videos[video.id], frames)
        except InputError as error:
            failed.append(Failure(video.id, str(error)))
            continue
        kept.append(video)
        vectors.append(embedder.embed_images(seen).sum(axis=0))
    if not kept:
        raise InputError(f"none of the videos can be read: {failed[0].source}: {failed[0].reason}")
    captions = [video.captions for video in kept]
    counts = {"videos": len(kept), "captions": sum(map(len, captions)), "frames a video": frames}
    figures = both_ways("video", unit_rows(np.stack(vectors)), captions, embedder)
    return EvaluationReport("video retrieval", embedder.info.name, counts, figures, tuple(failed))
