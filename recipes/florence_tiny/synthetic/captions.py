"""Captions that name every object of a scene from left to right."""

from __future__ import annotations

import random
from collections.abc import Sequence

from recipes.florence_tiny.synthetic.scene import Scene, SceneObject
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES, a, colored, next_to, phrase

SIZE_WORDS = {"small": ("small", "little"), "large": ("large", "big")}
LISTS = (
    "{}",
    "from left to right: {}",
    "{}, from left to right",
    "left to right, {}",
    "a street with {}",
    "a street scene with {}",
    "in the street, from left to right: {}",
    "a picture of {}",
)
WALKS = ("{}", "{}", "a street with {}", "on the left {}", "starting from the left, {}", "there is {}")
FURTHER = (", and {} further right", ", then {} some way to the right", ", further right {}", ", and after a gap {}")
BESIDE = ("{relation} {it}", "with {it} to its right", "and directly to its right {it}", ", right beside it {it}")


def canonical_caption(scene: Scene) -> str:
    """Return colors and objects from left to right: equal for scenes that captions may not distinguish."""
    return ", ".join(a(colored(ANSWER_NAMES[obj.category], obj.color)) for obj in scene.objects)


def caption(scene: Scene, rng: random.Random) -> str:
    """Return a random description that names every object with its color from left to right."""
    sized = 0.5 if rng.random() < 0.4 else 0.0
    names = [_named(obj, rng, sized) for obj in scene.objects]
    if rng.random() < 0.4:
        return rng.choice(LISTS).format(_listed(names, rng))
    return rng.choice(WALKS).format(_walked(scene.objects, names, rng))


def _named(obj: SceneObject, rng: random.Random, sized: float) -> str:
    words = phrase(rng, (obj.category, obj.color))
    return a(f"{rng.choice(SIZE_WORDS[obj.size])} {words}" if rng.random() < sized else words)


def _listed(names: Sequence[str], rng: random.Random) -> str:
    """Return a list such as "a red car, a green tree and a black dog"."""
    if len(names) == 1 or rng.random() < 0.25:
        return ", ".join(names)
    last = rng.choice((" and ", ", and ", ", then "))
    return ", ".join(names[:-1]) + last + names[-1]


def _walked(objects: Sequence[SceneObject], names: Sequence[str], rng: random.Random) -> str:
    """Return a walk such as "a red car next to a yellow fire hydrant, and a green tree further right"."""
    text = names[0]
    for before, obj, words in zip(objects, objects[1:], names[1:], strict=False):
        if obj.slot == before.slot + 1:
            part = rng.choice(BESIDE).format(relation=next_to(rng, before.category), it=words)
            text += part if part.startswith(",") else f" {part}"
        else:
            text += rng.choice(FURTHER).format(words)
    return text
