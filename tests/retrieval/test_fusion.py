import pytest

from florence_rag.retrieval.fusion import RankedHit, RetrievalBranch
from florence_rag.retrieval.fusion import fuse as fuse_by_rank
from florence_rag.types import Hit, Locator


def fuse(routes, rrf_k=60):
    return fuse_by_rank(routes, rrf_k)


def hit(name):
    return Hit(id=name, kind="image", source=f"/{name}.jpg", locator=Locator(), score=0.0)


def route(weight, *names):
    return RetrievalBranch(weight, [RankedHit(hit(name), reason=f"{name} by {weight}") for name in names])


def test_the_first_of_one_list_scores_its_weight():
    assert [h.score for h in fuse([route(1.0, "a")])] == [1.0]


def test_scores_follow_the_formula():
    scores = {h.id: h.score for h in fuse([route(1.0, "a", "b"), route(0.5, "b")], rrf_k=10)}
    assert scores == {"a": pytest.approx(1.0), "b": pytest.approx(11 / 12 + 0.5)}


def test_agreement_of_two_lists_beats_the_first_place_of_one():
    assert [h.id for h in fuse([route(1.0, "a", "b"), route(1.0, "c", "b")])] == ["b", "a", "c"]


def test_a_weak_find_counts_by_its_strength():
    weak, strong = RankedHit(hit("weak"), 0.4), RankedHit(hit("strong"), 0.8)
    assert [h.id for h in fuse([RetrievalBranch(1.0, [weak, strong])])] == ["strong", "weak"]


def test_a_tie_keeps_the_order_of_the_routes():
    assert [h.id for h in fuse([route(1.0, "a"), route(0.75, "b"), route(0.25, "b")])] == ["a", "b"]


def test_each_hit_appears_once_with_all_reasons_the_strongest_first():
    (only,) = fuse([route(0.5, "a"), route(1.0, "a")])
    assert only.explanation == "a by 1.0; a by 0.5"


def test_nothing_fuses_to_nothing():
    assert fuse([]) == []
