"""How many false claims the verification of answers catches, on held-out scenes and on invented documents.

python benchmarks/verification.py [--scenes 60] [--documents 60] [--json FILE]

A claim is true of its scene or document, or has one mistake: a color, a number, a side, or an object that is not there.
A mistake is caught if its claim is contradicted. Claims with words that no model knows must be unknown.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.cli.output import stderr
from florence_rag.models.registry import TINY
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import CATEGORIES, COLORS, Scene, SceneObject, sample_scene
from recipes.florence_tiny.synthetic.vocabulary import a, colored, name, plural

NUMBER_WORDS = "no one two three four five".split()
UNKNOWN_CLAIMS = (
    "The {it} is expensive.",
    "There is an umbrella.",
    "The {it} was built in 1990.",
    "Two elephants stand next to the {it}.",
    "The {it} belongs to Anna Berg.",
)
BUILDINGS = "clock tower,town hall,library,shipyard,museum,windmill,theatre,brewery,lighthouse,chapel".split(",")
TOWNS = "Marlo,Venti,Golden Nis,Kobel,Dunwes,Torpim,Raqua,Zelor,Fernvin,Halgo".split(",")
PEOPLE = "Anna Berg,Karl Holm,Mira Lund,Jonas Feld,Ida Storm,Otto Kranz".split(",")
FILLERS = ("Nobody remembers why it was painted again.", "The council met on Tuesdays and wrote everything down.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim about a chunk; `holds` is None if nothing in the chunk can tell."""

    group: str
    text: str
    holds: bool | None
    id: str


def scene_claims(scene: Scene, id: str, rng: random.Random) -> Iterator[Claim]:
    """Yield pairs of a true claim and one with a mistake, and a claim that cannot be judged."""
    obj = rng.choice(scene.objects)
    noun = name(rng, obj.category)
    shown = {each.color for each in scene.objects if each.category == obj.category}
    false_color = rng.choice([color for color in COLORS if color not in shown])
    for color, holds in ((obj.color, True), (false_color, False)):
        yield Claim("color", _color_claim(noun, color, rng), holds, id)
    number = sum(each.category == obj.category for each in scene.objects)
    for count, holds in ((number, True), (rng.choice([n for n in range(1, 5) if n != number]), False)):
        named = noun if count == 1 else plural(rng, obj.category)
        yield Claim("number", f"There {'is' if count == 1 else 'are'} {NUMBER_WORDS[count]} {named}.", holds, id)
    if pair := _ordered_pair(scene, rng):
        one, other = (colored(name(rng, each.category), each.color) for each in pair)
        for side, holds in (("left", True), ("right", False)):
            yield Claim("left or right", f"The {one} is to the {side} of the {other}.", holds, id)
    absent = rng.choice([each for each in CATEGORIES if all(obj.category != each for obj in scene.objects)])
    yield Claim("absent object", f"There is {a(noun)}.", True, id)
    yield Claim("absent object", f"The image shows {a(name(rng, absent))}.", False, id)
    yield Claim("unknown words", rng.choice(UNKNOWN_CLAIMS).format(it=noun), None, id)


def _color_claim(noun: str, color: str, rng: random.Random) -> str:
    if noun == "person":
        return rng.choice((f"The person is wearing {color}.", f"There is a person in {color}."))
    return rng.choice((f"The {noun} is {color}.", f"There is {a(f'{color} {noun}')}.", f"A {color} {noun} is visible."))


def _ordered_pair(scene: Scene, rng: random.Random) -> tuple[SceneObject, SceneObject] | None:
    """Return two objects from left to right that no other object can be mistaken for."""
    alone = [obj for obj in scene.objects if Counter(map(_look, scene.objects))[_look(obj)] == 1]
    return tuple(sorted(rng.sample(alone, 2), key=lambda obj: obj.slot)) if len(alone) > 1 else None  # type: ignore[return-value]


def _look(obj: SceneObject) -> tuple[str, str]:
    return obj.combination


def document(rng: random.Random) -> tuple[str, list[tuple[str, str, bool]]]:
    """Return a passage about a building, and groups of claims about it with whether they hold."""
    building, town, person = rng.choice(BUILDINGS), rng.choice(TOWNS), rng.choice(PEOPLE)
    year, height, rooms = rng.randint(1700, 1990), rng.randint(12, 90), rng.randint(5, 400)
    place = f"the {building} of {town}"
    text = (
        f"{person} built {place} in {year}. {rng.choice(FILLERS)} The {building} is {height} metres high and has "
        f"{rooms} rooms. It was not damaged in the war."
    )
    wrong_year, wrong_height = year + rng.choice((-30, -1, 1, 10)), height + rng.choice((-9, 5, 100))
    claims = [
        ("number in a text", f"T{place[1:]} was built in {year}.", True),
        ("number in a text", f"T{place[1:]} was built in {wrong_year}.", False),
        ("number in a text", f"The {building} is {height} metres high.", True),
        ("number in a text", f"The {building} is {wrong_height} metres high.", False),
        ("number in a text", f"The {building} has {rooms} rooms.", True),
        ("number in a text", f"The {building} has {rooms + rng.choice((1, 20))} rooms.", False),
        ("denial in a text", "It was not damaged in the war.", True),
        ("denial in a text", "It was damaged in the war.", False),
    ]
    return text, claims


def index(rag: FlorenceRAG, scenes: int, documents: int) -> list[Claim]:
    """Store scenes and documents, and return the claims about them."""
    rng = random.Random("verification benchmark")
    streets = [sample_scene(rng, "any") for _ in range(scenes)]
    rag.items.upsert_images([draw_scene(each, (448, 336)) for each in streets], ids=[f"s{i}" for i in range(scenes)])
    written = [document(rng) for _ in range(documents)]
    rag.items.upsert_texts([text for text, _ in written], ids=[f"d{i}" for i in range(documents)])
    claims = [claim for i, scene in enumerate(streets) for claim in scene_claims(scene, f"s{i}", rng)]
    return claims + [Claim(*each, f"d{i}") for i, (_, about) in enumerate(written) for each in about]


def measure(rag: FlorenceRAG, claims: list[Claim]) -> dict[str, dict[str, float]]:
    """Return metrics of each group of claims, and of all."""
    verdicts: dict[str, list[tuple[bool | None, str, float]]] = {}
    for claim in claims:
        (checked,) = rag.verify(claim.text, [claim.id])
        if claim.holds is not None and checked.verdict != ("supported" if claim.holds else "contradicted"):
            stderr().print(f"{checked.verdict}, but it {'holds' if claim.holds else 'is false'}: {claim.text}")
        for group in (claim.group, "all"):
            verdicts.setdefault(group, []).append((claim.holds, checked.verdict, checked.confidence or 0.0))
    return {group: _metrics(rows) for group, rows in verdicts.items()}


def _metrics(rows: list[tuple[bool | None, str, float]]) -> dict[str, float]:
    refuted = [holds for holds, verdict, _ in rows if verdict == "contradicted"]
    supported = [holds for holds, verdict, _ in rows if verdict == "supported"]
    false, true = (sum(holds is value for holds, _, _ in rows) for value in (False, True))
    return {
        "claims": len(rows),
        "precision of contradicted": _share([holds is False for holds in refuted]),
        "recall of mistakes": sum(holds is False for holds in refuted) / false if false else np.nan,
        "precision of supported": _share([holds is True for holds in supported]),
        "recall of true claims": sum(holds is True for holds in supported) / true if true else np.nan,
        "unknown": _share([verdict == "unknown" for _, verdict, _ in rows]),
    }


def _share(values: list[bool]) -> float:
    return float(np.mean(values)) if values else np.nan


def main(
    scenes: Annotated[int, typer.Option(help="Scenes.")] = 60,
    documents: Annotated[int, typer.Option(help="Documents.")] = 60,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print a table."""
    quiet_libraries()
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        FlorenceRAG.open(Path(folder) / "town.db", TINY, ocr="never") as rag,
    ):
        metrics = measure(rag, index(rag, scenes, documents))
    table = Table("", *metrics["all"])
    for group, row in metrics.items():
        values = (
            "" if np.isnan(value) else f"{value:g}" if column == "claims" else f"{value:.3f}"
            for column, value in row.items()
        )
        table.add_row(group, *values)
    Console(width=150).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
