"""Fine-tunes Video CoSwin to recognize the actions of labeled videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from florence_rag.datasets.videos import VideoClip, read_labeled_videos
from florence_rag.errors import InputError
from florence_rag.finetuning.examples import VideoCache, random_crop, split_examples, usable_examples
from florence_rag.finetuning.settings import Settings, summarize_names
from florence_rag.finetuning.trainer import Collator, TrainingSetup, batches, keep_known_rows
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.models.strict_loading import open_with_processor
from florence_rag.models.video_coswin import VideoCoSwinConfig, VideoCoSwinForVideoClassification


class ClipDataset(Dataset[dict[str, Any]]):
    """Videos as clips of a fixed number of frames, with the indices of their labels.

    Without augmentation, a clip covers its whole video at even times. With augmentation, half of the clips are as dense
    as those that a recognizer sees, from a random part of the video, and the others are spread over it; the crop and
    the brightness vary. A video with too few frames shows some of them several times.
    """

    def __init__(
        self, clips: Sequence[VideoClip], cache: VideoCache, labels: Sequence[str], frames: int, *, augment: bool
    ) -> None:
        self.clips, self.cache, self.frames, self.augment = clips, cache, frames, augment
        self.index = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index]
        pixels = self.cache.select(clip, self.frame_indices(self.cache.frames[clip]))
        if self.augment:
            pixels, brightness = random_crop(pixels), 1 + 0.1 * float(torch.randn(()))
            pixels = (pixels * np.float32(brightness)).clip(0, 255).astype(np.uint8)
        return {"pixels": pixels, "label": self.index[clip.label]}

    def frame_indices(self, count: int) -> list[int]:
        """Return the increasing indices of the frames that a clip shows of a video with `count` frames."""
        if self.augment and count > self.frames and float(torch.rand(())) < 0.5:
            first = int(torch.randint(count - self.frames + 1, ()))
            return list(range(first, first + self.frames))
        within = torch.rand(self.frames) if self.augment else torch.full((self.frames,), 0.5)
        return ((torch.arange(self.frames) + within) * count / self.frames).long().clamp(max=count - 1).tolist()


def collate_clips(processor: FlorenceImageProcessor, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return pixel_values (B, T, 3, H, W) and labels (B,) for VideoCoSwinForVideoClassification.forward."""
    pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
    values = processor.normalize_pixels(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
    return {"pixel_values": values, "labels": torch.tensor([row["label"] for row in rows])}


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


@dataclass(frozen=True)
class ActionTask:
    """Fine-tunes Video CoSwin on labeled videos; the network is written to the folder video.

    Args:
        data: A data set that `florence_rag.datasets.videos.read_labeled_videos` reads.
        videos: The folder with the videos of a list, by default that of the list.
        idle: The label of videos in which nothing happens.
        window_s: The length of the windows in which actions will be recognized, in seconds.
    """

    data: str | Path
    videos: Path | None = None
    idle: str | None = None
    window_s: float | None = None

    def prepare(self, base_model: Path, settings: Settings) -> TrainingSetup:
        """Read the videos, and build a network for their labels from the one in a folder."""
        if self.window_s is not None and not 0 < self.window_s < float("inf"):
            raise InputError(f"window_s is {self.window_s!r}; it must be a number of seconds above 0")
        clips = _distinct_clips(read_labeled_videos(self.data, self.videos), self.data)
        known, processor = open_with_processor(
            VideoCoSwinForVideoClassification,
            FlorenceImageProcessor,
            base_model,
            name=base_model.parent.name,
            what="an action model",
        )
        frames, window_s = known.config.num_frames, self.window_s or known.config.window_s
        cache = VideoCache(clips, processor, frames / window_s)
        usable = usable_examples(clips, cache.failed, self.data, lambda clip: clip)
        labels = self._labels(usable)
        model = adapt_to_labels(known, labels, idle=self.idle, window_s=window_s)
        train, held_out = split_examples(
            usable, settings.validation, settings.seed, stratum=lambda clip: clip.label, unit=lambda clip: clip.path
        )
        details = {"labels": summarize_names(labels)}
        if short := [f"{clip.label}/{clip.path.name}" for clip in usable if cache.frames[clip] < frames]:
            details[f"videos shorter than {window_s:g} s, with repeated frames"] = summarize_names(short, 3)
        return TrainingSetup(
            part="video",
            data=[self.data],
            model=model,
            processor=processor,
            train=ClipDataset(train, cache, labels, frames, augment=True),
            validation=ClipDataset(held_out, cache, labels, frames, augment=False),
            collate=partial(collate_clips, processor),
            metrics=action_metrics,
            details=details,
            identity={"labels": labels, "idle": model.config.idle, "window_s": window_s},
            failed=cache.failed.values(),
        )

    def _labels(self, clips: Sequence[VideoClip]) -> list[str]:
        """Return the labels of the clips, sorted; raise InputError if they cannot be learned."""
        labels = sorted({clip.label for clip in clips})
        if len(labels) < 2:
            raise InputError(
                f"all videos of {str(self.data)!r} are labeled {labels[0]!r}: there is nothing to distinguish"
            )
        if self.idle is not None and self.idle not in labels:
            shown = summarize_names(labels)
            raise InputError(f"idle is {self.idle!r}, which is not a label of {str(self.data)!r}; it has {shown}")
        return labels


def _distinct_clips(clips: Sequence[VideoClip], data: str | Path) -> list[VideoClip]:
    """Return each clip once: one with two names would be in both parts of the split."""
    first: dict[tuple[Path, float, float | None], VideoClip] = {}
    for clip in clips:
        known = first.setdefault((clip.path.resolve(), clip.start_s, clip.end_s), clip)
        if known.label != clip.label:
            raise InputError(f"{str(clip.path)!r} in {str(data)!r} is labeled both {known.label!r} and {clip.label!r}")
    return list(first.values())


@torch.inference_mode()
def action_metrics(
    model: VideoCoSwinForVideoClassification, collate: Collator, data: ClipDataset, batch: int = 16
) -> dict[str, float]:
    """Return "top-1": the share of the videos, each covered by one clip, whose label is the likeliest."""
    model.eval()
    right = 0
    for inputs in batches(data, collate, batch):
        best = model(inputs["pixel_values"].to(model.device)).logits.argmax(1).cpu()
        right += int((best == inputs["labels"]).sum())
    return {"top-1": right / len(data)}
