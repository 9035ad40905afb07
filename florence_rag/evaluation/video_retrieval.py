"""Retrieval of videos by captions and of captions by videos, as on MSR-VTT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from florence_rag.chunking import ChunkingConfig
from florence_rag.chunking.frame_sampling import length_s, read_motion
from florence_rag.datasets.media_files import VideoFolder
from florence_rag.datasets.msrvtt import CaptionedVideo
from florence_rag.embedding.base import Embedder, unit_rows
from florence_rag.errors import InputError
from florence_rag.evaluation.image_reading import Track, check_any_usable
from florence_rag.evaluation.report import EvaluationReport
from florence_rag.evaluation.retrieval import retrieval_metrics
from florence_rag.types import Failure, Frame

FRAMES = 12
"""Frames of a video that are embedded; the Florence article does not say how many it took."""


def even_frames(path: Path, count: int) -> list[Frame]:
    """Return frames of a whole video, each from the middle of its part; raise MediaError if it cannot be read."""
    end_s = length_s(str(path))
    side_px = ChunkingConfig().keyframe_side_px
    return [frame for _, _, frame in read_motion(str(path), 0.0, end_s, count / end_s, side_px)]


def evaluate_video_retrieval(
    listed: Sequence[CaptionedVideo],
    videos: VideoFolder,
    embedder: Embedder,
    *,
    frames: int = FRAMES,
    track: Track = iter,
) -> EvaluationReport:
    """Measure R@1, R@5, R@10 and the median rank in both directions; intervals are over videos.

    Args:
        listed: The videos with their captions; missing and damaged ones are reported.
        videos: The folder with the videos.
        embedder: The model. A video has the mean direction of its frames, as a clip of an index has.
        frames: The number of frames of a video.
        track: Iterates over the videos, and may show the progress.

    Raises:
        InputError: No video can be read.
    """
    failed: list[Failure] = []
    usable: list[CaptionedVideo] = []
    vectors: list[np.ndarray] = []
    for video in track(listed):
        try:
            shown = even_frames(videos[video.id], frames)
        except InputError as error:
            failed.append(Failure(video.id, str(error)))
            continue
        usable.append(video)
        vectors.append(embedder.embed_images(shown).sum(axis=0))
    check_any_usable(usable, failed, "videos")
    captions = [video.captions for video in usable]
    counts = {"videos": len(usable), "captions": sum(map(len, captions)), "frames per video": frames}
    metrics = retrieval_metrics("video", unit_rows(np.stack(vectors)), captions, embedder)
    return EvaluationReport("video retrieval", embedder.info.name, counts, metrics, tuple(failed))
