"""The hits of each branch of a search, with what speaks for them."""

from collections.abc import Mapping, Sequence

import numpy as np

from florence_rag.retrieval.background import BackgroundSample
from florence_rag.retrieval.evidence import Phrase, QueryTerms
from florence_rag.retrieval.fusion import RankedHit
from florence_rag.retrieval.relevance import weigh_distances, weigh_terms
from florence_rag.tokenize import content_words
from florence_rag.types import Hit

_PHRASE_PROBABILITY = 0.5
"""The probability that a hit is relevant because it contains the whole query, independent of other evidence."""
_OTHER_SPELLING = 0.9  # the strength of words that a text spells with other accents


def by_vector(hits: Sequence[Hit], evidence: str, relevance: Mapping[str, float]) -> list[RankedHit]:
    """Return the hits of a vector of the embedder. relevance: the probability that each is right, by id."""
    # Do not explain a hit by similarity if its cosine is not positive: something is nearest to any query.
    return [
        RankedHit(hit, 1.0, f"{evidence} {hit.score:.2f}" if hit.score > 0 else "", relevance[hit.id], hit.score)
        for hit in hits
    ]


def by_text_vector(hits: Sequence[Hit], sample: BackgroundSample) -> list[RankedHit]:
    """Return the hits of a vector of the text embedder, which count by their cosines."""
    if not hits:
        return []
    probabilities = weigh_distances(sample.of_text_vectors().distances(np.array([hit.score for hit in hits]))).tolist()
    return [
        RankedHit(hit, min(max(hit.score, 0.0), 1.0), f"semantic similarity {hit.score:.2f}", probability, hit.score)
        for hit, probability in zip(hits, probabilities, strict=True)
    ]


def by_terms(hits: Sequence[Hit], text: str) -> list[RankedHit]:
    """Return each hit with the share of the query's terms in it, without hits that share only stop words.

    A hit that has the query's own spellings comes before one that differs in accents.
    """
    terms = QueryTerms(text)
    matches = [(hit, match) for hit in hits if (match := terms.match(hit.content))]
    matches.sort(key=lambda pair: -pair[0].score * (1 + pair[1].same_spelling))
    evidence = weigh_terms(len(terms), [match for _, match in matches])
    return [
        RankedHit(
            hit,
            match.coverage * (spelling := _OTHER_SPELLING + (1 - _OTHER_SPELLING) * match.same_spelling),
            f"matched terms: {', '.join(match.found)}" if match.found else "",
            weighed.probability * spelling,
            term_share=weighed.share,
        )
        for (hit, match), weighed in zip(matches, evidence, strict=True)
    ]


def by_phrase(hits: Sequence[Hit], text: str) -> list[RankedHit]:
    """Return the hits that contain the phrase; a single word counts only in OCR text, as BM25 rewards it elsewhere."""
    phrase, several = Phrase(text), len(content_words(text)) > 1
    found = [(hit, phrase.find(hit.content if several else hit.ocr)) for hit in {hit.id: hit for hit in hits}.values()]
    return [
        RankedHit(hit, evidence=f'contains "{spelled}"', probability=_PHRASE_PROBABILITY)
        for hit, spelled in found
        if spelled
    ]
