"""Names of objects and relations in British and American English, and the grammar that sentences need."""

from __future__ import annotations

import random

from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS

NAMES: dict[str, tuple[str, ...]] = {
    "bicycle": ("bicycle", "bicycle", "bike"),
    "hydrant": ("fire hydrant", "fire hydrant", "hydrant"),
    "sign": ("sign", "sign", "street sign"),
}
"""Synonyms, the usual one more often; a category that is not listed has only its own name."""

ANSWER_NAMES: dict[str, str] = {name: NAMES.get(name, (name,))[0] for name in CATEGORIES}

ANSWERS: tuple[str, ...] = (
    *COLORS,
    *("0", "1", "2", "3", "4"),
    *("yes", "no"),
    *("left", "right"),
    *(ANSWER_NAMES[name] for name in CATEGORIES),
)
"""Every answer that a question about a scene can have."""

Description = tuple[str, str | None]
"""(category, color), or (category, None) for any color"""

NEXT_TO = ("next to", "next to", "beside", "close to", "right next to", "alongside")
LEFT_OF = ("left of", "to the left of", "on the left of", "to the left of")
RIGHT_OF = ("right of", "to the right of", "on the right of", "to the right of")
VEHICLES = frozenset({"car", "bus", "bicycle"})


def name(rng: random.Random, of: str) -> str:
    return rng.choice(NAMES.get(of, (of,)))


def plural(rng: random.Random, of: str, color: str | None = None) -> str:
    """Return a plural such as "red cars" or "cars"."""
    words = {"person": "people", "bus": "buses"}.get(of) or name(rng, of) + "s"
    return colored(words, color, _wearing(rng)) if color else words


def phrase(rng: random.Random, description: Description) -> str:
    """Return a phrase such as "red car" or "car"."""
    of, color = description
    return colored(name(rng, of), color, _wearing(rng)) if color else name(rng, of)


def colored(words: str, color: str, wearing: str = "in") -> str:
    """Return "red car", but "person in red": the color of a person is that of the coat."""
    return f"{words} {wearing} {color}" if words in ("person", "people") else f"{color} {words}"


def _wearing(rng: random.Random) -> str:
    return rng.choice(("in", "in", "wearing"))


def a(words: str) -> str:
    """Return the words with their indefinite article."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def next_to(rng: random.Random, subject: str) -> str:
    """Return a phrase for "next to"; vehicles may be parked there, other objects stand there."""
    if rng.random() < 0.5:
        return rng.choice(NEXT_TO)
    verb = "parked" if subject in VEHICLES else "standing"
    return f"{verb} {rng.choice((*NEXT_TO, 'by'))}"


def left_of(rng: random.Random) -> str:
    return rng.choice(LEFT_OF)


def right_of(rng: random.Random) -> str:
    return rng.choice(RIGHT_OF)


def color_word(rng: random.Random) -> str:
    return rng.choice(("colour", "color"))
