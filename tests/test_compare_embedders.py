import numpy as np
import pytest

from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError
from florence_rag.reembed import compare_embedders
from florence_rag.testing import MemoryIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source


class Stored(MemoryIndex):
    def chunks_of(self, uris):
        return [hit for hit in self.get(list(self._rows)) if hit.source in uris]


class Table:
    """An embedder that reads the vectors of texts from a table; unknown texts share another direction."""

    def __init__(self, name, vectors):
        self.vectors = vectors
        self.info = EmbedderInfo(name, name, 3, "none")

    def embed_texts(self, texts):
        return unit_rows(np.array([self.vectors.get(text, (0, 0, 1)) for text in texts], dtype=np.float32))


def filled(embedder, vectors, sources="abcdef", **rest):
    """Return an index with one passage per source, each with its vector."""
    index = Stored(embedder.info)
    for name, vector in zip(sources, vectors, strict=True):
        source = Source(f"/texts/{name}_long-name.txt", "text", 1, 1, name)
        index.begin(source)
        chunk = Chunk(source, "text", Locator(span=(0, 1)), **{"text": f"passage {name}", **rest})
        index.add([chunk], unit_rows(np.array([vector], dtype=np.float32)))
        index.complete(source)
    return index


LINE = [(1, i / 10, 0) for i in range(6)]  # a is nearest to (1, 0, 0), f the farthest
OLD, NEW = Table("old", {"first": (1, 0, 0), "last": (1, 5, 0)}), Table("new", {"first": (1, 0, 0), "last": (1, 0, 0)})


def test_equal_results_overlap_completely_and_disjoint_ones_not_at_all():
    index, shadow = filled(OLD, LINE), filled(NEW, LINE)
    compared = compare_embedders(index, shadow, NEW, OLD, ["first", "last"], k=3)
    assert (compared.k, compared.queries, compared.overlaps, compared.mean) == (3, ("first", "last"), (1.0, 0.0), 0.5)
    assert compared.to_dict() == {
        "k": 3,
        "mean_overlap": 0.5,
        "queries": [{"query": "first", "overlap": 1.0}, {"query": "last", "overlap": 0.0}],
    }
    assert compare_embedders(index, shadow, NEW, OLD, ["last"], k=4).overlaps == (0.5,)
    assert compare_embedders(index, shadow, NEW, OLD, ["last"], k=50).overlaps == (1.0,)


def test_without_the_old_embedder_neighbors_are_compared_and_no_chunk_is_its_own_neighbor():
    index = filled(OLD, LINE)
    same = compare_embedders(index, filled(NEW, LINE), NEW, k=2)
    assert same.mean == 1.0 and len(same.queries) == 6
    ends = [(1, (0, 5, 1, 4, 2, 3)[i] / 10, 0) for i in range(6)]  # a b c d e f become a c e f d b
    other = compare_embedders(index, filled(NEW, ends), NEW, k=1)
    assert dict(zip(other.queries, other.overlaps, strict=True))["near passage a"] == 0.0
    assert other.mean < 1


def test_sampled_queries_are_captions_or_texts_or_ocr_or_file_names():
    for fields, query in [
        ({"caption": "a cap", "ocr": "STOP"}, "a cap"),
        ({"ocr": "STOP"}, "passage a"),
        ({"text": "", "ocr": "STOP  HERE"}, "STOP HERE"),
        ({"text": ""}, "a long name"),
        ({"text": "w " * 50}, " ".join("w" * 12)),
    ]:
        index = filled(OLD, LINE[:1], "a", **fields)
        assert compare_embedders(index, index, OLD, OLD).queries == (query,)


def test_the_sample_is_the_same_in_every_run_and_contains_files_that_both_indexes_have():
    index, shadow = filled(OLD, LINE), filled(NEW, LINE[:3], "ace")
    first, again = (compare_embedders(index, shadow, NEW, k=2) for _ in range(2))
    assert first == again
    assert sorted(first.queries) == ["near passage a", "near passage c", "near passage e"]


def test_impossible_comparisons_are_refused():
    index = filled(OLD, LINE)
    with pytest.raises(InputError, match="no file has vectors of new yet; fill first, then compare"):
        compare_embedders(index, Stored(NEW.info), NEW)
    with pytest.raises(InputError, match="the index has the vectors of old, not of new"):
        compare_embedders(index, filled(NEW, LINE), NEW, NEW)
    with pytest.raises(InputError, match="only with the embedder of the index; give it, or no queries"):
        compare_embedders(index, filled(NEW, LINE), NEW, queries=["first"])
