"""Retrieval of images or videos by captions, and of captions by images or videos.

R@K is the share of queries with a right item among the K nearest. The median rank is that of the first right item.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import numpy as np

from florence_rag.chunking import ChunkingConfig
from florence_rag.chunking.video import sample_frames, video_duration_s
from florence_rag.datasets.images import ImageExample
from florence_rag.datasets.videos import CaptionedVideo
from florence_rag.embedding.base import Embedder, unit_rows
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import mean_interval, median_interval
from florence_rag.evaluation.image_reading import Track, embed_images, read_items
from florence_rag.evaluation.report import EvaluationReport, Metric
from florence_rag.types import Failure, Frame

RANKS = (1, 5, 10)
FRAMES = 12
"""Frames of a video that are embedded; the Florence article does not say how many it took."""


def rank_counts(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_groups: Sequence[int] | np.ndarray,
    gallery_groups: Sequence[int] | np.ndarray,
    block_rows: int = 1000,
) -> np.ndarray:
    """Count the gallery items that decide the rank of the first right item of each query, in blocks of queries.

    Queries (Q, D) and gallery (G, D) are unit vectors; an item is right if it has the group, such as the image, of the
    query. Returns (Q, 3) int: the items nearer than the nearest right item, and the right and the wrong items as near
    as it.
    """
    wanted, groups, counts = np.asarray(query_groups), np.asarray(gallery_groups), []
    for start in range(0, len(queries), block_rows):
        rows = slice(start, start + block_rows)
        scores, right = queries[rows] @ gallery.T, wanted[rows, None] == groups
        best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
        nearer, tied = (scores > best).sum(axis=1), scores == best
        counts.append(np.stack([nearer, (tied & right).sum(axis=1), (tied & ~right).sum(axis=1)], axis=1))
    return np.concatenate(counts)


def recall_at(counts: np.ndarray, ranks: Sequence[int] = RANKS) -> np.ndarray:
    """Return whether a right item is among the K nearest, (Q, ranks) float64.

    Where items are equally near, it is the probability that a right one is drawn: a model that returns the same vector
    for everything scores as guessing does.
    """
    rows = counts.tolist()
    return np.array([[hit_probability(k - nearer, right, wrong) for k in ranks] for nearer, right, wrong in rows])


def first_ranks(counts: np.ndarray) -> np.ndarray:
    """Return the rank of the first right item, (Q,) float64 from 1, averaged over the orders of equally near items."""
    nearer, right, wrong = counts.T
    return np.asarray(nearer + (right + wrong + 1) / (right + 1))


def hit_probability(draws: int, right: int, wrong: int) -> float:
    """Return the probability that at least one right item is drawn from right and wrong ones."""
    if draws <= 0:
        return 0.0
    drawn = min(draws, right + wrong)
    return 1 - math.comb(wrong, drawn) / math.comb(right + wrong, drawn)


def evaluate_retrieval(images: Sequence[ImageExample], embedder: Embedder, track: Track = iter) -> EvaluationReport:
    """Measure R@1, R@5, R@10 and the median rank in both directions; intervals are over images with all captions."""
    failed: list[Failure] = []
    usable, vectors = embed_images(track(images), embedder, failed)
    captions = [image.captions for image in usable]
    counts = {"images": len(usable), "captions": sum(map(len, captions))}
    metrics = retrieval_metrics("image", vectors, captions, embedder)
    return EvaluationReport("retrieval", embedder.info.name, counts, metrics, tuple(failed))


def retrieval_metrics(
    medium: str, vectors: np.ndarray, captions: Sequence[Sequence[str]], embedder: Embedder
) -> tuple[Metric, ...]:
    """Return the metrics of images or videos with these vectors, (N, D), and any number of captions each."""
    texts = embedder.embed_texts([caption for each in captions for caption in each])
    of_text, own = np.repeat(np.arange(len(captions)), [len(each) for each in captions]), np.arange(len(captions))
    return (
        *_metrics(f"{medium} to text", rank_counts(vectors, texts, own, of_text), own),
        *_metrics(f"text to {medium}", rank_counts(texts, vectors, of_text, own), of_text),
    )


def _metrics(direction: str, counts: np.ndarray, group: np.ndarray) -> Iterator[Metric]:
    groups, ranks = group.tolist(), first_ranks(counts)
    for rank, column in zip(RANKS, recall_at(counts).T, strict=True):
        yield Metric(f"{direction} R@{rank}", float(column.mean()), *mean_interval(column, groups))
    yield Metric(f"{direction} median rank", float(np.median(ranks)), *median_interval(ranks, groups), unit="rank")


def even_frames(path: Path, count: int) -> list[Frame]:
    """Return frames of a whole video, each from the middle of its part; raise InputError if it cannot be read."""
    if not path.is_file():
        raise InputError("there is no such video")
    end_s = video_duration_s(str(path))
    side_px = ChunkingConfig().keyframe_side_px
    return [frame for _, _, frame in sample_frames(str(path), 0.0, end_s, count / end_s, side_px)]


def evaluate_video_retrieval(
    listed: Sequence[CaptionedVideo],
    videos: Mapping[str, Path],
    embedder: Embedder,
    *,
    frames: int = FRAMES,
    track: Track = iter,
) -> EvaluationReport:
    """Measure R@1, R@5, R@10 and the median rank in both directions; intervals are over videos.

    `videos` has the files by their names without suffix. A video has the mean direction of its frames, as a clip of an
    index has. Missing and damaged videos are reported; InputError is raised if no video can be read.
    """
    failed: list[Failure] = []
    usable: list[CaptionedVideo] = []
    vectors: list[np.ndarray] = []
    for video, chosen in read_items(
        track(listed),
        "videos",
        lambda video: even_frames(videos.get(video.id, Path(video.id)), frames),
        failed,
        attrgetter("id"),
    ):
        usable.append(video)
        vectors.append(embedder.embed_images(chosen).sum(axis=0))
    captions = [video.captions for video in usable]
    counts = {"videos": len(usable), "captions": sum(map(len, captions)), "frames per video": frames}
    metrics = retrieval_metrics("video", unit_rows(np.stack(vectors)), captions, embedder)
    return EvaluationReport("video retrieval", embedder.info.name, counts, metrics, tuple(failed))
