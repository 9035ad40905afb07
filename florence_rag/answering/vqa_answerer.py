"""Answers without a language model: a VQA model examines the frames of the hits, and passages are quoted.

    question -> relevant hits -> P(frame is meant) -> VQA on the k most likely frames -> P(answer)
                     -> the sentence of each hit that has most terms of the question

Two signals decide which frame the question refers to, because either of them alone accepts near misses: the odds of the
matcher, and prior odds that fall with the rank of the hit. Without a matcher the rank alone decides, and fewer answers
are certain. Frames compete with each other and with the chance that none is meant, so an ambiguous question has no
answer. A text that is not a question is looked up: its hits are cited, and no model is asked.
"""

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from florence_rag.answering.base import (
    NOT_A_QUESTION,
    Evidence,
    Search,
    frames_or_skip,
    not_found,
    split_by_match,
    split_by_relevance,
)
from florence_rag.answering.extractive import best_quotes, inscriptions, sentences
from florence_rag.answering.question_detection import is_question
from florence_rag.context import LazyValue
from florence_rag.image_store import LoadFrames
from florence_rag.index.base import Filter
from florence_rag.perception.base import Matcher, Reranker, VisualQA, knows
from florence_rag.retrieval.image_match import clipped, is_judged_by_image, with_match
from florence_rag.text_arguments import check_question
from florence_rag.types import KINDS, Answer, Citation, Frame, Hit, Kind, middle_frame
from florence_rag.validation import validate_arguments

_Candidate = tuple[float, Hit, Frame]
UNKNOWN = "I do not know: nothing in the index answers this with enough confidence."

_OPEN = re.compile(r"(?:(?:in|on|at|of|to|for|with|by|from) )?(?:who|whom|whose|what|which|where|when|why|how)\b")
"""The beginning of a question that nobody answers with yes or no."""
_READ_SENTENCES = 20
"""The sentences of a passage that a reader scores."""


@validate_arguments
@dataclass(frozen=True, slots=True)
class AnsweringConfig:
    """How evidence is weighed. The defaults were chosen on synthetic scenes, in collections of 40 and 300 images.

    Attributes:
        threshold: The confidence below which the answer is that it is not known, in [0, 1].
        oversample: The number of frames that compete for each of the k frames that the VQA model examines.
        rank_weight: How steeply the prior odds fall with the rank; 0 uses the matcher alone.
        rank_weight_alone: The same without a matcher.
        no_match_odds: The odds that no frame is meant.
        min_error: The smallest probability that the matcher is wrong.
        max_citations: The maximum number of citations.
        max_candidates: The maximum number of candidate answers.
    """

    threshold: float = 0.5
    oversample: int = 3
    rank_weight: float = 1.5
    rank_weight_alone: float = 2.0
    no_match_odds: float = 0.3
    min_error: float = 0.01
    max_citations: int = 3
    max_candidates: int = 5


@dataclass(frozen=True)
class Answerer:
    """Answers questions from the hits of a search.

    It keeps no state between calls, so it is as thread-safe as its parts. The matcher scores how well a question fits a
    frame; without one, the rank decides. The reader scores how well a sentence answers; without one, words decide.
    """

    retriever: Search
    vqa: LazyValue[VisualQA]
    load_frames: LoadFrames
    config: AnsweringConfig = AnsweringConfig()
    matcher: LazyValue[Matcher] | None = None
    reader: Reranker | None = None

    def ask(
        self,
        question: str,
        *,
        k: int = 8,
        kinds: Collection[Kind] | None = None,
        filter: Filter | None = None,
        min_relevance: float = 0.0,
    ) -> Answer:
        """Return the best-supported answer from the k frames that are most likely meant, and from passages.

        Hits below `min_relevance` are no evidence.
        """
        question = check_question(question)
        chosen = set(KINDS if kinds is None else kinds)
        if not is_question(question):
            return self._look_up(question, self._search(question, k, chosen, filter), min_relevance)
        competing = self.config.oversample * k if self.matcher else k  # only a matcher can prefer a later hit
        found = self._search(question, competing, chosen - {"text"}, filter)
        candidates = self._candidates(question, found)
        judged = {hit.id: hit for _, hit, _ in candidates}
        visual, others = split_by_relevance([judged.get(hit.id, hit) for hit in found], min_relevance)
        passages, more = split_by_relevance(self._search(question, k, chosen & {"text"}, filter), min_relevance)
        if not (visual or passages):
            return not_found([*others, *more], min_relevance)
        relevant = [candidate for candidate in candidates if candidate[1] in visual]
        evidence = [*self._examine(question, relevant, k), *_quote(question, [*visual, *passages], self.reader)]
        return conclude(evidence, self.config)

    def _search(self, question: str, k: int, kinds: set[Kind], filter: Filter | None) -> list[Hit]:
        return self.retriever.search(question, k=k, kinds=kinds, filter=filter, group=False) if kinds else []

    def _look_up(self, text: str, hits: Sequence[Hit], min_relevance: float) -> Answer:
        """Return the best hits of a text that is not a question, without asking a model."""
        relevant, others = split_by_match(hits, text, min_relevance, self.matcher, self.load_frames)
        quotes = {each.hit.id: each.quote for each in _quote(text, relevant[: self.config.max_citations])}
        cited = tuple(Citation.of(hit, quote=quotes.get(hit.id, "")) for hit in relevant[: self.config.max_citations])
        if cited:
            return Answer(f"{NOT_A_QUESTION} These hits match it best.", None, cited, status="not_a_question")
        nothing = not_found(others, min_relevance)
        return replace(nothing, answer=f"{NOT_A_QUESTION} {nothing.answer}", status="not_a_question")

    def _examine(self, question: str, candidates: Sequence[_Candidate], k: int) -> Iterator[Evidence]:
        """Ask the VQA model about the k frames that are most likely meant."""
        total = self.config.no_match_odds + sum(odds for odds, _, _ in candidates)
        for odds, hit, frame in sorted(candidates, key=lambda candidate: -candidate[0])[:k]:
            result = self.vqa.get().answer(frame, question)
            confidence = odds / total * (1.0 if result.confidence is None else result.confidence)
            is_possible = not (result.answer.casefold() in ("yes", "no") and _OPEN.match(question.casefold()))
            if result.answer and is_possible:
                is_stated = result.confidence is not None
                yield Evidence(hit, result.answer, confidence, cached_from=result.cached_from, is_stated=is_stated)

    def _candidates(self, question: str, hits: Iterable[Hit]) -> list[_Candidate]:
        """Return the odds that a hit is meant, the hit with the relevance of its image, and its frame.

        The frame is the best match, or the middle one without a matcher.
        """
        config = self.config
        loaded = [(hit, frames) for hit in hits if (frames := frames_or_skip(self.load_frames, hit))]
        if self.matcher is None:
            return [
                (odds_of_rank(rank, config.rank_weight_alone), hit, middle_frame(frames))
                for rank, (hit, frames) in enumerate(loaded)
            ]
        images = [frame for _, frames in loaded for frame in frames]
        matcher = self.matcher.get()
        matches = iter(matcher.match(images, [question] * len(images)).tolist())
        judges, candidates = knows(matcher, question), []
        for rank, (hit, frames) in enumerate(loaded):
            match, frame = max(((next(matches), frame) for frame in frames), key=lambda pair: pair[0])
            likely = clipped(match, config.min_error)
            odds = likely / (1.0 - likely) * odds_of_rank(rank, config.rank_weight)
            candidates.append((odds, with_match(hit, match) if judges and is_judged_by_image(hit) else hit, frame))
        return candidates


def odds_of_rank(rank: int, weight: float) -> float:
    """Return the prior odds of a rank, which counts from 0; 1 for the first hit."""
    return float((1 + rank) ** -weight)


def _quote(question: str, hits: Sequence[Hit], reader: Reranker | None = None) -> Iterator[Evidence]:
    """Quote the best sentence of each text of the hits; with a reader, the one that it scores best for the question."""
    for hit in hits:
        for passages in (sentences(hit.text), inscriptions(hit.ocr)):
            quotes = best_quotes(question, passages, _READ_SENTENCES if reader else 1)
            confidences = [quote.confidence for quote in quotes]
            if reader and quotes:
                confidences = reader.score(question, [quote.text for quote in quotes]).tolist()
            confidence, text = max(zip(confidences, (quote.text for quote in quotes), strict=True), default=(0.0, ""))
            if confidence > 0:
                yield Evidence(hit, text, confidence, text)


def conclude(evidence: Iterable[Evidence], config: AnsweringConfig) -> Answer:
    """Return the best-supported answer with its evidence, and the other answers as candidates."""
    by_answer: dict[str, list[Evidence]] = {}
    for each in sorted(evidence, key=lambda each: -each.confidence):
        by_answer.setdefault(each.answer.casefold(), []).append(each)
    ranked = sorted(by_answer.values(), key=_confidence, reverse=True)
    stated = [group for group in ranked if all(each.is_stated for each in group)]
    candidates = tuple((group[0].answer, round(_confidence(group), 4)) for group in stated[: config.max_candidates])
    confidence = round(_confidence(ranked[0]), 4) if stated and stated[0] is ranked[0] else None
    if not ranked or _confidence(ranked[0]) < config.threshold:
        return Answer(UNKNOWN, confidence if ranked else 0.0, candidates=candidates, status="unknown")
    best = ranked[0]
    strong = [each for each in best if each.confidence >= best[0].confidence / 2]
    cited = tuple(
        Citation.of(each.hit, quote=each.quote, confidence=each.stated_confidence, cached_from=each.cached_from)
        for each in strong[: config.max_citations]
    )
    return Answer(best[0].answer, confidence, cited, candidates)


def _confidence(group: Sequence[Evidence]) -> float:
    """Combine equal answers: those of frames are wrong only if all are; a sentence that is found twice counts once."""
    of_frames = 1 - math.prod(1 - each.confidence for each in group if not each.quote)
    return max(of_frames, *(each.confidence for each in group if each.quote), 0.0)
