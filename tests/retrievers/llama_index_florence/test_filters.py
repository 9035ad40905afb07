from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery
from llama_index.core.vector_stores.types import FilterCondition, MetadataFilter, MetadataFilters

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder
from llama_index_florence import FlorenceVectorStore
from llama_index_florence.filters import to_filter
from tests.databases import SERVER, new_database

NODES = {
    "1": {"city": "Oslo", "year": 2020, "tags": ["sea", "snow"], "rate": 4.5},
    "2": {"city": "Rome", "year": 1999, "tags": ["sun"], "numbers": [1, 2]},
    "3": {"city": "", "year": None, "tags": [], "numbers": [2]},
    "4": {"city": 'a "quoted" \\ town', "rate": -1.0},
    "5": {},
}
MIXED = {
    "a": {"x": True, "y": ["sea", 1], "x.y": "a", 'q"': "Oslo"},
    "b": {"x": False, "y": [True, 0.5], "x.y": 1},
    "c": {"x": 1, "y": "the sea", "x.y": None},
    "d": {"x": 0.0, "y": {"sea": 1}, "x.y": ["a"]},
    "e": {"x": "1", "y": "", "x.y": ""},
    "f": {"x": None, "y": [], 'q"': ["Oslo"], "id": "a"},
    "g": {"x": [1], "y": 2, "kind": "invoice", "source": "sea", "page": 1},
    "h": {"x": 2**60, "y": '50% \\ "Sea"', "$and": "sea"},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with new_database(tmp_path_factory.mktemp("db")) as uri, MilvusIndex.open(uri, ColorEmbedder.info) as index:
        store = FlorenceVectorStore(FlorenceRAG(index, ColorEmbedder()))
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
        store.add([TextNode(id_=id, text=f"text {id}", metadata=metadata) for id, metadata in NODES.items()])
        store.add([TextNode(id_="6", text="text 6", metadata={}, relationships=source)])
        yield store


def ids(store, *filters, condition=FilterCondition.AND):
    return "".join(node.node_id for node in store.get_nodes(filters=both(*filters, condition=condition)))


def both(*filters, condition=FilterCondition.AND):
    return MetadataFilters(filters=list(filters), condition=condition)


def one(key, operator, value=None):
    return MetadataFilter(key=key, operator=operator, value=value)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (one("city", "==", "Oslo"), "1"),
        (one("city", "==", 'a "quoted" \\ town'), "4"),
        (one("metadata.city", "==", "Oslo"), "1"),
        (one("city", "!=", "Oslo"), "23456"),
        (one("year", ">", 1999), "1"),
        (one("year", ">=", 1999), "12"),
        (one("year", "<", 2020), "2"),
        (one("rate", "<=", -1), "4"),
        (one("city", "in", ["Oslo", "Rome"]), "12"),
        (one("year", "in", [1999]), "2"),
        (one("city", "nin", ["Oslo", "Rome"]), "3456"),
        (one("tags", "any", ["sun", "sea"]), "12"),
        (one("tags", "all", ["sea", "snow"]), "1"),
        (one("tags", "contains", "sun"), "2"),
        (one("numbers", "contains", 2), "23"),
        (one("city", "in", []), ""),
        (one("city", "nin", []), "123456"),
        (one("tags", "any", []), ""),
        (one("tags", "all", []), "123"),
        (one("city", "contains", "sl"), "1"),
        (one("city", "text_match", "sl"), "1"),
        (one("city", "text_match", "SL"), ""),
        (one("city", "text_match_insensitive", "SL"), "1"),
        (one("year", "==", None), ""),
        (one("year", "!=", None), "123456"),
        (one("kind", "==", "photo"), ""),
        (one('a"] or true', "==", 1), ""),
        (one('a"] or true', "is_empty"), "123456"),
        (one("city", "is_empty"), "356"),
        (one("year", "is_empty"), "3456"),
        (one("tags", "is_empty"), "3456"),
        (one("id", "==", "4"), "4"),
        (one("id", "in", ["4", "x", "5"]), "45"),
        (one("kind", "==", "text"), "123456"),
        (one("kind", "!=", "text"), ""),
        (one("ref_doc_id", "==", "doc"), "6"),
        (one("doc_id", "in", ["doc", "5"]), "56"),
        (one("document_id", "!=", "doc"), "12345"),
        (one("locator.page", "==", 3), ""),
        (one("locator.start_s", "is_empty"), "123456"),
        (one("locator.page", "!=", 3), "123456"),
    ],
)
def test_every_operator(store, filter, expected):
    assert ids(store, filter) == expected


def test_conditions_join_and_nest(store):
    oslo, rome, new = one("city", "==", "Oslo"), one("city", "==", "Rome"), one("year", ">", 2000)
    assert ids(store, oslo, new) == "1"
    assert ids(store, rome, new) == ""
    assert ids(store, rome, new, condition=FilterCondition.OR) == "12"
    assert ids(store, rome, new, condition=FilterCondition.NOT) == "3456"
    assert ids(store, both(oslo, rome, condition=FilterCondition.OR), one("tags", "contains", "sun")) == "2"
    assert ids(store, both(both(oslo, rome, condition="or"), condition="not"), one("rate", "<", 0)) == "4"
    assert ids(store, both(), oslo) == "1"
    assert ids(store) == ids(store, both()) == "123456"
    assert to_filter(None) == {}


KEYS = st.sampled_from(["x", "y", "x.y", 'q"', "page", "$and", "missing"])
SCALARS = st.sampled_from([0, 1, 0.5, 0.0, 2**60, 2, "", "1", "a", "sea", "SEA", "Oslo", "%", "\\", "invoice"])
CONDITIONS = st.one_of(
    st.builds(one, KEYS, st.sampled_from(["==", "!=", "contains"]), SCALARS | st.none()),
    st.builds(one, KEYS, st.sampled_from([">", ">=", "<", "<="]), SCALARS),
    st.builds(
        one,
        KEYS,
        st.sampled_from(["text_match", "text_match_insensitive"]),
        SCALARS.filter(lambda value: isinstance(value, str)),
    ),
    st.builds(
        one,
        KEYS,
        st.sampled_from(["in", "nin", "any", "all"]),
        st.lists(SCALARS.filter(lambda value: isinstance(value, str)), max_size=3)
        | st.lists(SCALARS.filter(lambda value: isinstance(value, int)), max_size=3),
    ),
    st.builds(one, KEYS, st.just("is_empty")),
)


def joined(parts):
    return st.builds(
        MetadataFilters,
        filters=st.lists(parts, min_size=1, max_size=3),
        condition=st.sampled_from(list(FilterCondition)),
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Our store and LlamaIndex's own, with the same nodes."""
    ours_and_theirs = [
        TextNode(id_=id, text="red", metadata=metadata, embedding=[1.0, 0.0]) for id, metadata in MIXED.items()
    ]
    simple = SimpleVectorStore()
    simple.add(ours_and_theirs)
    with new_database(tmp_path_factory.mktemp("db")) as uri, MilvusIndex.open(uri, ColorEmbedder.info) as index:
        ours = FlorenceVectorStore(FlorenceRAG(index, ColorEmbedder()))
        ours.add([TextNode(id_=id, text="red", metadata=metadata) for id, metadata in MIXED.items()])
        yield ours, simple


def query(store, vector, filters, ids=None):
    asked = VectorStoreQuery(query_embedding=vector, similarity_top_k=20, filters=filters, node_ids=ids)
    return set(store.query(asked).ids)


def expected(simple, wanted):
    """Return what LlamaIndex's own store finds; it refuses nested filters, and raises for a value of another type."""
    if isinstance(wanted, MetadataFilters):
        each = [expected(simple, part) for part in wanted.filters]
        if wanted.condition == FilterCondition.NOT:
            return set(MIXED).difference(*each)
        return set.union(*each) if wanted.condition == FilterCondition.OR else set.intersection(*each)
    found = set()
    for id in MIXED:
        with suppress(TypeError):
            found |= query(simple, [1.0, 0.0], MetadataFilters(filters=[wanted]), [id])
    return found


@pytest.mark.slow
@settings(max_examples=20 if SERVER else 250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(joined(CONDITIONS | joined(CONDITIONS)))
def test_filters_find_what_the_store_of_llama_index_finds(stores, wanted):
    ours, simple = stores
    assert {node.node_id for node in ours.get_nodes(filters=wanted)} == expected(simple, wanted)
    assert query(ours, ours.embed_model.get_query_embedding("red"), wanted) == expected(simple, wanted)


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (one("tags", "all", "sea"), "'all' of 'tags' takes a list of values, not 'sea'"),
        (one("city", "in", "sea"), "takes a list of values"),
        (
            one("year", ">", ["a"]),
            r"^the filter operator '>' of 'year' cannot take \['a'\]; it must be a text, a number",
        ),
        (one("year", "==", float("nan")), "'year' cannot take nan"),
    ],
)
def test_an_impossible_filter_is_an_error(store, filter, message):
    with pytest.raises(InputError, match=message):
        store.get_nodes(filters=both(filter))
