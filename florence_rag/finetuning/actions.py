"""Fine-tunes what recognises actions, Video CoSwin, on videos with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from florence_rag.datasets.videos import VideoClip, read_labeled_videos
from florence_rag.errors import InputError
from florence_rag.finetuning.dataset_io import counted, left_out
from florence_rag.finetuning.image_dataset import readable
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.trainer import Lesson, batches, begun
from florence_rag.finetuning.video_dataset import Clips, Films
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification


@dataclass
class ClipCollator:
    """Rows of Clips -> the arguments of VideoCoSwinForVideoClassification.forward."""

    processor: FlorenceImageProcessor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """-> pixel_values (B, T, 3, H, W), labels (B,)."""
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
        values = self.processor.normalize_pixels(pixels.flatten(0, 1))
        return {
            "pixel_values": values.unflatten(0, pixels.shape[:2]),
            "labels": torch.tensor([row["label"] for row in rows]),
        }


def with_labels(
    known: VideoCoSwinForVideoClassification, labels: Sequence[str], *, idle: str | None, window_s: float | None
) -> VideoCoSwinForVideoClassification:
    """A network for these labels; what it knew of those among them it keeps, other outputs begin anew.

    Its other heads are dropped: they would not learn, and what they read off would change under them. idle: the label
    of videos in which nothing happens, by default what it was if that is still a label; window_s: how long the windows
    are through which it will look at videos, in seconds, by default as before.
    """
    old: Any = known.config
    before = list((old.id2label or {}).values())
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    settings = {**old.to_dict(), **named, "attributes": None, "wording": None}
    settings |= {"idle": idle or (old.idle if old.idle in labels else None), "window_s": window_s or old.window_s}
    for derived in ("num_labels", "architectures"):
        settings.pop(derived, None)
    model = VideoCoSwinForVideoClassification(VideoCoSwinConfig(**settings))
    model.video_coswin.load_state_dict(known.video_coswin.state_dict())
    if known.trajectory is not None and model.trajectory is not None:
        model.trajectory.load_state_dict(known.trajectory.state_dict())
    with torch.no_grad():
        for i, label in enumerate(labels):
            if label in before:
                model.classifier.weight[i] = known.classifier.weight[before.index(label)]
                model.classifier.bias[i] = known.classifier.bias[before.index(label)]
    placed: Any = model
    return placed.to(known.device)


def train_actions(
    data: str | Path,
    out: Path,
    start: Path,
    *,
    name: str | None = None,
    idle: str | None = None,
    window_s: float | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune a network that recognises actions; it is written to out/video, its log to out/runs/video.

    data: a folder with a folder of videos for each class, or a CSV file of paths and labels. start: folder of the
    network to begin with; name: what that is called. idle, window_s: see with_labels. Called again with the same, a run
    that was cut off goes on. Raises InputError for data that cannot be learned from.
    """
    settings = begun(settings)
    if window_s is not None and not 0 < window_s < float("inf"):
        raise InputError(f"window_s is {window_s!r}; it must be seconds above 0")
    rows = _each_once(read_labeled_videos(data), data)
    known, processor = open_with_processor(
        VideoCoSwinForVideoClassification,
        FlorenceImageProcessor,
        start,
        name=name or str(start),
        what="an action model",
    )
    frames, window_s = known.config.num_frames, window_s or known.config.window_s
    films = Films((each.path for each in rows), processor, frames / window_s)
    usable = readable(rows, films.failed, data, lambda row: row.path)
    labels = _labels_of(usable, data)
    if idle is not None and idle not in labels:
        raise InputError(f"idle is {idle!r}, which is no label of {str(data)!r}; it has {counted(labels)}")
    model = with_labels(known, labels, idle=idle, window_s=window_s)
    learn, kept = left_out(usable, [each.label for each in usable], settings.validation, settings.seed)
    collate, check = ClipCollator(processor), Clips(kept, films, labels, frames, varied=False)
    short = [f"{each.label}/{each.path.name}" for each in usable if films.frames[each.path] < frames]
    lesson = Lesson(
        part="video",
        data=[data],
        model=model,
        processor=processor,
        learn=Clips(learn, films, labels, frames, varied=True),
        check=check,
        collate=collate,
        figures=lambda: action_figures(model, collate, check),
        facts={
            "labels": counted(labels),
            **({f"shorter than {window_s:g} s, so shown for longer": counted(short, 3)} if short else {}),
        },
        same={"labels": labels, "idle": model.config.idle, "window_s": window_s},
        failed=films.failed.values(),
    )
    return lesson.teach(out, name or str(start), settings, progress)


def _each_once(rows: Sequence[VideoClip], data: str | Path) -> list[VideoClip]:
    """A video under two names would be on both sides of the split."""
    first: dict[Path, VideoClip] = {}
    for row in rows:
        known = first.setdefault(row.path.resolve(), row)
        if known.label != row.label:
            raise InputError(f"{str(row.path)!r} in {str(data)!r} is both {known.label!r} and {row.label!r}")
    return list(first.values())


def _labels_of(rows: Sequence[VideoClip], data: str | Path) -> list[str]:
    labels = sorted({row.label for row in rows})
    if len(labels) < 2:
        raise InputError(f"all videos of {str(data)!r} are {labels[0]!r}: there is nothing to tell apart")
    return labels


@torch.inference_mode()
def action_figures(
    model: VideoCoSwinForVideoClassification, collate: ClipCollator, data: Clips, batch: int = 16
) -> dict[str, float]:
    """ "top-1": the share of the videos, each seen as a whole, whose label is the likeliest."""
    model.eval()
    right = 0
    for inputs in batches(data, collate, batch):
        best = model(inputs["pixel_values"].to(model.device)).logits.argmax(1).cpu()
        right += int((best == inputs["labels"]).sum())
    return {"top-1": right / len(data)}
