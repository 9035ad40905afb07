import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from florence_rag import FlorenceRAG
from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder
from llama_index_florence import FlorenceVectorStore
from llama_index_florence.filters import filters_to_expression

NODES = {
    "1": {"city": "Oslo", "year": 2020, "tags": ["sea", "snow"], "rate": 4.5},
    "2": {"city": "Rome", "year": 1999, "tags": ["sun"], "numbers": [1, 2]},
    "3": {"city": "", "year": None, "tags": [], "numbers": [2]},
    "4": {"city": 'a "quoted" \\ town', "rate": -1.0},
    "5": {},
}
OPERATORS = {
    "scalar": [FilterOperator.EQ, FilterOperator.NE],
    "ordered": [FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE],
    "list": [FilterOperator.IN, FilterOperator.NIN],
    "within": [FilterOperator.CONTAINS],
    "some": [FilterOperator.ANY, FilterOperator.ALL],
    "any": [FilterOperator.IS_EMPTY],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with MilvusIndex.open(str(tmp_path_factory.mktemp("db") / "nodes.db"), ColorEmbedder.info) as index:
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
    assert filters_to_expression(None) == ""


VALUES = {
    "city": st.sampled_from(["Oslo", "Rome", "", "x"]),
    "year": st.sampled_from([1999, 2020, 0]),
    "rate": st.sampled_from([4.5, -1.0, 0.0]),
    "tags": st.sampled_from(["sea", "sun", "x"]),
    "numbers": st.sampled_from([1, 2, 3]),
    "missing": st.sampled_from(["x"]),
}
KINDS_OF = {
    "city": ["scalar", "list", "any"],
    "year": ["scalar", "ordered", "list", "any"],
    "rate": ["scalar", "ordered", "list", "any"],
    "tags": ["within", "some", "any"],
    "numbers": ["within", "some", "any"],
    "missing": ["scalar", "list", "within", "some", "any"],
}


@st.composite
def conditions(draw):
    key = draw(st.sampled_from(list(VALUES)))
    kind = draw(st.sampled_from(KINDS_OF[key]))
    several = st.lists(VALUES[key], min_size=1, max_size=2)
    value = None if kind == "any" else draw(several if kind in ("list", "some") else VALUES[key])
    return MetadataFilter(key=key, operator=draw(st.sampled_from(OPERATORS[kind])), value=value)


def joined(parts):
    return st.builds(
        MetadataFilters,
        filters=st.lists(parts, min_size=1, max_size=3),
        condition=st.sampled_from(list(FilterCondition)),
    )


def fits(wanted, metadata):
    """Evaluate filters by LlamaIndex's own store, and join nested filters here, because it refuses them."""
    if isinstance(wanted, MetadataFilter):
        return build_metadata_filter_fn(lambda _: metadata, MetadataFilters(filters=[wanted]))("")
    each = [fits(part, metadata) for part in wanted.filters]
    return {"and": all(each), "or": any(each), "not": not any(each)}[wanted.condition.value]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(joined(conditions() | joined(conditions())))
def test_filters_mean_what_they_mean_in_the_store_of_llama_index(store, wanted):
    found = "".join(node.node_id for node in store.get_nodes(filters=wanted))
    assert found == "".join(id for id in [*NODES, "6"] if fits(wanted, NODES.get(id, {})))


@settings(max_examples=30)
@given(st.lists(conditions(), min_size=1, max_size=3), st.sampled_from(list(FilterCondition)))
def test_conditions_join_as_in_llama_index(some, condition):
    wanted = MetadataFilters(filters=some, condition=condition)
    theirs = build_metadata_filter_fn(lambda id: NODES[id], wanted)
    assert [theirs(id) for id in NODES] == [fits(wanted, metadata) for metadata in NODES.values()]


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (one("city", "text_match", "Os"), "operator 'text_match' is not supported; use =="),
        (one("city", "text_match_insensitive", "os"), "not supported"),
        (one("city", "in", []), "needs a list of values"),
        (one("tags", "any", []), "take a list"),
        (one("tags", "all", "sea"), "take a list"),
        (one("tags", "contains", ["sea"]), "takes one value"),
        (one("kind", "==", "photo"), "kinds are image"),
        (one("kind", "contains", "text"), "is not a list"),
        (one('a"] or true', "==", 1), "a key that no filter can name"),
        (one('a"] or true', "contains", 1), "a key that no filter can name"),
        (one("year", "==", float("nan")), "finite"),
    ],
)
def test_an_impossible_filter_is_an_error(filter, message):
    with pytest.raises(InputError, match=message):
        filters_to_expression(both(filter))
