"""Compares what an answer states with the images and passages that it cites."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from florence_rag.answering.base import best_index, frames_or_skip
from florence_rag.answering.claims import VisualClaim, claims_of, parse_claim
from florence_rag.answering.extractive import inscriptions, sentences
from florence_rag.answering.judgment import Judgment
from florence_rag.answering.passage_check import Sentence, check_passage
from florence_rag.answering.visual_check import CheckedImage, check_image
from florence_rag.chunking import read_image
from florence_rag.context import Context, Models
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.text_arguments import check_text, check_texts
from florence_rag.types import Answer, CheckedClaim, Citation, Frame

MAX_CLAIMS = 20
"""The claims of one answer that are compared; further ones are unchecked."""
MAX_COMPARISONS = 40
"""The comparisons of claims with images, which models make."""
MAX_EVIDENCE = 20


@dataclass(frozen=True)
class _Evidence:
    """A cited chunk. Its image is read when the first claim about images needs it, and once."""

    citation: Citation
    passage: Sequence[Sentence]
    load: Callable[[], Sequence[Frame]]
    models: Models

    @cached_property
    def images(self) -> tuple[CheckedImage, ...]:
        return tuple(CheckedImage(frame, self.models) for frame in self.load())


def verify(
    context: Context, answer: str | Answer, evidence: Sequence[str] = (), question: str = ""
) -> list[CheckedClaim]:
    """Return the claims of an answer with what its evidence says, as `FlorenceRAG.verify` does."""
    text = answer.answer if isinstance(answer, Answer) else check_text(answer, "answer", "give the text to verify")
    if isinstance(answer, Answer) and answer.status != "answered":
        return []
    if evidence:
        sources = _chunks(context, check_texts(evidence, "id"))
    elif isinstance(answer, Answer):
        sources = [_cited(context, citation) for citation in answer.citations]
    else:
        raise InputError("there is nothing to compare the text with; give the ids of chunks as evidence")
    statements = claims_of(text, question)
    numbers = {number: i for i, number in enumerate(dict.fromkeys(n for each in statements for n in each.cited))}
    checked, comparisons = [], 0
    for place, statement in enumerate(statements):
        own = [sources[numbers[n]] for n in statement.cited] if len(numbers) == len(sources) else []
        claim = parse_claim(statement.text) if place < MAX_CLAIMS else None
        comparisons += sum(bool(each.images) for each in own or sources) if claim else 0
        if place < MAX_CLAIMS and comparisons <= MAX_COMPARISONS:
            checked.append(_check(statement.text, claim, own or sources))
        else:
            checked.append(CheckedClaim(statement.text, "unchecked"))
    return checked


def verified(context: Context, answer: Answer, question: str) -> Answer:
    """Return an answer with its claims compared with its citations."""
    return replace(answer, claims=tuple(verify(context, answer, question=question)))


def _chunks(context: Context, ids: Sequence[str]) -> list[_Evidence]:
    if len(ids) > MAX_EVIDENCE:
        raise InputError(f"evidence has {len(ids)} ids; allowed are {MAX_EVIDENCE}: name those that the text rests on")
    hits = {hit.id: hit for hit in context.index.get(ids)}
    if unknown := [id for id in ids if id not in hits]:
        raise unknown_chunk_error(unknown[0])
    return [_cited(context, Citation.of(hit)) for hit in hits.values()]


def _cited(context: Context, citation: Citation) -> _Evidence:
    """Return the chunk that is cited; the quote and the thumbnail, if it is not in the index."""
    hit = next(iter(context.index.get([citation.id])), None) if citation.id else None
    if hit is not None:
        context.observe([hit])
        passage = list(map(Sentence, (*sentences(hit.text), *inscriptions(hit.ocr))))
        return _Evidence(citation, passage, lambda: frames_or_skip(context.images.frames, hit), context.models)
    quote, thumbnail = list(map(Sentence, sentences(citation.quote))), citation.thumbnail
    return _Evidence(citation, quote, lambda: (read_image(thumbnail),) if thumbnail else (), context.models)


def _check(text: str, claim: VisualClaim | None, sources: Sequence[_Evidence]) -> CheckedClaim:
    """Return the verdict of the evidence that supports a claim most, or else contradicts it most."""
    judged = [(judgment, each) for each in sources for judgment in _judgments(text, claim, each)]
    decided = [(judgment, each) for judgment, each in judged if judgment.verdict != "unknown"]
    if not decided:
        return CheckedClaim(text, "unknown")
    best, source = max(decided, key=lambda pair: (pair[0].verdict == "supported", pair[0].confidence))
    confidence = round(best.confidence, 4) if best.is_stated else None
    citation = replace(source.citation, quote=best.quote, confidence=confidence)
    if best.box is not None:
        citation = replace(citation, locator=replace(citation.locator, box=best.box))
    return CheckedClaim(text, best.verdict, confidence, citation)


def _judgments(text: str, claim: VisualClaim | None, source: _Evidence) -> list[Judgment]:
    """Return what the passage and the image of a chunk say about a claim."""
    found = [check_passage(text, source.passage)]
    if claim is not None and source.images:
        frames = [image.frame for image in source.images]
        best = best_index(frames, claim.phrase, source.models.matcher)
        found.append(check_image(claim, source.images[best]))
    return [judgment for judgment in found if judgment is not None]
