"""Statements about a scene, their text, and a fast check of many statements in many scenes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, HELD_OUT, Scene, SceneObject
from recipes.florence_tiny.synthetic.vocabulary import Description, a, left_of, next_to, phrase, right_of

Relation = Literal["next to", "left of", "right of"]
Article = Literal["a", "the", ""]

RELATIONS: tuple[Relation, ...] = ("next to", "left of", "right of")


@dataclass(frozen=True, slots=True)
class Statement:
    """The statement that the scene shows a `subject`, in a `relation` to an `other` object if one is given.

    With `other` but without `relation`, both objects are in the scene.
    "left of" and "right of" hold at any distance, "next to" only in adjacent slots.
    """

    subject: Description
    relation: Relation | None = None
    other: Description | None = None

    def __post_init__(self) -> None:
        if self.relation and not self.other:
            raise ValueError(f"a statement with relation {self.relation!r} needs another object")

    def holds(self, scene: Scene) -> bool:
        found = _slots(scene, self.subject)
        if not found or self.other is None:
            return bool(found)
        others = _slots(scene, self.other)
        if not others:
            return False
        if self.relation == "next to":
            return any(one - another in (-1, 1) for one in found for another in others)
        if self.relation == "left of":
            return found[0] < others[-1]
        if self.relation == "right of":
            return found[-1] > others[0]
        return len(found) > 1 or len(others) > 1 or found != others

    @property
    def descriptions(self) -> tuple[Description, ...]:
        return (self.subject,) if self.other is None else (self.subject, self.other)


def _slots(scene: Scene, description: Description) -> list[int]:
    """Return the slots of the objects that match a description, from left to right."""
    name, color = description
    return [t.slot for t in scene.objects if t.category == name and (color is None or t.color == color)]


def truth_table(statements: Sequence[Statement], scenes: Sequence[Scene]) -> np.ndarray:
    """Return (statements, scenes) bool: whether each statement holds, much faster than Statement.holds."""
    masks = _slot_masks(scenes)
    found = masks[[_index(statement.subject) for statement in statements]]
    others = masks[[_index(statement.other or statement.subject) for statement in statements]]
    adjacent = ((found << 1) | (found >> 1)) & others != 0
    together = (found != 0) & (others != 0) & ((found != others) | (found != found & -found))
    left, right = others & _above_lowest(found) != 0, found & _above_lowest(others) != 0
    kinds = np.array([_KIND_INDEX[statement.relation, statement.other is not None] for statement in statements])[
        :, None
    ]
    table: np.ndarray = np.choose(kinds, [found != 0, together, adjacent, left, right])
    return table


def _above_lowest(masks: np.ndarray) -> np.ndarray:
    """Return masks with all bits above the lowest set bit; 0 where no bit is set."""
    lowest: np.ndarray = masks & -masks
    above: np.ndarray = ~(lowest | (lowest - 1))
    return above


_KIND_INDEX: dict[tuple[Relation | None, bool], int] = {
    (None, False): 0,
    (None, True): 1,
    ("next to", True): 2,
    ("left of", True): 3,
    ("right of", True): 4,
}
_ANY = len(COLORS)


def _index(description: Description) -> int:
    name, color = description
    return CATEGORIES.index(name) * (_ANY + 1) + (_ANY if color is None else COLORS.index(color))


def _slot_masks(scenes: Sequence[Scene]) -> np.ndarray:
    """Return (descriptions, scenes) int16: bit s is set if slot s holds such an object."""
    masks = np.zeros((len(CATEGORIES) * (_ANY + 1), len(scenes)), np.int16)
    for column, scene in enumerate(scenes):
        for obj in scene.objects:
            bit = 1 << obj.slot
            masks[_index((obj.category, obj.color)), column] |= bit
            masks[_index((obj.category, None)), column] |= bit
    return masks


def statement_text(statement: Statement, rng: random.Random) -> str:
    """Return a statement as a person would type it into a search box."""
    words = noun_phrase(statement, rng, _article(rng))
    return rng.choice(("{}", "{}", "{}", "{}", "a picture of {}", "a photo of {}", "a street with {}")).format(words)


def _article(rng: random.Random) -> Article:
    roll = rng.random()
    return "a" if roll < 0.6 else "the" if roll < 0.8 else ""


def noun_phrase(statement: Statement, rng: random.Random, article: Article) -> str:
    """Return a phrase such as "a red car parked next to a fire hydrant"."""
    subject, *rest = (_with_article(phrase(rng, each), article) for each in statement.descriptions)
    if not rest:
        return subject
    relation = {
        "next to": next_to(rng, statement.subject[0]),
        "left of": left_of(rng),
        "right of": right_of(rng),
        None: rng.choice(("and", "and", "with")),
    }[statement.relation]
    return f"{subject} {relation} {rest[0]}"


def _with_article(words: str, article: Article) -> str:
    return a(words) if article == "a" else f"{article} {words}".strip()


def sample_statement(scene: Scene, rng: random.Random, holds: bool) -> Statement:
    """Sample a statement that holds in the scene, or a near miss that does not.

    Combinations held out from training are named only for scenes that show one themselves.
    """
    while True:
        statement = _true_statement(scene, rng)
        if not holds:
            statement = _corrupt(statement, scene, rng)
        allowed = (scene.has_held_out or is_seen(statement)) and not _is_ambiguous(statement)
        if allowed and statement.holds(scene) == holds:
            return statement


def _true_statement(scene: Scene, rng: random.Random) -> Statement:
    """Sample a true statement about one object or a pair; it does not always name the colors."""
    obj = rng.choice(scene.objects)
    others = [other for other in scene.objects if other is not obj]
    if not others or rng.random() < 0.3:
        return Statement(_describe(obj, rng, 0.75))
    neighbors = scene.neighbors(obj)
    other = rng.choice(neighbors if neighbors and rng.random() < 0.6 else others)
    options: list[Relation | None] = [None, "left of" if obj.slot < other.slot else "right of"]
    if other in neighbors:
        options += ["next to"] * 3
    return Statement(_describe(obj, rng, 0.6), rng.choice(options), _describe(other, rng, 0.5))


def _describe(obj: SceneObject, rng: random.Random, colored: float) -> Description:
    return obj.category, obj.color if rng.random() < colored else None


def _corrupt(statement: Statement, scene: Scene, rng: random.Random) -> Statement:
    """Return a statement one step away: another or swapped colors, another object, relation or partner."""
    subject, other = statement.subject, statement.other
    swap = rng.random()
    if other is not None and swap < 0.3:
        partner = rng.choice(scene.objects)
        return Statement(subject, rng.choice(RELATIONS), rng.choice((other, (partner.category, partner.color))))
    if other is not None and swap < 0.5:
        return Statement((subject[0], other[1]), statement.relation, (other[0], subject[1]))
    if other is not None and swap < 0.65:
        return Statement(subject, statement.relation, _near_miss(other, scene, rng))
    return Statement(_near_miss(subject, scene, rng), statement.relation, other)


def _near_miss(description: Description, scene: Scene, rng: random.Random) -> Description:
    """Return mostly the right category in a wrong color, often one of another object of the scene."""
    name, color = description
    if rng.random() < 0.3:
        return rng.choice(CATEGORIES), color
    present = [obj.color for obj in scene.objects if obj.color != color]
    return name, rng.choice(present if present and rng.random() < 0.6 else COLORS)


def _is_ambiguous(statement: Statement) -> bool:
    """Return whether a statement such as "a car and a red car" does not say whether these are two objects."""
    if statement.relation is not None or statement.other is None:
        return False
    (name, color), (other, other_color) = statement.subject, statement.other
    return name == other and (color == other_color or None in (color, other_color))


def is_seen(statement: Statement) -> bool:
    """Return whether a statement names no combination that is held out from training."""
    return all(color is None or (color, name) not in HELD_OUT for name, color in statement.descriptions)
