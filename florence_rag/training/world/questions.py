"""Questions that a scene answers in exactly one way, balanced over their types and answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from florence_rag.training.world.claims import RELATIONS, Claim, is_seen, noun_phrase, sample_claim
from florence_rag.training.world.scene import COLORS, OBJECTS, Scene, Thing
from florence_rag.training.world.vocabulary import ANSWER_NAMES, Description, color_word, phrase, plural

QuestionType = Literal["colour", "count", "existence", "next-to", "left-right"]

COLOR_TEMPLATES = (
    "What {color} is {it}?",
    "What {color} is {it}?",
    "Which {color} is {it}?",
    "What is the {color} of {it}?",
    "Which {color} does {it} have?",
    "What {color} is {it} in the picture?",
    "Tell me the {color} of {it}.",
    "{it} is what {color}?",
)
WORN_TEMPLATES = (
    "What {color} is {it}?",
    "What {color} is {it} wearing?",
    "What {color} is {it} dressed in?",
    "Which {color} does {it} wear?",
    "Which {color} is worn by {it}?",
    "What is the {color} of the coat of {it}?",
    "What {color} coat does {it} have?",
)
COUNT_TEMPLATES = (
    "How many {things} are there?",
    "How many {things} are in the picture?",
    "How many {things} can you see?",
    "How many {things} does the picture show?",
    "What is the number of {things}?",
    "Count the {things}.",
    "How many {things} are in the street?",
)
EXISTENCE_TEMPLATES = (
    "Is there {it}?",
    "Is there {it} in the picture?",
    "Can you see {it}?",
    "Does the picture show {it}?",
    "Do you see {it} here?",
    "Does the street have {it}?",
)
NEXT_TO_TEMPLATES = (
    "What is next to {it}?",
    "What is beside {it}?",
    "What stands next to {it}?",
    "What is right next to {it}?",
    "What is close to {it}?",
    "Which object is next to {it}?",
    "What can you see beside {it}?",
    "What is {it} next to?",
)
LEFT_RIGHT_TEMPLATES = (
    "Is {it} to the left or to the right of {other}?",
    "Is {it} left or right of {other}?",
    "Is {it} on the left or on the right of {other}?",
    "On which side of {other} is {it}, left or right?",
    "Which side of {other} is {it} on?",
    "Where is {it}, to the left or to the right of {other}?",
    "Does {it} stand to the left or to the right of {other}?",
)

# Chosen so that all counts come about equally often over many scenes: a scene rarely shows four of a kind.
COUNT_WEIGHTS = (1.0, 1.0, 1.3, 8.0, 80.0)


@dataclass(frozen=True, slots=True)
class Question:
    """answer: one of ANSWERS. claim: what the question takes for granted, if anything can be wrong with it."""

    text: str
    answer: str
    type: QuestionType
    claim: Claim | None = None


def questions(scene: Scene, rng: random.Random, n: int) -> list[Question]:
    """n questions, as evenly spread over the types as the scene allows."""
    asked: list[Question] = []
    while len(asked) < n:
        for asker in rng.sample(ASKERS, len(ASKERS)):
            question = asker(scene, rng)
            if question is not None:
                asked.append(question)
    return asked[:n]


def ask_color(scene: Scene, rng: random.Random) -> Question | None:
    """About the only one of its kind, or the only one of its kind that stands in a relation."""
    alone = [thing for thing in scene.things if _is_unique(scene, (thing.object, None))]
    related = [(thing, claim) for thing in scene.things for claim in _identifying(scene, thing)]
    needed = [pair for pair in related if pair[0] not in alone]
    if needed and rng.random() < 0.7:
        related, alone = needed, []
    if related and (not alone or rng.random() < 0.5):
        beside = [pair for pair in related if pair[1].relation == "next to"]
        thing, claim = rng.choice(beside if beside and rng.random() < 0.6 else related)
    elif alone:
        thing = rng.choice(alone)
        claim = Claim((thing.object, None))
    else:
        return None
    return Question(color_question(claim, rng), thing.color, "colour", claim)


def color_question(claim: Claim, rng: random.Random) -> str:
    """A question for the colour of the claim's subject."""
    templates = WORN_TEMPLATES if claim.subject[0] == "person" else COLOR_TEMPLATES
    return _fill(rng, templates, it=noun_phrase(claim, rng, "the"), color=color_word(rng))


def ask_count(scene: Scene, rng: random.Random) -> Question | None:
    """How many of a kind, of a kind in a colour, or of a colour."""
    by_count: dict[int, list[tuple[str | None, str | None]]] = {}
    for name, color in _countable(scene):
        number = sum(name in (None, t.object) and color in (None, t.color) for t in scene.things)
        by_count.setdefault(number, []).append((name, color))
    numbers = [number for number in by_count if number < len(COUNT_WEIGHTS)]
    number = rng.choices(numbers, [COUNT_WEIGHTS[number] for number in numbers])[0]
    name, color = rng.choice(by_count[number])
    things = plural(rng, name, color) if name else f"{color} things"
    return Question(_fill(rng, COUNT_TEMPLATES, things=things), str(number), "count")


def _countable(scene: Scene) -> list[tuple[str | None, str | None]]:
    """(object, colour) with None for any. Combinations only of what is there and its near misses."""
    shown = {thing.object for thing in scene.things}
    both = [(name, color) for name in OBJECTS if name in shown for color in COLORS]
    seen = [pair for pair in both if scene.has_held_out or is_seen(Claim(pair))]
    return [*((name, None) for name in OBJECTS), *((None, color) for color in COLORS), *seen]


def ask_existence(scene: Scene, rng: random.Random) -> Question:
    """Yes and no in equal parts; a no is a near miss."""
    holds = rng.random() < 0.5
    claim = sample_claim(scene, rng, holds)
    return Question(
        _fill(rng, EXISTENCE_TEMPLATES, it=noun_phrase(claim, rng, "a")), "yes" if holds else "no", "existence"
    )


def ask_next_to(scene: Scene, rng: random.Random) -> Question | None:
    """About a thing that can be named and has exactly one neighbour."""
    things = [t for t in scene.things if len(scene.neighbors(t)) == 1 and _references(scene, t)]
    if not things:
        return None
    thing = rng.choice(things)
    claim = Claim(rng.choice(_references(scene, thing)))
    answer = ANSWER_NAMES[scene.neighbors(thing)[0].object]
    return Question(_fill(rng, NEXT_TO_TEMPLATES, it=noun_phrase(claim, rng, "the")), answer, "next-to", claim)


def ask_left_right(scene: Scene, rng: random.Random) -> Question | None:
    """About two things that can be named."""
    named = [(thing, reference) for thing in scene.things for reference in _references(scene, thing)]
    pairs = [(one, other) for one in named for other in named if one[0] is not other[0]]
    if not pairs:
        return None
    (thing, subject), (another, other) = rng.choice(pairs)
    it, that = (f"the {phrase(rng, each)}" for each in (subject, other))
    answer = "left" if thing.slot < another.slot else "right"
    return Question(
        _fill(rng, LEFT_RIGHT_TEMPLATES, it=it, other=that), answer, "left-right", Claim(subject, None, other)
    )


ASKERS: tuple[Callable[[Scene, random.Random], Question | None], ...] = (
    ask_color,
    ask_count,
    ask_existence,
    ask_next_to,
    ask_left_right,
)


def _references(scene: Scene, thing: Thing) -> list[Description]:
    """The descriptions that fit this thing only."""
    options: list[Description] = [(thing.object, None), (thing.object, thing.color)]
    return [each for each in options if _is_unique(scene, each)]


def _is_unique(scene: Scene, description: Description) -> bool:
    name, color = description
    return sum(t.object == name and color in (None, t.color) for t in scene.things) == 1


def _identifying(scene: Scene, thing: Thing) -> list[Claim]:
    """Relations to another nameable thing that only this one of its kind stands in."""
    kind = [t.slot for t in scene.things if t.object == thing.object]
    claims: list[Claim] = []
    for anchor in scene.things:
        if anchor is thing:
            continue
        fitting = {
            "next to": [slot for slot in kind if abs(slot - anchor.slot) == 1],
            "left of": [slot for slot in kind if slot < anchor.slot],
            "right of": [slot for slot in kind if slot > anchor.slot],
        }
        for relation in RELATIONS:
            if fitting[relation] == [thing.slot]:
                claims += [Claim((thing.object, None), relation, each) for each in _references(scene, anchor)]
    return claims


def _fill(rng: random.Random, templates: Sequence[str], **words: str) -> str:
    """A question; now and then typed the lazy way."""
    text = rng.choice(templates).format(**words)
    return text.lower().rstrip("?.") if rng.random() < 0.1 else text[0].upper() + text[1:]
