"""Questions that a scene answers in exactly one way, balanced over their types and answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, Scene, SceneObject
from recipes.florence_tiny.synthetic.statements import RELATIONS, Statement, is_seen, noun_phrase, sample_statement
from recipes.florence_tiny.synthetic.vocabulary import ANSWER_NAMES, Description, color_word, phrase, plural

QuestionType = Literal["color", "count", "existence", "next-to", "left-right"]

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
    "How many {objects} are there?",
    "How many {objects} are in the picture?",
    "How many {objects} can you see?",
    "How many {objects} does the picture show?",
    "What is the number of {objects}?",
    "Count the {objects}.",
    "How many {objects} are in the street?",
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

# All counts are about equally frequent over many scenes, although a scene rarely shows four objects of a category.
COUNT_WEIGHTS = (1.0, 1.0, 1.3, 8.0, 80.0)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its answer, one of ANSWERS, and the statement that it presupposes, if there is one."""

    text: str
    answer: str
    type: QuestionType
    statement: Statement | None = None


def questions(scene: Scene, rng: random.Random, n: int) -> list[Question]:
    """Sample n questions, spread over the types as evenly as the scene allows."""
    sampled: list[Question] = []
    while len(sampled) < n:
        for ask in rng.sample(QUESTION_TYPES, len(QUESTION_TYPES)):
            question = ask(scene, rng)
            if question is not None:
                sampled.append(question)
    return sampled[:n]


def ask_color(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the color of the only object of a category, or of the only one in a relation to another object."""
    alone = [obj for obj in scene.objects if _is_unique(scene, (obj.category, None))]
    related = [(obj, statement) for obj in scene.objects for statement in _identifying(scene, obj)]
    needed = [pair for pair in related if pair[0] not in alone]
    if needed and rng.random() < 0.7:
        related, alone = needed, []
    if related and (not alone or rng.random() < 0.5):
        adjacent = [pair for pair in related if pair[1].relation == "next to"]
        obj, statement = rng.choice(adjacent if adjacent and rng.random() < 0.6 else related)
    elif alone:
        obj = rng.choice(alone)
        statement = Statement((obj.category, None))
    else:
        return None
    return Question(color_question(statement, rng), obj.color, "color", statement)


def color_question(statement: Statement, rng: random.Random) -> str:
    """Return a question for the color of the subject of a statement."""
    templates = WORN_TEMPLATES if statement.subject[0] == "person" else COLOR_TEMPLATES
    return _fill(rng, templates, it=noun_phrase(statement, rng, "the"), color=color_word(rng))


def ask_count(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the number of objects of a category, of a color, or of both."""
    by_count: dict[int, list[tuple[str | None, str | None]]] = {}
    for name, color in _countable(scene):
        number = sum(name in (None, t.category) and color in (None, t.color) for t in scene.objects)
        by_count.setdefault(number, []).append((name, color))
    numbers = [number for number in by_count if number < len(COUNT_WEIGHTS)]
    number = rng.choices(numbers, [COUNT_WEIGHTS[number] for number in numbers])[0]
    name, color = rng.choice(by_count[number])
    objects = plural(rng, name, color) if name else f"{color} things"
    return Question(_fill(rng, COUNT_TEMPLATES, objects=objects), str(number), "count")


def _countable(scene: Scene) -> list[tuple[str | None, str | None]]:
    """Return (category, color), with None for any; combinations are limited to categories that the scene shows."""
    shown = {obj.category for obj in scene.objects}
    both = [(name, color) for name in CATEGORIES if name in shown for color in COLORS]
    seen = [pair for pair in both if scene.has_held_out or is_seen(Statement(pair))]
    return [*((name, None) for name in CATEGORIES), *((None, color) for color in COLORS), *seen]


def ask_existence(scene: Scene, rng: random.Random) -> Question:
    """Ask whether the scene shows something; half of the answers are no, of near misses."""
    holds = rng.random() < 0.5
    statement = sample_statement(scene, rng, holds)
    return Question(
        _fill(rng, EXISTENCE_TEMPLATES, it=noun_phrase(statement, rng, "a")), "yes" if holds else "no", "existence"
    )


def ask_next_to(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the neighbor of an object that is unique and has exactly one neighbor."""
    objects = [t for t in scene.objects if len(scene.neighbors(t)) == 1 and _references(scene, t)]
    if not objects:
        return None
    obj = rng.choice(objects)
    statement = Statement(rng.choice(_references(scene, obj)))
    answer = ANSWER_NAMES[scene.neighbors(obj)[0].category]
    return Question(_fill(rng, NEXT_TO_TEMPLATES, it=noun_phrase(statement, rng, "the")), answer, "next-to", statement)


def ask_left_right(scene: Scene, rng: random.Random) -> Question | None:
    """Ask for the order of two unique objects."""
    named = [(obj, reference) for obj in scene.objects for reference in _references(scene, obj)]
    pairs = [(one, other) for one in named for other in named if one[0] is not other[0]]
    if not pairs:
        return None
    (obj, subject), (another, other) = rng.choice(pairs)
    it, that = (f"the {phrase(rng, each)}" for each in (subject, other))
    answer = "left" if obj.slot < another.slot else "right"
    return Question(
        _fill(rng, LEFT_RIGHT_TEMPLATES, it=it, other=that), answer, "left-right", Statement(subject, None, other)
    )


QUESTION_TYPES: tuple[Callable[[Scene, random.Random], Question | None], ...] = (
    ask_color,
    ask_count,
    ask_existence,
    ask_next_to,
    ask_left_right,
)


def _references(scene: Scene, obj: SceneObject) -> list[Description]:
    """Return the descriptions that match only this object."""
    options: list[Description] = [(obj.category, None), (obj.category, obj.color)]
    return [each for each in options if _is_unique(scene, each)]


def _is_unique(scene: Scene, description: Description) -> bool:
    name, color = description
    return sum(t.category == name and color in (None, t.color) for t in scene.objects) == 1


def _identifying(scene: Scene, obj: SceneObject) -> list[Statement]:
    """Return the statements about relations that hold for only this object of its category."""
    kind = [t.slot for t in scene.objects if t.category == obj.category]
    statements: list[Statement] = []
    for anchor in scene.objects:
        if anchor is obj:
            continue
        fitting = {
            "next to": [slot for slot in kind if abs(slot - anchor.slot) == 1],
            "left of": [slot for slot in kind if slot < anchor.slot],
            "right of": [slot for slot in kind if slot > anchor.slot],
        }
        for relation in RELATIONS:
            if fitting[relation] == [obj.slot]:
                statements += [Statement((obj.category, None), relation, each) for each in _references(scene, anchor)]
    return statements


def _fill(rng: random.Random, templates: Sequence[str], **words: str) -> str:
    """Fill in a random template; one in ten questions is in lower case and without punctuation."""
    text = rng.choice(templates).format(**words)
    return text.lower().rstrip("?.") if rng.random() < 0.1 else text[0].upper() + text[1:]
