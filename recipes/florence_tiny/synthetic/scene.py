"""The contents of a synthetic street scene, and how to sample one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

SLOTS = 5
CATEGORIES = ("car", "bus", "bicycle", "person", "dog", "tree", "house", "hydrant", "sign")
COLORS = ("red", "blue", "green", "yellow", "orange", "purple", "white", "black")
SIZES: tuple[Size, ...] = ("small", "large")
TIMES: tuple[Time, ...] = ("morning", "noon", "evening", "overcast")
ROADS: tuple[Road, ...] = ("dashed", "plain", "crossing")

Size = Literal["small", "large"]
Time = Literal["morning", "noon", "evening", "overcast"]
Road = Literal["dashed", "plain", "crossing"]
Combination = tuple[str, str]
"""(color, category)"""

HELD_OUT: frozenset[Combination] = frozenset(
    {
        ("purple", "car"),
        ("green", "bus"),
        ("orange", "bicycle"),
        ("white", "person"),
        ("yellow", "dog"),
        ("red", "tree"),
        ("black", "house"),
        ("blue", "hydrant"),
    }
)
"""Training never shows or names these combinations: they measure how well the model combines color and category."""

COMBINATIONS: tuple[Combination, ...] = tuple((color, name) for name in CATEGORIES for color in COLORS)
SEEN: tuple[Combination, ...] = tuple(pair for pair in COMBINATIONS if pair not in HELD_OUT)

# The number of objects in a scene, and how many of them may be of one category: counting and relations ("the car next
# to the hydrant") are only interesting if categories repeat.
_NUMBERS, _NUMBER_WEIGHTS = (1, 2, 3, 4, 5), (4, 12, 32, 36, 16)
_REPEATS, _REPEAT_WEIGHTS = (1, 2, 3, 4), (36, 28, 18, 18)


@dataclass(frozen=True, slots=True)
class SceneObject:
    """An object in one of the slots 0 (left) to 4 (right)."""

    category: str
    color: str
    size: Size
    slot: int

    @property
    def combination(self) -> Combination:
        return self.color, self.category


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The background of a scene; captions and questions never mention it."""

    time: Time = "noon"
    road: Road = "dashed"


@dataclass(frozen=True, slots=True)
class Scene:
    """A street with objects from left to right, one per slot; the seed selects small variations of the drawing."""

    objects: tuple[SceneObject, ...]
    backdrop: Backdrop = Backdrop()
    seed: int = 0

    def __post_init__(self) -> None:
        slots = [obj.slot for obj in self.objects]
        if any(a >= b for a, b in pairwise(slots)) or not all(0 <= slot < SLOTS for slot in slots):
            raise ValueError(f"slots must rise from left to right within 0..{SLOTS - 1}, got {slots}")

    @property
    def has_held_out(self) -> bool:
        return any(obj.combination in HELD_OUT for obj in self.objects)

    def neighbors(self, obj: SceneObject) -> tuple[SceneObject, ...]:
        """Return the objects in adjacent slots."""
        return tuple(other for other in self.objects if abs(other.slot - obj.slot) == 1)


def sample_scene(rng: random.Random, combinations: Literal["seen", "any", "held-out"] = "seen") -> Scene:
    """Sample a scene: "seen" has only combinations of training, "held-out" at least one that training never shows."""
    number = rng.choices(_NUMBERS, _NUMBER_WEIGHTS)[0]
    names = _sample_objects(rng, number)
    allowed = SEEN if combinations == "seen" else COMBINATIONS
    pairs = [(_sample_color(rng, name, allowed), name) for name in names]
    if combinations == "held-out" and not HELD_OUT.intersection(pairs):
        pairs[rng.randrange(number)] = rng.choice(sorted(HELD_OUT))
    slots = sorted(rng.sample(range(SLOTS), number))
    objects = [
        SceneObject(name, color, rng.choice(SIZES), slot) for (color, name), slot in zip(pairs, slots, strict=True)
    ]
    return Scene(tuple(objects), Backdrop(rng.choice(TIMES), rng.choice(ROADS)), rng.getrandbits(32))


def _sample_objects(rng: random.Random, number: int) -> list[str]:
    """Repeat one category several times, and sample the others independently."""
    repeats = min(number, rng.choices(_REPEATS, _REPEAT_WEIGHTS)[0])
    names = [rng.choice(CATEGORIES)] * repeats + [rng.choice(CATEGORIES) for _ in range(number - repeats)]
    rng.shuffle(names)
    return names


def _sample_color(rng: random.Random, name: str, allowed: tuple[Combination, ...]) -> str:
    return rng.choice([color for color, category in allowed if category == name])
