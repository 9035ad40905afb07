import base64
import io

import numpy as np
import pytest
from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms.mock import MockLLM, MockLLMWithChatMemoryOfLastCall
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import ImageNode, MetadataMode, QueryBundle
from PIL import Image

from florence_rag import FlorenceRAG, QueryPart
from florence_rag.testing import COLORS, ColorEmbedder, MemoryIndex, color_frame, color_shares
from llama_index_florence import FlorenceRetriever
from llama_index_florence._convert import FencedTextNode


def image_of(node):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(node.image))))


def test_images_and_clips_hold_their_image_and_texts_none(rag):
    nodes = [found.node for found in FlorenceRetriever(rag, k=9).retrieve("red")]
    for node in nodes:
        if node.metadata["kind"] == "text":
            assert type(node) is FencedTextNode
        else:
            assert isinstance(node, ImageNode)
            assert image_of(node).shape[2] == 3
    assert {node.metadata["kind"] for node in nodes} == {"image", "clip", "text"}


def test_a_clip_shows_its_own_shot(rag):
    node = FlorenceRetriever(rag, k=1, kinds={"clip"}).retrieve("purple")[0].node
    assert list(COLORS)[color_shares(image_of(node)).argmax()] == "purple"


def test_no_node_names_a_file_for_llama_index_to_read(rag):
    for found in FlorenceRetriever(rag, k=9).retrieve("red"):
        assert getattr(found.node, "image_path", None) is None
        assert getattr(found.node, "image_url", None) is None


def test_further_parts_are_added_to_every_query(rag):
    retriever = FlorenceRetriever(rag, k=1, kinds={"image"}, parts=[QueryPart("red", weight=-1)])
    assert retriever.retrieve("red or blue")[0].node.metadata["source"].endswith("blue.png")


def test_images_can_be_omitted(rag):
    nodes = FlorenceRetriever(rag, k=9, images=False).retrieve("red")
    assert {type(found.node) for found in nodes} == {FencedTextNode}
    assert [found.node_id for found in nodes] == [
        found.node_id for found in FlorenceRetriever(rag, k=9).retrieve("red")
    ]


def test_an_image_whose_file_is_gone_is_still_found(tmp_path):
    path = tmp_path / "red.png"
    Image.fromarray(color_frame("red")).save(path)
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder) as rag:
        rag.add(path)
        path.unlink()
        found = FlorenceRetriever(rag).retrieve("red")
    assert [type(one.node) for one in found] == [FencedTextNode]
    assert found[0].get_content() == '[image] "red.png"'


def test_metadata_stays_away_from_the_model(rag, folder):
    node = FlorenceRetriever(rag, k=1, kinds={"image"}).retrieve("red")[0].node
    assert str(folder) not in node.get_content(MetadataMode.LLM)
    assert node.get_content(MetadataMode.LLM).splitlines()[2:-1] == ['[image] "red.png"']


def test_nodes_survive_json(rag):
    for found in FlorenceRetriever(rag, k=9).retrieve("red"):
        copy = type(found.node).from_json(found.node.to_json())
        assert copy.metadata == found.node.metadata and copy.node_id == found.node_id


def test_query_strings_of_a_rewriter_are_searched(rag):
    rewritten = QueryBundle("what leaves at nine?", custom_embedding_strs=["blue"])
    retriever = FlorenceRetriever(rag, k=1, kinds={"image"})
    assert retriever.retrieve(rewritten)[0].node_id == retriever.retrieve("blue")[0].node_id


def test_fusion_keeps_the_clips_separate(rag):
    clips = FlorenceRetriever(rag, k=5, kinds={"clip"}, images=False)
    fused = QueryFusionRetriever([clips, clips], num_queries=1, similarity_top_k=10, use_async=False, llm=MockLLM())
    assert len(fused.retrieve("a walk")) == 5


async def test_a_query_engine_reads_text_and_images(rag):
    engine = RetrieverQueryEngine.from_args(
        FlorenceRetriever(rag, k=3), llm=MockLLM(), response_mode=ResponseMode.COMPACT
    )
    response = await engine.aquery("what is red?")
    assert len(response.source_nodes) == 3
    assert '[image] "red.png"' in str(response)


def test_content_blocks_hold_the_text_and_the_image(rag):
    node = FlorenceRetriever(rag, k=1, kinds={"image"}).retrieve("red")[0].node
    text, image = node.get_content_blocks(MetadataMode.LLM)
    assert isinstance(text, TextBlock) and '\n[image] "red.png"\n' in text.text
    assert isinstance(image, ImageBlock) and image.image_mimetype == "image/jpeg"


async def test_a_multimodal_query_engine_shows_the_image_and_its_locator(rag):
    shown = MockLLMWithChatMemoryOfLastCall(is_chat_model=True)
    engine = RetrieverQueryEngine.from_args(FlorenceRetriever(rag, k=1, kinds={"image"}), llm=shown, multimodal=True)
    await engine.aquery("what is red?")
    blocks = shown.last_chat_messages[-1].blocks
    assert sum(isinstance(block, ImageBlock) for block in blocks) == 1
    assert '[image] "red.png"' in "".join(block.text for block in blocks if isinstance(block, TextBlock))


def test_a_node_belongs_to_its_file(rag, folder):
    clips = FlorenceRetriever(rag, k=5, kinds={"clip"}, images=False).retrieve("a walk")
    assert {found.node.ref_doc_id for found in clips} == {str(folder / "walk.mp4")}


def test_copies_of_an_image_stay_separate(tmp_path):
    """LlamaIndex drops nodes with the same hash and ref_doc_id."""
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), embedder) as rag:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            Image.fromarray(color_frame("red")).save(tmp_path / folder / "red.png")
        rag.add(tmp_path)
        left, right = [found.node for found in FlorenceRetriever(rag).retrieve("red")]
    assert left.hash == right.hash and left.ref_doc_id != right.ref_doc_id


def test_a_hit_without_text_reaches_the_model(rag):
    """llama_index #20397: an image that has no text crashed the synthesis."""
    engine = RetrieverQueryEngine.from_args(
        FlorenceRetriever(rag, k=1, kinds={"image"}), llm=MockLLM(), response_mode=ResponseMode.COMPACT
    )
    assert rag.search("red", k=1, kinds={"image"})[0].content == ""
    assert engine.query("red").source_nodes


@pytest.mark.parametrize("settings", [{"k": 0}, {"kinds": {"photo"}}])
def test_a_setting_that_cannot_work_is_an_error(rag, settings):
    with pytest.raises(ValueError):
        FlorenceRetriever(rag, **settings).retrieve("red")
