"""The weights and sizes of a search."""

from dataclasses import dataclass

from florence_rag.errors import InputError
from florence_rag.validation import validate_arguments


@validate_arguments
@dataclass(frozen=True, slots=True)
class RetrievalConfig:
    """How branches are weighted, and how many candidates they return. A branch of weight 0 is left out.

    Args:
        image_weight: The weight of images, pages and clips by their vector.
        text_weight: The weight of texts by their vector.
        bm25_weight: The weight of BM25.
        text_dense_weight: The weight of the vectors of the text embedder.
        phrase_weight: The weight of hits that contain the whole query.
        rrf_k: The constant of reciprocal rank fusion; the smaller, the more the first ranks count. 60 is usual for long
            lists of web pages; among the few dozen candidates of a small collection it would make the tenth rank as
            good as the first.
        candidates_per_branch: The hits that each branch returns at least.
        oversample: The same as a multiple of k, if that is more. Branches return more if grouping leaves fewer than k.
        max_grouped: How many further hits are kept with each group.
        match_depth: How many of the best hits a matcher judges by their images in a search with a threshold of
            relevance, if the models have a matcher; as many as the search asks for if that is more, and 0 for none.
        rerank_depth: How many hits a reranker scores.
        rerank_weight: The weight of the reranker against the search, in (0, 1].
        rerank_budget_ms: The time for reranking, decoding of images included, above 0; None for no limit. The hits that
            it does not suffice for keep their places. A matcher has the same time.

    Raises:
        InputError: If a value is out of range.
    """

    image_weight: float = 1.0
    text_weight: float = 0.25
    bm25_weight: float = 1.0
    text_dense_weight: float = 1.0
    phrase_weight: float = 1.0
    rrf_k: int = 10
    candidates_per_branch: int = 50
    oversample: int = 5
    max_grouped: int = 10
    match_depth: int = 8
    rerank_depth: int = 20
    rerank_weight: float = 0.75
    rerank_budget_ms: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rerank_weight <= 1:
            raise InputError(f"rerank_weight must be above 0 and at most 1, got {self.rerank_weight!r}")
        if self.rerank_budget_ms is not None and not self.rerank_budget_ms > 0:
            raise InputError(f"rerank_budget_ms must be above 0, got {self.rerank_budget_ms!r}")
        if self.match_depth < 0:
            raise InputError(f"match_depth must be at least 0, got {self.match_depth!r}")
        if self.rerank_depth < 1:
            raise InputError(f"rerank_depth must be at least 1, got {self.rerank_depth!r}")
