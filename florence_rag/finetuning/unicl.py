"""Fine-tunes a dual encoder by unified contrastive learning: texts and labels in one batch (UniCL, arXiv 2204.03610).

A label is inserted into another prompt each time, and all images of a class are positives of its prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from florence_rag.batching import batched
from florence_rag.datasets.images import ImageExample, read_images
from florence_rag.errors import InputError
from florence_rag.finetuning.examples import (
    TRAINING_SPLITS,
    VALIDATION_SPLITS,
    ImageCache,
    random_crop,
    split_examples,
    usable_examples,
)
from florence_rag.finetuning.settings import Settings, summarize_names
from florence_rag.finetuning.trainer import TrainingSetup
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.prompt_templates import UNICL_PROMPTS, check_prompts
from florence_rag.models.strict_loading import open_processor, open_strictly

_SPLITS = (*TRAINING_SPLITS, *VALIDATION_SPLITS)


def read_pairs(data: str | Path, images: Path | None = None) -> list[ImageExample]:
    """Return the examples of a data set without those of its test split; the arguments are those of `read_images`."""
    found = read_images(data, images)
    splits = {example.split for example in found}
    if not splits & {"", *_SPLITS}:
        names = ", ".join(map(repr, sorted(splits)))
        raise InputError(
            f"the field 'split' of all images of {str(data)!r} is {names}; training uses {', '.join(_SPLITS)}"
        )
    return [each for each in found if each.split in ("", *_SPLITS) and (each.captions or each.label)]


def positives_key(example: ImageExample, text: str) -> tuple[str, str]:
    """Return a key that is equal for pairs that are each other's positives: of one class, or of one text."""
    return ("label", example.label.casefold()) if example.label else ("text", text)


def split_pairs(
    examples: Sequence[ImageExample], share: float, seed: int
) -> tuple[list[ImageExample], list[ImageExample]]:
    """Divide examples by their splits or else by this share of each class; raise InputError if that is impossible."""
    keys = {positives_key(each, text) for each in examples for text in (each.captions or ("",))}
    if len(keys) < 2:
        only = next(iter(keys))[1] if keys else "nothing"
        raise InputError(f"all examples are of one class or text, {only!r}: there is nothing to distinguish")
    return split_examples(examples, share, seed, stratum=lambda each: each.label.casefold())


def distinct_labels(examples: Sequence[ImageExample]) -> list[str]:
    """Return the classes, each as it is first written, sorted."""
    first = {each.label.casefold(): each.label for each in reversed(examples) if each.label}
    return sorted(first.values(), key=str.casefold)


class PairDataset(Dataset[dict[str, Any]]):
    """Examples as pixels, a text and the key of its positives; augmentation varies the texts and crops the images."""

    def __init__(
        self, examples: Sequence[ImageExample], images: ImageCache, prompts: Sequence[str], *, augment: bool
    ) -> None:
        self.examples, self.images, self.prompts, self.augment = examples, images, prompts, augment

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        texts = example.captions or tuple(prompt.format(example.label) for prompt in self.prompts)
        text = texts[int(torch.randint(len(texts), ()))] if self.augment else texts[0]
        pixels = self.images[example.path]
        return {
            "pixels": random_crop(pixels[None])[0] if self.augment else pixels,
            "text": text,
            "key": positives_key(example, text),
        }


def collate_pairs(processor: FlorenceProcessor, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return pixel_values (B, 3, H, W), input_ids (B, L) and positives (B,) for FlorenceModel.forward."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(row["key"] for row in rows))}
    pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
    return {
        "pixel_values": processor.image_processor.normalize_pixels(pixels),
        "input_ids": processor(text=[row["text"] for row in rows])["input_ids"],
        "positives": torch.tensor([keys[row["key"]] for row in rows]),
    }


@dataclass(frozen=True)
class UniCLTask:
    """Fine-tunes a dual encoder on images with texts or labels; the network is written to the folder florence.

    Args:
        data: One or several data sets that `florence_rag.datasets.images.read_images` reads.
        images: The folder where relative paths in files begin, by default that of the file.
        prompts: Sentences with {} for a label, the bare label first; by default UniCL's 81.
    """

    data: Sequence[str | Path]
    images: Path | None = None
    prompts: Sequence[str] | None = None

    def prepare(self, base_model: Path, settings: Settings) -> TrainingSetup:
        """Read the pairs and the dual encoder in a folder."""
        prompts = check_prompts(self.prompts or UNICL_PROMPTS)
        examples = [example for each in self.data for example in read_pairs(each, self.images)]
        processor: FlorenceProcessor = open_processor(FlorenceProcessor, base_model)
        cache = ImageCache((each.path for each in examples), processor.image_processor)
        usable = usable_examples(examples, cache.failed, ", ".join(map(str, self.data)), lambda each: each.path)
        train, held_out = split_pairs(usable, settings.validation, settings.seed)
        labels, texts = distinct_labels(usable), sum(len(each.captions) for each in usable)
        return TrainingSetup(
            part="florence",
            data=self.data,
            model=open_strictly(FlorenceModel, base_model),
            processor=processor,
            train=PairDataset(train, cache, prompts, augment=True),
            validation=PairDataset(held_out, cache, prompts, augment=False),
            collate=partial(collate_pairs, processor),
            metrics=lambda model, _, data: dual_encoder_metrics(model, processor, data, labels),
            details={**({"classes": summarize_names(labels)} if labels else {}), **({"texts": texts} if texts else {})},
            identity={"prompts": prompts},
            failed=cache.failed.values(),
        )


@torch.inference_mode()
def dual_encoder_metrics(
    model: FlorenceModel, processor: FlorenceProcessor, data: PairDataset, labels: Sequence[str], batch: int = 64
) -> dict[str, float]:
    """Return "zero-shot top-1" of the examples with a label, and R@1 in both directions of those with captions.

    The first caption of an example counts.
    """
    model.eval()
    metrics: dict[str, float] = {}

    def embed_images(examples: Sequence[ImageExample]) -> Tensor:
        pixels = (torch.from_numpy(np.array(data.images[each.path])) for each in examples)
        values = map(processor.image_processor.normalize_pixels, map(torch.stack, batched(pixels, batch)))
        return torch.cat([model.get_image_features(each.to(model.device)) for each in values])

    def embed_texts(texts: Sequence[str]) -> Tensor:
        ids = (processor(text=part)["input_ids"] for part in batched(texts, batch))
        return torch.cat([model.get_text_features(each.to(model.device)) for each in ids])

    if labeled := [each for each in data.examples if each.label]:
        names = [label.casefold() for label in labels]
        prompts = [[prompt.format(label) for prompt in data.prompts] for label in labels]
        classes = torch.stack([F.normalize(embed_texts(each).mean(0), dim=-1) for each in prompts])
        best = (embed_images(labeled) @ classes.T).argmax(1).tolist()
        right = [names[i] == each.label.casefold() for i, each in zip(best, labeled, strict=True)]
        metrics["zero-shot top-1"] = sum(right) / len(right)
    if captioned := [each for each in data.examples if each.captions]:
        texts = [each.captions[0] for each in captioned]
        scores = embed_images(captioned) @ embed_texts(texts).T
        for direction, table in (("image-to-text R@1", scores), ("text-to-image R@1", scores.T)):
            nearest = table.argmax(1).tolist()
            metrics[direction] = sum(texts[i] == texts[j] for i, j in enumerate(nearest)) / len(texts)
    return metrics
