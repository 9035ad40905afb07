"""Generates the inputs of fuzz.py: texts of the words of a grammar, and values of JSON that hold them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

LONG = 100_000
_ODD = (
    "\0 \n \r \t \x1b \x85 \u2028 \u200b \u202e \u0301 \ufeff \ufffd \ud800 \udfff \U0001f600 \u00e9 \u0130 \u00df "
    "\ufb01 \u4eac \u1100 \u0e01 \u0627 \u0663 \u00b2 \u2460 ' \" \\ % # & ; , . : / < > [ ] { } ( ) - + = ? * ! 0 9 "
    "a A _"
).split(" ")


def generate(words: list[str], random: Random) -> str:
    """Return one input: a sequence of words of the grammar, with mutations."""
    pick = [*words, *words, *_ODD, str(random.choice((0, -1, 2**31, 2**63, 10**400, 1.5, 1e-9, 1e999)))]
    if random.random() < 1 / 40:  # a short unit, many times, perhaps between other words
        unit = "".join(random.choices(pick, k=random.randint(1, 3)))
        ends = ["".join(random.choices(pick, k=random.randint(0, 4))) for _ in range(2)]
        return (ends[0] + unit * (LONG // max(len(unit), 1)))[:LONG] + ends[1]
    text = "".join(random.choices(pick, k=int(random.expovariate(1 / 12)) + 1))
    for _ in range(random.choice((0, 0, 1, 3))):
        position, length = random.randrange(len(text) + 1), random.randint(0, 8)
        insert = random.choice((*_ODD, text[position : position + length] * random.randint(1, 20)))
        text = text[:position] + insert + text[position + random.randint(0, length) :]
    return text


def value(random: Random, words: list[str], depth: int = 0) -> Any:
    """Return a value of JSON, whose keys and texts are words of the grammar."""
    kind = random.random()
    if depth > 4 or kind < 0.5:
        numbers = (0, 1, -1, 2**63, 2**70, 0.5, math.nan, math.inf, None, True)
        return random.choice((random.choice(words), random.choice(_ODD), random.choice(numbers)))
    if kind < 0.7:
        return [value(random, words, depth + 1) for _ in range(random.randint(0, 4))]
    keys = (random.choice((*words, *words, *_ODD)) for _ in range(random.randint(0, 4)))
    return {key: value(random, words, depth + 1) for key in keys}
