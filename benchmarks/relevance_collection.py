"""A mixed collection of images, pages, clips and texts, with queries that it can and cannot answer.

It has 150 scenes as images, 30 PDF files, 24 videos and 12 texts with invented facts. Some of the queries ask for what
it contains, the others for what it does not: an object in a color that no scene shows, a building that the texts do not
mention in that town, and other topics.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from florence_rag.types import Hit
from recipes.florence_tiny.synthetic.clips import Motion, Shot, write_clip
from recipes.florence_tiny.synthetic.documents import Page, write_pdf
from recipes.florence_tiny.synthetic.drawing import draw_scene
from recipes.florence_tiny.synthetic.scene import COMBINATIONS, SEEN, Combination, Scene, sample_scene
from recipes.florence_tiny.synthetic.statements import Statement, statement_text
from recipes.florence_tiny.synthetic.video_scenes import MOVERS

Combinations = Literal["seen", "any"]
IMAGES, REPORTS, VIDEOS, NOTES, FACTS = 150, 30, 24, 12, 160
ABSENT = 14
"""The number of combinations of color and object that a collection does not show."""
SIZE = (448, 336)
SHOT_S = 1.5
SYLLABLES = "mar lo ven ti ra gol den fer nis ko bel dun hal wes tor pim qua zel or vin".split()
BUILDINGS = (
    "clock tower|town hall|library|bakery|shipyard|museum|harbour wall|school|windmill|theatre|ferry landing|bath house"
    "|brewery|observatory|rope factory|post office|market hall|lighthouse|chapel|granary"
).split("|")
GOODS = "rye bread|copper kettles|wooden boats|sea charts|honey cakes|wool coats|paper lanterns|brass bells".split("|")
FILLERS = (
    "The weather was mild and the streets were quiet.",
    "Nobody remembers why it was painted again.",
    "The council met on Tuesdays and wrote everything down.",
    "A small stone marks the place.",
    "Music was heard until late in the evening.",
)
FACT_QUERIES = (
    "who built the {building} of {town}?",
    "{building} of {town}",
    "when was the {building} of {town} opened",
    "{town} {building}",
    "the {building} in {town}",
)
PERSON_QUERIES = ("what did {person} build?", "{person}", "{person} architect")
OTHER_TOPICS = {
    "training": """
        asdf | quantum banana zebra | thanks! | summer street fair | a piano | two elephants in the snow |
        invoice 2023 | mountains at sunset | a plate of spaghetti | people dancing at a wedding | a red
        guitar | the blue mountain | how do I reset my password | a green apple on a table | xkcd qwerty |
        what time is it | birthday cake with candles | a train at a station | hello | never mind | the
        president of France | a yellow taxi cab in the rain | list all files | white noise | football match
        results
    """,
    "held-out": """
        qwerty | purple monkey dishwasher theory | thank you so much | annual general meeting | a violin | a
        lion hunting in the savannah | receipt from March | a beach in summer | a bowl of soup | children
        playing chess | an orange balloon | the red planet | how can I cancel my order | a glass of white
        wine | zzzz | how are you | a christmas tree with presents | an aeroplane above clouds | good
        morning | stop it | the capital of Peru | a black cat on a roof | delete everything | green energy
        policy | tennis tournament winner | a cat | a sheep in a field | passport renewal form | lorem ipsum
        | yes please
    """,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A query with the places that answer it: a file, and its page, its shot or a sentence."""

    group: str
    text: str
    places: frozenset[tuple[str, object]] = frozenset()

    def is_answered_by(self, hit: Hit) -> bool:
        name, place = Path(hit.source).name, hit.locator
        if hit.kind == "text":
            return any(file == name and str(sentence) in hit.text for file, sentence in self.places)
        if hit.kind == "clip":
            return (name, ((place.start_s or 0) + (place.end_s or 0)) / 2 >= SHOT_S) in self.places
        return (name, place.page) in self.places


@dataclass(frozen=True, slots=True)
class Fact:
    """An invented building of an invented town."""

    building: str
    town: str
    person: str
    sentence: str


class Collection:
    """A mixed collection in a folder, with queries that it can and cannot answer."""

    def __init__(self, folder: Path, seed: str, combinations: Combinations) -> None:
        self.folder, self.rng, self.combinations = folder, random.Random(seed), combinations
        self.pool = sorted(SEEN if combinations == "seen" else COMBINATIONS)
        self.absent = sorted(self.rng.sample(self.pool, ABSENT))
        self.scenes: dict[tuple[str, object], Scene] = {}
        self.movers: dict[tuple[str, object], Combination] = {}
        self.towns = [self._name() for _ in range(16)]
        buildings = self.rng.sample(BUILDINGS, len(BUILDINGS))
        self.buildings, self.other_buildings = buildings[:15], buildings[15:]
        pairs = [(building, town) for building in self.buildings for town in self.towns]
        self.rng.shuffle(pairs)
        self.unknown = pairs[FACTS:]
        written = self._write([self._fact(*pair) for pair in pairs[:FACTS]])
        self.facts = {(file, place): fact for file, place, fact in written}

    def _name(self) -> str:
        return "".join(self.rng.sample(SYLLABLES, self.rng.choice((2, 3)))).capitalize()

    def _fact(self, building: str, town: str) -> Fact:
        person, year = f"{self._name()} {self._name()}", self.rng.randint(1700, 1990)
        sentence = self.rng.choice(
            (
                f"The {building} of {town} was built by {person} in {year}.",
                f"In {year} {person} opened the {building} of {town}, which sells {self.rng.choice(GOODS)} today.",
                f"Visitors of {town} like the {building}; the architect was {person}, and it was finished in {year}.",
            )
        )
        return Fact(building, town, person, sentence)

    def _scene(self, file: str, place: object) -> Scene:
        """Sample a scene without the absent combinations, and remember where it is shown."""
        while True:
            scene = sample_scene(self.rng, self.combinations)
            if not any(obj.combination in self.absent for obj in scene.objects):
                self.scenes[file, place] = scene
                return scene

    def _motion(self, file: str, place: object) -> Motion | None:
        """Sample an object that passes in half of the shots, and remember where."""
        if self.rng.random() < 0.5:
            return None
        color, name = self.movers[file, place] = self.rng.choice(
            [each for each in self.pool if each[1] in MOVERS and each not in self.absent]
        )
        return Motion(name, color, self.rng.choice(("left", "right")))

    def _write(self, facts: Sequence[Fact]) -> Iterator[tuple[str, object, Fact]]:
        """Write all files, and yield where each fact stands."""
        for number in range(IMAGES):
            name = f"photo-{number:03}.jpg"
            draw_scene(self._scene(name, None), SIZE).save(self.folder / name, quality=88)
        for number in range(VIDEOS):
            name = f"video-{number:02}.mp4"
            shots = [Shot(self._scene(name, later), SHOT_S, self._motion(name, later)) for later in (False, True)]
            write_clip(self.folder / name, shots, fps=8, size=(320, 240))
        remaining = iter(facts)
        for number in range(REPORTS):
            name, pages = f"report-{number:02}.pdf", []
            for page, fact in zip((1, 2), remaining, strict=False):
                lines = (fact.sentence, *self.rng.sample(FILLERS, 2))
                pages.append(Page(f"Report {number}, part {page}", lines, draw_scene(self._scene(name, page), SIZE)))
                yield name, page, fact
            write_pdf(self.folder / name, pages)
        rest = list(remaining)
        for number in range(NOTES):
            name, some = f"notes-{number:02}.txt", rest[number::NOTES]
            (self.folder / name).write_text("\n\n".join(map(self._paragraph, some)), encoding="utf-8")
            yield from ((name, fact.sentence, fact) for fact in some)

    def _paragraph(self, fact: Fact) -> str:
        before, *after = self.rng.sample(FILLERS, 3)
        return f"About {fact.town}\n\n{before} {fact.sentence} {' '.join(after)}"

    def queries(self, topics: str) -> list[Query]:
        """Return queries of all groups; those whose subject is absent have no places."""
        known = self.rng.sample(list(self.facts.items()), 130)
        unknown = self.rng.sample(self.unknown, 40)
        unheard = [(self.rng.choice(self.other_buildings), self._name()) for _ in range(40)]
        return [
            *self._statements("object", 100, paired=False, present=True),
            *self._statements("mover", 30, paired=False, present=True),
            *self._statements("pair", 60, paired=True, present=True),
            *(self._ask("fact", FACT_QUERIES, fact, place) for place, fact in known[:100]),
            *(self._ask("person", PERSON_QUERIES, fact, place) for place, fact in known[100:]),
            *self._statements("absent object", 80, paired=False, present=False),
            *self._statements("absent pair", 40, paired=True, present=False),
            *(self._ask("absent fact", FACT_QUERIES, Fact(*pair, "", "")) for pair in unknown),
            *(self._ask("unknown town", FACT_QUERIES, Fact(*pair, "", "")) for pair in unheard),
            *(Query("other topic", text) for text in " ".join(OTHER_TOPICS[topics].split()).split(" | ")),
        ]

    def _ask(self, group: str, forms: Sequence[str], fact: Fact, *places: tuple[str, object]) -> Query:
        text = self.rng.choice(forms).format(building=fact.building, town=fact.town, person=fact.person)
        return Query(group, text, frozenset(places))

    def _statements(self, group: str, count: int, *, paired: bool, present: bool) -> Iterator[Query]:
        while count:
            statement = self._mover() if group == "mover" else self._statement(paired, present)
            places = self._places(statement) if statement else frozenset()
            if statement and bool(places) == present:
                yield Query(group, statement_text(statement, self.rng), places)
                count -= 1

    def _places(self, statement: Statement) -> frozenset[tuple[str, object]]:
        shown = [place for place, scene in self.scenes.items() if statement.holds(scene)]
        return frozenset([*shown, *(place for place, each in self.movers.items() if statement == _single(each))])

    def _mover(self) -> Statement:
        return _single(self.rng.choice(list(self.movers.values())))

    def _statement(self, paired: bool, present: bool) -> Statement | None:
        one, other = self.rng.choice(self.absent), self.rng.choice(self.pool)
        if present:
            scene = self.rng.choice(list(self.scenes.values()))
            obj = self.rng.choice(scene.objects)
            neighbors = scene.neighbors(obj)
            if paired and not neighbors:
                return None
            one, other = obj.combination, self.rng.choice(neighbors or (obj,)).combination
        return Statement(_described(one), "next to", _described(other)) if paired else _single(one)


def _single(combination: Combination) -> Statement:
    return Statement(_described(combination))


def _described(combination: Combination) -> tuple[str, str]:
    color, name = combination
    return name, color
