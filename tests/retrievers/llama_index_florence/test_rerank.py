import base64
import io
import logging

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.llms.mock import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageDocument, ImageNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from llama_index_florence import FlorenceRerank, FlorenceRetriever


class WordReranker:
    """Reads passages, and pictures not at all."""

    reads = frozenset({"text"})

    def score(self, query, candidates):
        return np.array([float(query in candidate) for candidate in candidates], dtype=np.float32)


def picture(color, **fields):
    buffer = io.BytesIO()
    Image.fromarray(color_frame(color)).save(buffer, "PNG")
    return ImageNode(id_=color, image=base64.b64encode(buffer.getvalue()).decode(), **fields)


def scored(*nodes):
    """The first node fits best, as an earlier search has it."""
    return [NodeWithScore(node=node, score=1.0 - place / 10) for place, node in enumerate(nodes)]


def ids(nodes):
    return [found.node_id for found in nodes]


@pytest.fixture
def looks():
    return FlorenceRerank(reranker=ColorVQA())


def test_the_pictures_of_nodes_are_looked_at(looks):
    ranked = looks.postprocess_nodes(scored(picture("red"), picture("green"), picture("blue")), query_str="blue")
    assert ids(ranked) == ["blue", "red", "green"]
    assert ranked[0].metadata["explanation"] == "reranker score 1.00"


def test_a_place_keeps_its_score(looks):
    nodes = scored(picture("red"), picture("blue"))
    assert [found.score for found in looks.postprocess_nodes(nodes, query_str="blue")] == [1.0, 0.9]


def test_the_nodes_given_are_left_as_they_are(looks):
    nodes = scored(picture("red"), picture("blue"))
    looks.postprocess_nodes(nodes, query_str="blue")
    assert ids(nodes) == ["red", "blue"] and nodes[0].metadata == {}


def test_the_reason_stays_away_from_the_model(looks):
    node = looks.postprocess_nodes(scored(picture("red", text="a wall")), query_str="red")[0].node
    assert node.get_content(MetadataMode.LLM) == node.get_content(MetadataMode.EMBED) == "a wall"


@pytest.mark.parametrize("scores", [(None, None), (-0.2, -0.4)])
def test_scores_that_say_nothing_leave_it_to_the_model(looks, scores):
    nodes = [
        NodeWithScore(node=picture(color), score=score) for color, score in zip(("red", "blue"), scores, strict=True)
    ]
    assert ids(looks.postprocess_nodes(nodes, query_str="blue")) == ["blue", "red"]


def test_top_n_are_returned_and_the_rest_dropped():
    looks = FlorenceRerank(reranker=ColorVQA(), top_n=1)
    assert ids(looks.postprocess_nodes(scored(picture("red"), picture("blue")), query_str="blue")) == ["blue"]


def test_what_lies_below_the_depth_keeps_its_place():
    looks = FlorenceRerank(reranker=ColorVQA(), depth=2)
    nodes = scored(picture("red"), picture("green"), picture("blue"))
    assert ids(looks.postprocess_nodes(nodes, query_str="blue"))[2] == "blue"


def test_documents_and_files_are_looked_at(looks, folder):
    document = ImageDocument(id_="document", image_path=str(folder / "blue.png"))
    node = ImageNode(id_="path", image_path=str(folder / "red.png"))
    assert ids(looks.postprocess_nodes(scored(node, document), query_str="blue")) == ["document", "path"]


@pytest.mark.parametrize(
    "lost", [{"image_path": "/no/such.png"}, {"image_url": "http://127.0.0.1/a.png"}, {"image": "%%%"}]
)
def test_a_picture_that_cannot_be_read_keeps_its_place(looks, lost, caplog):
    nodes = scored(picture("red"), ImageNode(id_="lost", **lost), picture("blue"))
    with caplog.at_level(logging.WARNING):
        assert ids(looks.postprocess_nodes(nodes, query_str="blue")) == ["blue", "lost", "red"]
    assert "lost is ranked without its image" in caplog.text


def test_a_text_keeps_its_place_among_pictures(looks):
    nodes = scored(picture("red"), TextNode(id_="text", text="blue"), picture("blue"))
    assert ids(looks.postprocess_nodes(nodes, query_str="blue")) == ["blue", "text", "red"]


def test_a_reranker_of_words_reads_the_words():
    reads = FlorenceRerank(reranker=WordReranker())
    nodes = scored(TextNode(id_="a", text="a red wall"), picture("red"), TextNode(id_="b", text="a blue wall"))
    assert ids(reads.postprocess_nodes(nodes, query_str="blue")) == ["b", "red", "a"]


def test_hits_of_the_index_are_ranked_as_the_core_ranks_them(rag):
    from florence_rag.perception.base import MatcherReranker

    with_reranker = FlorenceRAG(
        rag.index, Models.of(rag.models.embedder, reranker=MatcherReranker(ColorVQA()))
    )  # shares the index
    hits = with_reranker.search("a blue walk", k=6, group=False)
    nodes = FlorenceRetriever(rag, k=20, images=False).retrieve("a blue walk")
    ranked = FlorenceRerank(rag=rag, top_n=6).postprocess_nodes(nodes, query_str="a blue walk")
    assert [(found.node_id, found.score, found.metadata["explanation"]) for found in ranked] == [
        (hit.id, hit.score, hit.explanation) for hit in hits
    ]
    assert [found.metadata["score"] for found in ranked] == [found.score for found in ranked]


def test_the_picture_of_a_file_that_is_gone_is_what_the_node_holds(tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        nodes = FlorenceRetriever(rag).retrieve("red")
        (tmp_path / "blue.png").unlink()
        ranked = FlorenceRerank(rag=rag).postprocess_nodes(nodes, query_str="blue")
    assert ranked[0].metadata["source"].endswith("blue.png")


def test_a_query_that_is_a_picture_changes_nothing(looks, folder):
    nodes = scored(picture("red"), picture("blue"))
    query = QueryBundle("", image_path=str(folder / "blue.png"))
    assert looks.postprocess_nodes(nodes, query_bundle=query) == nodes


def test_of_a_query_with_a_picture_the_model_judges_the_text_only():
    """Its word counts half, so it cannot overturn what the search is surer of."""
    looks = FlorenceRerank(reranker=ColorVQA(), share=0.6)
    nodes = [NodeWithScore(node=picture("red"), score=1.0), NodeWithScore(node=picture("blue"), score=0.5)]
    assert ids(looks.postprocess_nodes(nodes, query_bundle=QueryBundle("blue"))) == ["blue", "red"]
    assert ids(looks.postprocess_nodes(nodes, query_bundle=QueryBundle("blue", image_path="any.png"))) == [
        "red",
        "blue",
    ]


async def test_it_serves_a_query_engine(rag):
    looks = FlorenceRerank(rag=rag, top_n=2)
    engine = RetrieverQueryEngine.from_args(FlorenceRetriever(rag, k=9), llm=MockLLM(), node_postprocessors=[looks])
    assert len((await engine.aquery("a blue wall")).source_nodes) == 2


def test_it_reports_itself_to_callbacks():
    debug = LlamaDebugHandler(print_trace_on_end=False)
    looks = FlorenceRerank(reranker=ColorVQA(), callback_manager=CallbackManager([debug]))
    looks.postprocess_nodes(scored(picture("red")), query_str="red")
    assert [event.event_type for event in debug.get_events()] == [CBEventType.RERANKING] * 2


async def test_reranking_leaves_the_loop_free(gate):
    class SlowVQA(ColorVQA):
        def match(self, frames, texts):
            gate.wait()
            return super().match(frames, texts)

    looks = FlorenceRerank(reranker=SlowVQA())
    nodes = scored(picture("red"), picture("blue"))
    assert ids(await gate.open_while(looks.apostprocess_nodes(nodes, query_str="blue"))) == ["blue", "red"]


def test_a_model_is_named(untrained):
    looks = FlorenceRerank(untrained)
    assert len(looks.postprocess_nodes(scored(picture("red"), picture("blue")), query_str="blue")) == 2
    assert looks.to_dict()["model_name"] == untrained


def test_nothing_to_rerank_with_is_an_error():
    with pytest.raises(InputError, match="name one"):
        FlorenceRerank()


def test_no_query_is_an_error(looks):
    with pytest.raises(InputError, match="no query"):
        looks.postprocess_nodes(scored(picture("red")))


@pytest.mark.parametrize("settings", [{"top_n": 0}, {"depth": 0}, {"share": 0}, {"share": 2}])
def test_a_setting_that_cannot_work_is_an_error(settings):
    with pytest.raises(ValueError):
        FlorenceRerank(reranker=ColorVQA(), **settings)
