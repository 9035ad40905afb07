"""Divides a data set into the examples that a model learns from and those that validate it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import Protocol, TypeVar

from florence_rag.errors import InputError

TRAINING_SPLITS = ("train", "restval")
VALIDATION_SPLITS = ("val", "validate", "validation")


class HasSplit(Protocol):
    """An example that may name the part of the data set that it belongs to."""

    @property
    def split(self) -> str:
        """The name of the split, or ""."""
        ...


T = TypeVar("T")
S = TypeVar("S", bound=HasSplit)


def split_examples(
    examples: Sequence[S],
    share: float,
    seed: int,
    *,
    stratum: Callable[[S], object] = lambda _: None,
    unit: Callable[[S], Hashable] | None = None,
) -> tuple[list[S], list[S]]:
    """Divide examples into those to learn from and those to validate with, by their splits or else at random.

    `share` is the share of each `stratum`, such as a class, that validates. Examples with the same `unit`, such as
    questions about one image, stay together. InputError is raised if all examples are for validation.
    """
    train = [each for each in examples if each.split in TRAINING_SPLITS]
    validation = [each for each in examples if each.split in VALIDATION_SPLITS]
    free = [each for each in examples if not each.split]
    if train and not validation:
        train, validation = train_val_split(train, [None] * len(train), share, seed)
    units: dict[Hashable, list[S]] = {}
    for number, each in enumerate(free):
        units.setdefault(number if unit is None else unit(each), []).append(each)
    groups = list(units.values()) if len(units) > 1 else [[each] for each in free]
    parts = train_val_split(groups, [stratum(group[0]) for group in groups], share, seed)
    more_train, more_validation = ([each for group in part for each in group] for part in parts)
    if not train and not more_train:
        raise InputError("all examples are of the validation split: there is nothing to learn from")
    return more_train + train, more_validation + validation


def train_val_split(items: Sequence[T], strata: Sequence[object], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Divide items at random: this share of each stratum validates, and at least one item if there are two.

    Both parts are shuffled. Equal arguments give equal parts.
    """
    rng = Random(seed)
    members: dict[object, list[int]] = {}
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    chosen: set[int] = set()
    for indices in members.values():
        rng.shuffle(indices)
        chosen.update(indices[: int(share * len(indices) + 0.5) if len(indices) > 1 else 0])
    if not chosen and len(items) > 1:
        chosen.add(max(members.values(), key=len)[0])
    order = list(range(len(items)))
    rng.shuffle(order)
    return [items[i] for i in order if i not in chosen], [items[i] for i in order if i in chosen]
