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
    """Scores passages and no images."""

    reads = frozenset({"text"})

    def score(self, query, candidates):
        return np.array([float(query in candidate) for candidate in candidates], dtype=np.float32)


def image_node(color, **fields):
    buffer = io.BytesIO()
    Image.fromarray(color_frame(color)).save(buffer, "PNG")
    return ImageNode(id_=color, image=base64.b64encode(buffer.getvalue()).decode(), **fields)


def scored(*nodes):
    """Return the nodes as a search returns them, with descending scores."""
    return [NodeWithScore(node=node, score=1.0 - place / 10) for place, node in enumerate(nodes)]


def ids(nodes):
    return [found.node_id for found in nodes]


@pytest.fixture
def reranker():
    return FlorenceRerank(reranker=ColorVQA())


def test_nodes_are_scored_by_their_images(reranker):
    ranked = reranker.postprocess_nodes(
        scored(image_node("red"), image_node("green"), image_node("blue")), query_str="blue"
    )
    assert ids(ranked) == ["blue", "red", "green"]
    assert ranked[0].metadata["explanation"] == "reranker score 1.00"


def test_a_position_keeps_its_score(reranker):
    nodes = scored(image_node("red"), image_node("blue"))
    assert [found.score for found in reranker.postprocess_nodes(nodes, query_str="blue")] == [1.0, 0.9]


def test_the_input_nodes_do_not_change(reranker):
    nodes = scored(image_node("red"), image_node("blue"))
    reranker.postprocess_nodes(nodes, query_str="blue")
    assert ids(nodes) == ["red", "blue"] and nodes[0].metadata == {}


def test_the_explanation_is_hidden_from_the_model(reranker):
    node = reranker.postprocess_nodes(scored(image_node("red", text="a wall")), query_str="red")[0].node
    assert node.get_content(MetadataMode.LLM) == node.get_content(MetadataMode.EMBED) == "a wall"


@pytest.mark.parametrize("scores", [(None, None), (-0.2, -0.4)])
def test_without_usable_scores_the_model_decides(reranker, scores):
    nodes = [
        NodeWithScore(node=image_node(color), score=score) for color, score in zip(("red", "blue"), scores, strict=True)
    ]
    assert ids(reranker.postprocess_nodes(nodes, query_str="blue")) == ["blue", "red"]


def test_top_n_nodes_are_returned():
    reranker = FlorenceRerank(reranker=ColorVQA(), top_n=1)
    assert ids(reranker.postprocess_nodes(scored(image_node("red"), image_node("blue")), query_str="blue")) == ["blue"]


def test_nodes_below_the_depth_keep_their_positions():
    reranker = FlorenceRerank(reranker=ColorVQA(), depth=2)
    nodes = scored(image_node("red"), image_node("green"), image_node("blue"))
    assert ids(reranker.postprocess_nodes(nodes, query_str="blue"))[2] == "blue"


def test_documents_and_files_are_scored(reranker, folder):
    document = ImageDocument(id_="document", image_path=str(folder / "blue.png"))
    node = ImageNode(id_="path", image_path=str(folder / "red.png"))
    assert ids(reranker.postprocess_nodes(scored(node, document), query_str="blue")) == ["document", "path"]


@pytest.mark.parametrize(
    "lost", [{"image_path": "/no/such.png"}, {"image_url": "http://127.0.0.1/a.png"}, {"image": "%%%"}]
)
def test_an_image_that_cannot_be_read_keeps_its_position(reranker, lost, caplog):
    nodes = scored(image_node("red"), ImageNode(id_="lost", **lost), image_node("blue"))
    with caplog.at_level(logging.WARNING):
        assert ids(reranker.postprocess_nodes(nodes, query_str="blue")) == ["blue", "lost", "red"]
    assert "lost is ranked without its image" in caplog.text


def test_a_text_keeps_its_position_among_images(reranker):
    nodes = scored(image_node("red"), TextNode(id_="text", text="blue"), image_node("blue"))
    assert ids(reranker.postprocess_nodes(nodes, query_str="blue")) == ["blue", "text", "red"]


def test_a_text_reranker_scores_the_texts():
    reads = FlorenceRerank(reranker=WordReranker())
    nodes = scored(TextNode(id_="a", text="a red wall"), image_node("red"), TextNode(id_="b", text="a blue wall"))
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


def test_if_a_file_is_gone_the_image_of_the_node_is_used(tmp_path):
    for color in ("red", "blue"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        nodes = FlorenceRetriever(rag).retrieve("red")
        (tmp_path / "blue.png").unlink()
        ranked = FlorenceRerank(rag=rag).postprocess_nodes(nodes, query_str="blue")
    assert ranked[0].metadata["source"].endswith("blue.png")


def test_an_image_query_changes_nothing(reranker, folder):
    nodes = scored(image_node("red"), image_node("blue"))
    query = QueryBundle("", image_path=str(folder / "blue.png"))
    assert reranker.postprocess_nodes(nodes, query_bundle=query) == nodes


def test_the_model_scores_only_the_text_of_a_query_with_an_image():
    """The text counts half, so it cannot outweigh a clear result of the search."""
    reranker = FlorenceRerank(reranker=ColorVQA(), weight=0.6)
    nodes = [NodeWithScore(node=image_node("red"), score=1.0), NodeWithScore(node=image_node("blue"), score=0.5)]
    assert ids(reranker.postprocess_nodes(nodes, query_bundle=QueryBundle("blue"))) == ["blue", "red"]
    assert ids(reranker.postprocess_nodes(nodes, query_bundle=QueryBundle("blue", image_path="any.png"))) == [
        "red",
        "blue",
    ]


@pytest.mark.parametrize("vqa", [None, ColorVQA()])
def test_the_reranker_of_the_index_is_used_before_its_matcher(vqa):
    embedder = ColorEmbedder()
    rag = FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=vqa, reranker=WordReranker()))
    nodes = scored(TextNode(id_="a", text="a cat"), TextNode(id_="b", text="a dog"))
    assert ids(FlorenceRerank(rag=rag).postprocess_nodes(nodes, query_str="dog")) == ["b", "a"]


def test_an_index_without_reranker_and_matcher_is_an_error():
    embedder = ColorEmbedder()
    with pytest.raises(InputError, match="open the index with reranker='florence-tiny', name a model, or pass"):
        FlorenceRerank(rag=FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder)))


async def test_it_works_in_a_query_engine(rag):
    reranker = FlorenceRerank(rag=rag, top_n=2)
    engine = RetrieverQueryEngine.from_args(FlorenceRetriever(rag, k=9), llm=MockLLM(), node_postprocessors=[reranker])
    assert len((await engine.aquery("a blue wall")).source_nodes) == 2


def test_it_reports_itself_to_callbacks():
    debug = LlamaDebugHandler(print_trace_on_end=False)
    reranker = FlorenceRerank(reranker=ColorVQA(), callback_manager=CallbackManager([debug]))
    reranker.postprocess_nodes(scored(image_node("red")), query_str="red")
    assert [event.event_type for event in debug.get_events()] == [CBEventType.RERANKING] * 2


async def test_reranking_leaves_the_loop_free(gate):
    class SlowVQA(ColorVQA):
        def match(self, frames, texts):
            gate.wait()
            return super().match(frames, texts)

    reranker = FlorenceRerank(reranker=SlowVQA())
    nodes = scored(image_node("red"), image_node("blue"))
    assert ids(await gate.open_while(reranker.apostprocess_nodes(nodes, query_str="blue"))) == ["blue", "red"]


def test_a_model_is_named(untrained):
    reranker = FlorenceRerank(untrained)
    assert len(reranker.postprocess_nodes(scored(image_node("red"), image_node("blue")), query_str="blue")) == 2
    assert reranker.to_dict()["model_name"] == untrained


def test_nothing_to_rerank_with_is_an_error():
    with pytest.raises(InputError, match="name a model"):
        FlorenceRerank()


def test_no_query_is_an_error(reranker):
    with pytest.raises(InputError, match="no query"):
        reranker.postprocess_nodes(scored(image_node("red")))


@pytest.mark.parametrize("settings", [{"top_n": 0}, {"depth": 0}, {"weight": 0}, {"weight": 2}])
def test_a_setting_that_cannot_work_is_an_error(settings):
    with pytest.raises(ValueError):
        FlorenceRerank(reranker=ColorVQA(), **settings)
