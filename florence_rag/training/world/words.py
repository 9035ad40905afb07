"""Captions that name everything in a scene from left to right, and the door to claims and questions."""

from __future__ import annotations

import random
from collections.abc import Sequence

from florence_rag.training.world.claims import Claim, claim_text, sample_claim, truth_table
from florence_rag.training.world.questions import Question, QuestionType, questions
from florence_rag.training.world.scene import Scene, Thing
from florence_rag.training.world.vocabulary import ANSWER_NAMES, ANSWERS, a, colored, next_to, phrase

__all__ = [
    "ANSWERS",
    "Claim",
    "Question",
    "QuestionType",
    "canonical_caption",
    "caption",
    "claim_text",
    "questions",
    "sample_claim",
    "truth_table",
]

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
    """Colours and objects from left to right: equal for scenes that captions cannot be relied on to tell apart."""
    return ", ".join(a(colored(ANSWER_NAMES[thing.object], thing.color)) for thing in scene.things)


def caption(scene: Scene, rng: random.Random) -> str:
    """A description that names every thing with its colour, always from left to right."""
    sized = 0.5 if rng.random() < 0.4 else 0.0
    names = [_named(thing, rng, sized) for thing in scene.things]
    if rng.random() < 0.4:
        return rng.choice(LISTS).format(_listed(names, rng))
    return rng.choice(WALKS).format(_walked(scene.things, names, rng))


def _named(thing: Thing, rng: random.Random, sized: float) -> str:
    words = phrase(rng, (thing.object, thing.color))
    return a(f"{rng.choice(SIZE_WORDS[thing.size])} {words}" if rng.random() < sized else words)


def _listed(names: Sequence[str], rng: random.Random) -> str:
    """ "a red car, a green tree and a black dog"."""
    if len(names) == 1 or rng.random() < 0.25:
        return ", ".join(names)
    last = rng.choice((" and ", ", and ", ", then "))
    return ", ".join(names[:-1]) + last + names[-1]


def _walked(things: Sequence[Thing], names: Sequence[str], rng: random.Random) -> str:
    """ "a red car next to a yellow fire hydrant, and a green tree further right"."""
    text = names[0]
    for before, thing, words in zip(things, things[1:], names[1:], strict=False):
        if thing.slot == before.slot + 1:
            part = rng.choice(BESIDE).format(relation=next_to(rng, before.object), it=words)
            text += part if part.startswith(",") else f" {part}"
        else:
            text += rng.choice(FURTHER).format(words)
    return text
