"""The examples that a dual encoder learns from: images with texts, with labels, or with both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from florence_rag.datasets.images import ImageExample, read_images
from florence_rag.errors import InputError
from florence_rag.finetuning.card import summarize_names
from florence_rag.finetuning.splits import TRAINING_SPLITS, VALIDATION_SPLITS, split_examples

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
    """Divide examples into a training and a validation part, by their splits or else by this share of each class.

    Raises:
        InputError: All pairs are each other's positives, or all examples are for validation.
    """
    keys = {positives_key(each, text) for each in examples for text in (each.captions or ("",))}
    if len(keys) < 2:
        only = next(iter(keys))[1] if keys else "nothing"
        raise InputError(f"all examples are of one class or text, {only!r}: there is nothing to distinguish")
    return split_examples(examples, share, seed, stratum=lambda each: each.label.casefold())


def distinct_labels(examples: Sequence[ImageExample]) -> list[str]:
    """Return the classes, each as it is first written, sorted."""
    first: dict[str, str] = {}
    for each in examples:
        if each.label:
            first.setdefault(each.label.casefold(), each.label)
    return sorted(first.values(), key=str.casefold)


def describe_pairs(examples: Sequence[ImageExample]) -> dict[str, Any]:
    """Return facts about the examples for the model card."""
    labels, texts = distinct_labels(examples), sum(len(each.captions) for each in examples)
    return {**({"classes": summarize_names(labels)} if labels else {}), **({"texts": texts} if texts else {})}
