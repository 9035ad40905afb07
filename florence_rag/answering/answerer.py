"""Answers without a language model: METER looks at the pictures found, passages are quoted, the best evidence wins.

    question -> hits -> match(picture, question) -> the k pictures that fit best -> answer(picture, question)
                     -> the sentence of each hit that has most of the question's words

The confidence of a picture is P(the picture is meant | question, rank) x P(answer | picture, question). For the first,
the matching model and the search are two witnesses: its odds that the picture fits, times prior odds that fall with the
rank at which the search found the picture. Near misses abound among candidates, and either witness alone believes them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from florence_rag.answering.base import Evidence, LoadFrames, Search, check_question
from florence_rag.answering.quoting import best_quote, inscriptions, sentences
from florence_rag.errors import MediaError
from florence_rag.index.base import Filter
from florence_rag.perception.base import VisualQA
from florence_rag.types import KINDS, Answer, Frame, Hit, Kind
from florence_rag.words import content_words, coverage

UNKNOWN = "I do not know: nothing in the index answers this with enough confidence."

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnsweringConfig:
    """threshold: below it the answer is that we do not know. candidates: how many pictures are matched with the
    question for each of the k that are asked. rank_weight: how steeply the prior odds fall with the rank; 0 trusts the
    matching model alone. citations: the most that an answer carries.
    """

    threshold: float = 0.5
    candidates: int = 3
    rank_weight: float = 2.0
    citations: int = 3


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A picture of a hit. fit: the probability that the question means this picture."""

    hit: Hit
    frame: Frame
    fit: float


class Answerer:
    """Asks what a search finds. Keeps no state between calls: as thread-safe as its parts."""

    def __init__(
        self, retriever: Search, vqa: VisualQA, load_frames: LoadFrames, config: AnsweringConfig | None = None
    ) -> None:
        self.retriever = retriever
        self.vqa = vqa
        self.load_frames = load_frames
        self.config = config or AnsweringConfig()

    def ask(
        self, question: str, *, k: int = 8, kinds: Collection[Kind] | None = None, filter: Filter | None = None
    ) -> Answer:
        """The best-founded answer of the k pictures that fit the question best and of the passages found."""
        question = check_question(question)
        chosen = set(KINDS if kinds is None else kinds)
        seen = self._search(question, self.config.candidates * k, chosen - {"text"}, filter)
        read = self._search(question, k, chosen & {"text"}, filter)
        evidence = [*self._look(question, seen, k), *_read(question, [*seen, *read])]
        return conclude(evidence, self.config)

    def _search(self, question: str, k: int, kinds: set[Kind], filter: Filter | None) -> list[Hit]:
        return self.retriever.search(question, k=k, kinds=kinds, filter=filter, group=False) if kinds else []

    def _look(self, question: str, hits: Iterable[Hit], k: int) -> Iterator[Evidence]:
        for sight in sorted(self._sights(question, hits), key=lambda sight: -sight.fit)[:k]:
            result = self.vqa.answer(sight.frame, question)
            certainty = 1.0 if result.confidence is None else result.confidence
            yield Evidence(sight.hit, result.answer, sight.fit * certainty)

    def _sights(self, question: str, hits: Iterable[Hit]) -> list[Sight]:
        """The picture of each hit, of a clip the keyframe that fits the question best."""
        seen = [(hit, frames) for hit in hits if (frames := self._frames(hit))]
        pictures = [frame for _, frames in seen for frame in frames]
        matches = iter(self.vqa.match(pictures, [question] * len(pictures)).tolist())
        sights = []
        for rank, (hit, frames) in enumerate(seen):
            match, frame = max(((next(matches), frame) for frame in frames), key=lambda pair: pair[0])
            sights.append(Sight(hit, frame, fit_at_rank(match, rank, self.config.rank_weight)))
        return sights

    def _frames(self, hit: Hit) -> tuple[Frame, ...]:
        try:
            return self.load_frames(hit)
        except MediaError as error:
            log.warning("left out of an answer: %s", error)
            return ()


def fit_at_rank(match: float, rank: int, weight: float) -> float:
    """Bayes in odds: match / (1 - match), times the prior odds 1 / (1 + rank) ** weight, as a probability again."""
    fit: float = match / (match + (1.0 - match) * (1.0 + rank) ** weight)
    return fit


def _read(question: str, hits: Sequence[Hit]) -> Iterator[Evidence]:
    wanted = content_words(question)
    for hit in hits:
        for said in (sentences(hit.text), inscriptions(hit.ocr)):
            if quote := best_quote(wanted, said):
                yield Evidence(hit, quote.text, coverage(quote.found, wanted), quote.text)


def conclude(evidence: Iterable[Evidence], config: AnsweringConfig) -> Answer:
    """The answer with the strongest evidence, and all evidence for it; what else was considered as candidates."""
    by_answer: dict[str, list[Evidence]] = {}
    for each in sorted(evidence, key=lambda each: -each.confidence):
        by_answer.setdefault(each.answer.casefold(), []).append(each)
    candidates = tuple((group[0].answer, round(group[0].confidence, 4)) for group in by_answer.values())
    if not candidates or candidates[0][1] < config.threshold:
        return Answer(UNKNOWN, candidates[0][1] if candidates else 0.0, candidates=candidates)
    best = next(iter(by_answer.values()))[: config.citations]
    cited = tuple(each.to_citation() for each in best if each.confidence >= config.threshold)
    return Answer(best[0].answer, candidates[0][1], cited, candidates)
