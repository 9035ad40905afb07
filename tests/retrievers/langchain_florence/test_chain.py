import asyncio
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, message_to_dict, messages_from_dict
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from florence_rag import InputError
from florence_rag.testing import color_frame
from florence_rag.viz.thumbnails import data_uri
from langchain_florence import cited_documents, create_rag_agent, create_rag_chain


@pytest.fixture
def rag(three_colors):
    return three_colors


class Scripted(BaseChatModel):
    """A chat model that gives scripted replies, and keeps the messages that it received."""

    replies: list[Any]
    received: list[Any] = []

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **_):
        self.received.append(messages)
        reply = self.replies.pop(0)
        message = AIMessage(reply) if isinstance(reply, str) else reply
        return ChatResult(generations=[ChatGeneration(message=message)])

    def images(self):
        return [block for block in self.received[-1][-1].content_blocks if block["type"] == "image"]


def sees(*replies):
    return Scripted(replies=list(replies), received=[], profile={"image_inputs": True})


def test_a_reply_cites_documents_whose_images_the_model_saw(rag):
    model = sees("A red wall [1].")
    reply = create_rag_chain(rag, model, k=2).invoke("red")
    assert reply.text == "A red wall [1]."
    assert [document.metadata["source"][-7:] for document in cited_documents(rag, reply).values()] == ["red.png"]
    assert len(model.images()) == 1  # the other hit is not relevant


def test_a_follow_up_continues_the_messages(rag):
    model = sees("A red wall [1].", "blue", "A blue wall [1].")
    chain = create_rag_chain(rag, model, k=1)
    reply = chain.invoke("red")
    stored = messages_from_dict([message_to_dict(HumanMessage("red")), message_to_dict(reply)])
    answer = chain.invoke([*stored, HumanMessage("and the other?")])
    assert cited_documents(rag, answer)[1].metadata["source"].endswith("blue.png")
    assert '[1.1] [image] "red.png"' in model.received[1][-1].text


def test_a_text_model_gets_a_description_instead_of_images(rag):
    model = Scripted(replies=["Red [1]."], received=[])
    create_rag_chain(rag, model, k=1).invoke("red")
    assert model.images() == []
    assert "Its image is not shown" in model.received[0][-1].text
    assert 'Another model says of it: "red"' in model.received[0][-1].text


def test_parts_are_streamed(rag):
    chain = create_rag_chain(rag, sees("A red wall [1]."), k=1)
    parts = list(chain.stream("red"))
    assert "".join(part.text for part in parts) == "A red wall [1]."

    async def collect():
        return [part.text async for part in create_rag_chain(rag, sees("Red [1]."), k=1).astream("red")]

    assert "".join(asyncio.run(collect())) == "Red [1]."
    assert asyncio.run(create_rag_chain(rag).ainvoke("red")).text.startswith("The best matches: [1] red.png")


def test_langgraph_streams_the_reply_without_markup_once(rag):
    chain = create_rag_chain(rag, sees("Red [1].", "blue", "Blue ![x](https://evil.example/)"), k=1)
    graph = StateGraph(MessagesState).add_node("answer", lambda state: {"messages": [chain.invoke(state["messages"])]})
    app = graph.add_edge(START, "answer").compile(checkpointer=InMemorySaver())

    def say(text):
        state, config = {"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": "1"}}
        parts = app.stream(state, config, stream_mode="messages")
        return "".join(part.text for part, _ in parts if isinstance(part, AIMessage))

    assert say("red") == "Red [1]."
    assert say("and the other?") == "Blue ![x] (https://evil.example/)"


def test_an_image_of_the_user_is_asked_about(rag):
    block = {"type": "image", "url": data_uri(color_frame("blue"))}
    message = HumanMessage([{"type": "text", "text": "What color is the wall?"}, block])
    assert create_rag_chain(rag).invoke(message).text.startswith("blue")


def test_a_checkpointer_keeps_the_conversation(rag):
    chain = create_rag_chain(rag)
    graph = StateGraph(MessagesState)
    graph.add_node("answer", lambda state: {"messages": [chain.invoke(state["messages"])]})
    graph.add_edge(START, "answer")
    app = graph.compile(checkpointer=InMemorySaver())

    def say(text, thread):
        found = app.invoke({"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": thread}})
        return found["messages"][-1].text

    assert say("red", "one").startswith("The best matches: [1] red.png")
    assert "red.png" in say("show me the first one", "one")
    assert "red.png" in say("back to the first", "one")
    assert "There are no results yet" not in say("show me the first one", "two")


def test_the_last_message_is_of_the_user(rag):
    with pytest.raises(InputError, match="must be one of the user"):
        create_rag_chain(rag).invoke([AIMessage("hello")])


def test_an_agent_searches_and_keeps_its_conversation(rag):
    call = AIMessage(
        "", tool_calls=[{"name": "search_images", "args": {"query": "red"}, "id": "1", "type": "tool_call"}]
    )
    model = sees(call, "red.png shows it.", "As I said.")
    agent = create_rag_agent(rag, model, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    found = agent.invoke({"messages": [HumanMessage("Where is red?")]}, config)["messages"]
    assert "red.png" in found[2].text
    again = agent.invoke({"messages": [HumanMessage("Are you sure?")]}, config)["messages"]
    assert (again[-1].text, len(again)) == ("As I said.", 6)
