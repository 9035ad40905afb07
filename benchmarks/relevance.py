"""Ranking, calibration and false alarms of relevance, on held-out collections of images, pages, clips and texts.

    python benchmarks/relevance.py [--corpora 1] [--json FILE]
    python benchmarks/relevance.py --fit

Each collection has 150 scenes as images, 30 PDF files, 24 videos and 12 texts with invented facts. Some of the queries
ask for what it contains, the others for what it does not: an object in a color that no scene shows, a building that the
texts do not mention in that town, and other topics. `--fit` prints calibrations from collections of training scenes;
the benchmark measures them on other scenes, towns and topics, with combinations of color and object that the embedder
was trained on, and with all.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from florence_rag import FlorenceRAG
from florence_rag.answering.base import match_images
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.embedding.everyday_texts import embed_everyday_texts
from florence_rag.models.registry import TINY
from florence_rag.retrieval.evidence import QueryTerms
from florence_rag.retrieval.question_subject import subject_of
from florence_rag.retrieval.relevance import PRIOR_ROWS, calibration_of, unknown_share, weigh_terms
from florence_rag.retrieval.retriever import VISUAL_KINDS, Retriever
from florence_rag.types import KINDS, Hit
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
FALSE_ALARMS = 0.05
DEPTH, JUDGED, TOP, FITTED, BINS = 20, 8, 5, 3, 10
SIZES = (1, 3, 10, 30, 100, 150)
"""The numbers of chunks of the parts of a collection to which cosines are fitted."""
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


class RankRetriever(Retriever):
    """A retriever that fuses by rank, as if the embedder were not calibrated."""

    @property
    def is_calibrated(self) -> bool:
        return False


Search = Callable[[str], list[Hit]]


def matched(rag: FlorenceRAG, text: str) -> list[Hit]:
    """Return hits by relevance, as answers and tools judge them: the matcher has seen the images of the first eight."""
    hits = rag.search(text, k=DEPTH, group=False)
    judged = match_images(hits[:JUDGED], text, rag.models.matcher, rag.context.images.frames)
    return sorted([*judged, *hits[JUDGED:]], key=lambda hit: -(hit.relevance or 0.0))


def plain_rrf(rag: FlorenceRAG, text: str) -> list[Hit]:
    """Fuse the nearest vectors of all kinds with BM25 by reciprocal rank fusion, with its usual constant 60."""
    lists = [rag.index.search_vector(rag.retriever.embed_query(text), DEPTH), rag.index.search_bm25(text, DEPTH)]
    hits = {hit.id: hit for found in lists for hit in found}
    scores = dict.fromkeys(hits, 0.0)
    for found in lists:
        for rank, hit in enumerate(found, start=1):
            scores[hit.id] += 1 / (60 + rank)
    return sorted((replace(hit, score=scores[id]) for id, hit in hits.items()), key=lambda hit: -hit.score)


def concatenation(rag: FlorenceRAG, text: str) -> list[Hit]:
    """Return the nearest texts, then the nearest images, as LlamaIndex's MultiModalVectorIndexRetriever does."""
    vector = rag.retriever.embed_query(text)
    texts = rag.index.search_vector(vector, TOP, kinds={"text"})
    return [*texts, *rag.index.search_vector(vector, DEPTH, kinds=VISUAL_KINDS)]


def measure(queries: Sequence[Query], search: Search, measured: Callable[[Hit], float]) -> dict[str, float]:
    """Return the metrics of one way to search, whose hits are judged by what `measured` returns."""
    found = [search(query.text) for query in queries]
    right = np.zeros((len(queries), DEPTH), bool)
    values = np.full((len(queries), DEPTH), -np.inf)
    for row, (query, hits) in enumerate(zip(queries, found, strict=True)):
        right[row, : len(hits)] = [query.is_answered_by(hit) for hit in hits[:DEPTH]]
        values[row, : len(hits)] = [measured(hit) for hit in hits[:DEPTH]]
    present = np.array([bool(query.places) for query in queries])
    threshold = float(np.quantile(values[~present, :TOP].max(axis=1), 1 - FALSE_ALARMS))
    top = right[:, :TOP]
    kept: np.ndarray = (top & (values[:, :TOP] > threshold)).any(axis=1)
    found_right: np.ndarray = top.any(axis=1)
    discount = 1 / np.log2(np.arange(10) + 2)
    ideal = np.array([discount[: len(query.places)].sum() for query in queries])
    metrics = {
        "R@1": right[present, 0].mean(),
        "nDCG@10": ((right[:, :10] * discount).sum(axis=1)[present] / ideal[present]).mean(),
        "right hit kept at 5 % false alarms": kept[found_right].mean(),
        "threshold": threshold,
        "ECE of first hits": calibration_error(values[:, 0], right[:, 0]),
        "ECE of five hits": calibration_error(values[:, :TOP].ravel(), top.ravel()),
    }
    groups = np.array([query.group for query in queries])
    for group in dict.fromkeys(groups):
        of_group = groups == group
        if present[of_group].any():
            of_found = kept[of_group & found_right]
            metrics[f"kept, {group}"] = of_found.mean() if len(of_found) else float("nan")
        else:
            metrics[f"false alarms, {group}"] = (values[of_group, :TOP].max(axis=1) > threshold).mean()
    return {name: float(value) for name, value in metrics.items()}


def calibration_error(values: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error over ten bins; NaN if the values are no probabilities."""
    known = np.isfinite(values)
    values, right = values[known], right[known]
    if not len(values) or values.min() < 0 or values.max() > 1:
        return float("nan")
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    gaps = [abs(float(values[bins == i].sum() - right[bins == i].sum())) for i in range(BINS)]
    return sum(gaps) / len(values)


def compare(folder: Path, seed: str, combinations: Combinations) -> dict[str, dict[str, float]]:
    """Measure all ways to search one held-out collection."""
    with indexed(folder, seed, combinations) as (rag, collection):
        queries = collection.queries("held-out")
        by_rank = RankRetriever(rag.context)
        return {
            "relevance": measure(queries, lambda text: rag.search(text, k=DEPTH, group=False), _relevance),
            "with the matcher": measure(queries, lambda text: matched(rag, text), _relevance),
            "fusion by rank": measure(queries, lambda text: by_rank.search(text, k=DEPTH, group=False), _score),
            "plain RRF": measure(queries, lambda text: plain_rrf(rag, text), _score),
            "texts, then images": measure(queries, lambda text: concatenation(rag, text), _score),
        }


def _relevance(hit: Hit) -> float:
    return hit.relevance or 0.0


def _score(hit: Hit) -> float:
    return hit.score


@contextmanager
def indexed(folder: Path, seed: str, combinations: Combinations) -> Iterator[tuple[FlorenceRAG, Collection]]:
    """Write and index a collection."""
    files = folder / seed
    files.mkdir()
    collection = Collection(files, seed, combinations)
    with FlorenceRAG.open(folder / f"{seed}.db", TINY, ocr="never", captioner="never") as rag:
        report = rag.add(files)
        assert not report.failed, report.failed
        yield rag, collection


def fit(folder: Path, count: int) -> dict[str, list[float]]:
    """Return the weights and the offset of logistic regressions over training scenes, for cosines and for terms.

    Cosines are fitted on the first three hits of each query, from among which a user chooses.
    """
    rows: dict[str, list[tuple[list[float], bool]]] = {"image": [], "clip": [], "terms": []}
    for number in range(count):
        with indexed(folder, f"training {number}", "seen") as (rag, collection):
            chunks = {kind: list(rag.index.find(kinds={kind})) for kind in KINDS}
            vectors = {kind: rag.index.vectors([hit.id for hit in chunks[kind]]) for kind in KINDS}
            for query in collection.queries("training"):
                for kind in ("image", "clip"):
                    rows[kind] += cosine_rows(rag, query, chunks[kind], vectors[kind])
                rows["terms"] += term_rows(rag, query)
    fitted = {}
    for name, examples in rows.items():
        features = np.array([feature for feature, _ in examples])
        scaler = StandardScaler().fit(features)
        model = LogisticRegression(C=100).fit(scaler.transform(features), [right for _, right in examples])
        weights = model.coef_[0] / scaler.scale_
        fitted[name] = [*weights.round(2).tolist(), round(float(model.intercept_[0] - weights @ scaler.mean_), 2)]
    return fitted


def cosine_rows(
    rag: FlorenceRAG, query: Query, hits: Sequence[Hit], vectors: np.ndarray
) -> list[tuple[list[float], bool]]:
    """Return the features of `Calibration` for the first hits in random parts of a collection, and which are right."""
    vector, typical = rag.retriever.embed_query(query.text), calibration_of(rag.models.embedder.info)[hits[0].kind]
    generic = float((embed_everyday_texts(rag.models.embedder) @ vector).mean())
    unknown = unknown_share([subject_of(query.text)], rag.models.embedder.info)
    rows, rng = [], np.random.default_rng(len(query.text))
    for size in (size for size in SIZES if size <= len(hits)):
        chosen = rng.permutation(len(hits))[:size]
        cosines = vectors[chosen] @ vector
        share = size / (size + PRIOR_ROWS)
        mean = share * (cosines.mean() - typical.typical_mean)
        deviation = share * (cosines.std() - typical.typical_deviation)
        for place in np.argsort(-cosines)[:FITTED]:
            features = [float(cosines[place]), float(mean), float(deviation), float(np.log(size)), generic, unknown]
            rows.append((features, query.is_answered_by(hits[chosen[place]])))
    return rows


def term_rows(rag: FlorenceRAG, query: Query) -> list[tuple[list[float], bool]]:
    """Return the evidence of the terms in each hit of BM25 that has some of them, and whether the hit is right."""
    terms = QueryTerms(query.text)
    hits = [(hit, match) for hit in rag.index.search_bm25(query.text, 50) if (match := terms.match(hit.content))]
    evidence = weigh_terms(len(terms), [match for _, match in hits])
    return [
        ([each.share, each.rarity], query.is_answered_by(hit))
        for (hit, _), each in zip(hits, evidence, strict=True)
        if each.share > 0.15
    ]


def table(metrics: dict[str, dict[str, float]], title: str) -> Table:
    """Return a table with a column for each way to search."""
    table = Table("", *metrics, title=title)
    for name in next(iter(metrics.values())):
        table.add_row(name, *(f"{row[name]:.3f}" for row in metrics.values()))
    return table


def main(
    corpora: Annotated[int, typer.Option(help="The number of collections of each sort.")] = 1,
    fitting: Annotated[bool, typer.Option("--fit", help="Fit the calibrations instead, on training scenes.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print tables."""
    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if fitting:
            Console().print(fit(folder, max(2, corpora)))
            return
        metrics = {}
        sorts: dict[str, Combinations] = {"trained combinations": "seen", "all combinations": "any"}
        for title, combinations in sorts.items():
            for number in range(corpora):
                name = f"{title} {number}"
                metrics[name] = compare(folder, name, combinations)
                Console().print(table(metrics[name], name))
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
