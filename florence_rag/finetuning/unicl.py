"""Fine-tunes a dual tower by unified contrastive learning: texts and labels in one batch (UniCL, arXiv 2204.03610).

A class is set in sentences, another one each time, and all pictures of a class are positives of each other's sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from florence_rag.finetuning.image_dataset import Pictures, random_part, readable
from florence_rag.finetuning.pairs import Example, facts, labels_of, parted, read_pairs
from florence_rag.finetuning.settings import FineTuned, Progress, Settings
from florence_rag.finetuning.trainer import Lesson, begun
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.prompt_templates import UNICL_PROMPTS
from florence_rag.models.strict_loading import open_strictly
from florence_rag.tasks.zero_shot import check_prompts


class Pairs(Dataset[dict[str, Any]]):
    """Examples as pixels, a text and the key of its positives; in training the texts and the view vary."""

    def __init__(
        self, examples: Sequence[Example], pictures: Pictures, prompts: Sequence[str], *, varied: bool
    ) -> None:
        self.examples, self.pictures, self.prompts, self.varied = examples, pictures, prompts, varied

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.examples[index]
        texts = example.texts or tuple(prompt.format(example.label) for prompt in self.prompts)
        text = texts[int(torch.randint(len(texts), ()))] if self.varied else texts[0]
        pixels = self.pictures[example.image]
        return {
            "pixels": random_part(pixels[None])[0] if self.varied else pixels,
            "text": text,
            "key": example.key(text),
        }


@dataclass
class PairCollator:
    """Rows of Pairs -> the arguments of FlorenceModel.forward."""

    processor: FlorenceProcessor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """-> pixel_values (B, 3, H, W), input_ids (B, L), positives (B,)."""
        keys = {key: number for number, key in enumerate(dict.fromkeys(row["key"] for row in rows))}
        pixels = torch.from_numpy(np.stack([row["pixels"] for row in rows]))
        return {
            "pixel_values": self.processor.image_processor.normalize_pixels(pixels),
            "input_ids": self.processor(text=[row["text"] for row in rows])["input_ids"],
            "positives": torch.tensor([keys[row["key"]] for row in rows]),
        }


def train_unicl(
    data: Sequence[str | Path],
    out: Path,
    start: Path,
    *,
    name: str | None = None,
    images: Path | None = None,
    prompts: Sequence[str] | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune a dual tower; it is written to out/florence, its log to out/runs/florence.

    data: data sets of pairs.py, one or several together. start: folder of the tower to begin with; name: what that is
    called. images: where relative paths in tables begin, by default beside them. prompts: sentences with {} for labels,
    by default UniCL's 81; the first is that of the bare label. Called again with the same, a run that was cut off goes
    on. Raises InputError for data that cannot be learned from.
    """
    settings, sentences = begun(settings), check_prompts(prompts or UNICL_PROMPTS)
    examples = [example for each in data for example in read_pairs(each, images)]
    processor: FlorenceProcessor = FlorenceProcessor.from_pretrained(start)
    pictures = Pictures((each.image for each in examples), processor.image_processor)
    usable = readable(examples, pictures.failed, ", ".join(map(str, data)))
    learn, out_of_it = parted(usable, settings.validation, settings.seed)
    model = open_strictly(FlorenceModel, start)
    check = Pairs(out_of_it, pictures, sentences, varied=False)
    lesson = Lesson(
        part="florence",
        data=data,
        model=model,
        processor=processor,
        learn=Pairs(learn, pictures, sentences, varied=True),
        check=check,
        collate=PairCollator(processor),
        figures=lambda: tower_figures(model, processor, check, labels_of(usable)),
        facts=facts(usable),
        same={"prompts": sentences},
        failed=pictures.failed.values(),
    )
    return lesson.teach(out, name or str(start), settings, progress)


@torch.inference_mode()
def tower_figures(
    model: FlorenceModel, processor: FlorenceProcessor, data: Pairs, labels: Sequence[str], batch: int = 64
) -> dict[str, float]:
    """What a tower reaches on pairs: "zero-shot top-1" of those with a label, among all labels, and "image-to-text R@1"
    and "text-to-image R@1" of those with texts, of which the first counts."""
    model.eval()
    labeled = [each for each in data.examples if each.label is not None]
    said = [each for each in data.examples if each.texts]
    figures: dict[str, float] = {}

    def see(examples: Sequence[Example]) -> torch.Tensor:
        pixels = [torch.from_numpy(np.array(data.pictures[each.image])) for each in examples]
        parts = [torch.stack(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
        return torch.cat(
            [model.get_image_features(processor.image_processor.normalize_pixels(p).to(model.device)) for p in parts]
        )

    def read(texts: Sequence[str]) -> torch.Tensor:
        parts = [processor(text=texts[i : i + batch])["input_ids"] for i in range(0, len(texts), batch)]
        return torch.cat([model.get_text_features(part.to(model.device)) for part in parts])

    if labeled:
        names = [label.casefold() for label in labels]
        sentences = [[prompt.format(label) for prompt in data.prompts] for label in labels]
        classes = torch.stack([F.normalize(read(each).mean(0), dim=-1) for each in sentences])
        best = (see(labeled) @ classes.T).argmax(1).tolist()
        right = [names[i] == str(each.label).casefold() for i, each in zip(best, labeled, strict=True)]
        figures["zero-shot top-1"] = sum(right) / len(right)
    if said:
        texts = [each.texts[0] for each in said]
        scores = see(said) @ read(texts).T
        for way, table in (("image-to-text R@1", scores), ("text-to-image R@1", scores.T)):
            found = table.argmax(1).tolist()
            figures[way] = sum(texts[i] == texts[j] for i, j in enumerate(found)) / len(texts)
    return figures
