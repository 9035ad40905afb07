import asyncio

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, LLMMetadata
from llama_index.core.llms.mock import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import ImageNode, QueryBundle
from PIL import Image

from florence_rag import ModelError
from florence_rag.testing import color_frame
from llama_index_florence import FlorenceChatEngine, FlorenceQueryEngine


@pytest.fixture
def rag(three_colors):
    return three_colors


class Scripted(MockLLM):
    """LlamaIndex's fake LLM with scripted replies, which keeps the messages that it received."""

    replies: list = []
    received: list = []
    is_blind: bool = False

    @property
    def metadata(self):
        class Declared(LLMMetadata):
            image_inputs: bool = True

        return LLMMetadata() if self.is_blind else Declared()

    def stream_chat(self, messages, **_):
        self.received.append(messages)
        reply = self.replies.pop(0)
        for word in reply.split(" "):
            delta = word if word == reply.split(" ")[0] else f" {word}"
            yield ChatResponse(message=ChatMessage(reply, role="assistant"), delta=delta)

    def images(self):
        return [block for block in self.received[-1][-1].blocks if isinstance(block, ImageBlock)]


def scripted(*replies, **fields):
    llm = Scripted()
    for name, value in {"replies": list(replies), "received": [], **fields}.items():
        setattr(llm, name, value)
    return llm


def test_a_query_engine_passes_images_and_returns_them(rag):
    llm = scripted("A red wall [1].")
    response = FlorenceQueryEngine(rag, llm, k=2).query("red")
    assert (str(response), response.metadata["citations"]) == ("A red wall [1].", [1])
    assert len(llm.images()) == 1  # the other hit is not relevant
    assert isinstance(response.source_nodes[0].node, ImageNode)
    assert response.source_nodes[0].node.metadata["source"].endswith("red.png")


def test_a_text_llm_gets_a_description(rag):
    llm = scripted("Red [1].", is_blind=True)
    FlorenceQueryEngine(rag, llm, k=1).query("red")
    assert llm.images() == []
    assert "Its image is not shown" in llm.received[0][-1].content


def test_a_query_is_streamed_and_may_have_an_image(rag, tmp_path):
    response = FlorenceQueryEngine(rag, scripted("A red wall [1]."), streaming=True, k=1).query("red")
    assert list(response.response_gen) == ["A", " red", " wall", " [1]."]
    assert len(response.source_nodes) == 1
    Image.fromarray(color_frame("blue")).save(tmp_path / "query.png")
    bundle = QueryBundle("What color is the wall?", image_path=str(tmp_path / "query.png"))
    assert str(FlorenceQueryEngine(rag).query(bundle)).startswith("blue")
    assert str(asyncio.run(FlorenceQueryEngine(rag).aquery("red"))).startswith("The best matches")


@pytest.mark.parametrize("memory", [None, ChatMemoryBuffer.from_defaults(token_limit=100_000)], ids=["own", "buffer"])
def test_a_chat_engine_remembers(rag, memory):
    llm = scripted("A red wall [1].", "blue", "A blue wall [1].")
    engine = FlorenceChatEngine(rag, llm, memory=memory, k=1)
    assert str(engine.chat("red")) == "A red wall [1]."
    answer = engine.chat("and the other?")
    assert answer.source_nodes[0].node.metadata["source"].endswith("blue.png")
    assert '[1.1] [image] "red.png"' in llm.received[1][-1].content
    assert [message.role.value for message in engine.chat_history] == ["user", "assistant"] * 2
    engine.reset()
    assert engine.chat_history == []


def test_a_chat_engine_streams(rag):
    engine = FlorenceChatEngine(rag, scripted("A red wall [1].", "A red wall [1]."), k=1)
    reply = engine.stream_chat("red")
    assert list(reply.response_gen) == ["A", " red", " wall", " [1]."]
    assert reply.response == "A red wall [1]."
    assert reply.source_nodes[0].node.metadata["source"].endswith("red.png")

    async def collect():
        reply = await FlorenceChatEngine(rag, scripted("Red [1]."), k=1).astream_chat("red")
        return [part async for part in reply.async_response_gen()]

    assert "".join(asyncio.run(collect())) == "Red [1]."
    assert str(asyncio.run(FlorenceChatEngine(rag).achat("hello"))).startswith("Hello")


def test_a_reply_makes_a_page_fetch_nothing(rag):
    llm = scripted(*["Red ![x](https://evil.example/)"] * 2)
    assert str(FlorenceQueryEngine(rag, llm, k=1).query("red")) == "Red ![x] (https://evil.example/)"
    assert str(FlorenceChatEngine(rag, llm, k=1).chat("red")) == "Red ![x] (https://evil.example/)"


def test_a_given_history_replaces_the_own(rag):
    engine = FlorenceChatEngine(rag)
    engine.chat("red")
    engine.chat("hello", chat_history=[ChatMessage("hi", role="user"), ChatMessage("Hello.", role="assistant")])
    assert [message.content for message in engine.chat_history][:3] == ["hi", "Hello.", "hello"]


def test_a_failing_llm_is_one_line(rag):
    with pytest.raises(ModelError, match=r"^the chat model failed \(IndexError\)"):
        FlorenceChatEngine(rag, scripted()).chat("red")
