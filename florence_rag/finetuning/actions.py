"""Fine-tunes Video CoSwin to recognize the actions of labeled videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from florence_rag.datasets.videos import VideoClip, read_labeled_videos
from florence_rag.errors import InputError
from florence_rag.finetuning.card import summarize_names
from florence_rag.finetuning.image_dataset import usable_examples
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.splits import split_examples
from florence_rag.finetuning.trainer import FineTuning, batches, keep_known_rows, start_run
from florence_rag.finetuning.video_dataset import ClipDataset, VideoCache
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification


@dataclass
class ClipCollator:
    """Turns rows of a ClipDataset into the arguments of VideoCoSwinForVideoClassification.forward."""

    processor: FlorenceImageProcessor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return pixel_values (B, T, 3, H, W), labels (B,)."""
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
        values = self.processor.normalize_pixels(pixels.flatten(0, 1))
        return {
            "pixel_values": values.unflatten(0, pixels.shape[:2]),
            "labels": torch.tensor([row["label"] for row in rows]),
        }


def adapt_to_labels(
    known: VideoCoSwinForVideoClassification, labels: Sequence[str], *, idle: str | None, window_s: float | None
) -> VideoCoSwinForVideoClassification:
    """Return a network for these labels: known labels keep their weights, the others get new ones.

    Its other heads are dropped, because the features that they read change in training. `idle` is the label of videos
    in which nothing happens, and `window_s` the length of the windows in which actions are recognized; by default
    those of the network.
    """
    old: Any = known.config
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    settings = {**old.to_dict(), **names, "attributes": None, "wording": None}
    settings |= {"idle": idle or (old.idle if old.idle in labels else None), "window_s": window_s or old.window_s}
    for derived in ("num_labels", "architectures"):
        settings.pop(derived, None)
    model = VideoCoSwinForVideoClassification(VideoCoSwinConfig(**settings))
    model.video_coswin.load_state_dict(known.video_coswin.state_dict())
    if known.trajectory is not None and model.trajectory is not None:
        model.trajectory.load_state_dict(known.trajectory.state_dict())
    keep_known_rows(model.classifier, known.classifier, labels, list((old.id2label or {}).values()))
    untyped: Any = model
    return untyped.to(known.device)


def train_actions(
    data: str | Path,
    out: Path,
    base_model: Path,
    *,
    videos: Path | None = None,
    name: str | None = None,
    idle: str | None = None,
    window_s: float | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune an action model and write it to out/video; a call with the same arguments resumes an interrupted run.

    Args:
        data: A data set that `florence_rag.datasets.videos.read_labeled_videos` reads.
        out: The folder of the trained model, and of its log in runs/video.
        base_model: The folder of the network to start from.
        videos: The folder with the videos of a list, by default that of the list.
        name: The name of the base model in the model card, by default its folder.
        idle: The label of videos in which nothing happens.
        window_s: The length of the windows in which actions will be recognized, in seconds.
        settings: How to train.
        progress: Is called at each log entry.

    Raises:
        InputError: The data cannot be learned from, or `out` holds another run.
    """
    settings = start_run(settings)
    if window_s is not None and not 0 < window_s < float("inf"):
        raise InputError(f"window_s is {window_s!r}; it must be a number of seconds above 0")
    clips = _distinct_clips(read_labeled_videos(data, videos), data)
    known, processor = open_with_processor(
        VideoCoSwinForVideoClassification,
        FlorenceImageProcessor,
        base_model,
        name=name or str(base_model),
        what="an action model",
    )
    frames, window_s = known.config.num_frames, window_s or known.config.window_s
    cache = VideoCache(clips, processor, frames / window_s)
    usable = usable_examples(clips, cache.failed, data, lambda clip: clip)
    labels = _distinct_labels(usable, data)
    if idle is not None and idle not in labels:
        raise InputError(f"idle is {idle!r}, which is not a label of {str(data)!r}; it has {summarize_names(labels)}")
    model = adapt_to_labels(known, labels, idle=idle, window_s=window_s)
    learn, check = split_examples(
        usable, settings.validation, settings.seed, stratum=lambda clip: clip.label, unit=lambda clip: clip.path
    )
    collate, validation = ClipCollator(processor), ClipDataset(check, cache, labels, frames, augment=False)
    details = {"labels": summarize_names(labels)}
    if short := [f"{clip.label}/{clip.path.name}" for clip in usable if cache.frames[clip] < frames]:
        details[f"videos shorter than {window_s:g} s, with repeated frames"] = summarize_names(short, 3)
    task = FineTuning(
        part="video",
        data=[data],
        model=model,
        processor=processor,
        train=ClipDataset(learn, cache, labels, frames, augment=True),
        validation=validation,
        collate=collate,
        metrics=lambda: action_metrics(model, collate, validation),
        details=details,
        identity={"labels": labels, "idle": model.config.idle, "window_s": window_s},
        failed=cache.failed.values(),
    )
    return task.run(out, name or str(base_model), settings, progress)


def _distinct_clips(clips: Sequence[VideoClip], data: str | Path) -> list[VideoClip]:
    """Return each clip once: one with two names would be in both parts of the split."""
    first: dict[tuple[Path, float, float | None], VideoClip] = {}
    for clip in clips:
        known = first.setdefault((clip.path.resolve(), clip.start_s, clip.end_s), clip)
        if known.label != clip.label:
            raise InputError(f"{str(clip.path)!r} in {str(data)!r} is labeled both {known.label!r} and {clip.label!r}")
    return list(first.values())


def _distinct_labels(clips: Sequence[VideoClip], data: str | Path) -> list[str]:
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        raise InputError(f"all videos of {str(data)!r} are labeled {labels[0]!r}: there is nothing to distinguish")
    return labels


@torch.inference_mode()
def action_metrics(
    model: VideoCoSwinForVideoClassification, collate: ClipCollator, data: ClipDataset, batch: int = 16
) -> dict[str, float]:
    """Return "top-1": the share of the videos, each covered by one clip, whose label is the likeliest."""
    model.eval()
    right = 0
    for inputs in batches(data, collate, batch):
        best = model(inputs["pixel_values"].to(model.device)).logits.argmax(1).cpu()
        right += int((best == inputs["labels"]).sum())
    return {"top-1": right / len(data)}
