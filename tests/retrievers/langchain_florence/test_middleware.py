import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_florence import FlorenceImages, florence_tools, image_mode_for
from tests.retrievers.langchain_florence.agents import PROFILES, converse, model_of, placed, search


@pytest.mark.parametrize("kind", PROFILES)
def test_auto_follows_the_profile_of_the_model(rag, kind):
    model = model_of(PROFILES[kind])
    _, sent = converse(model, rag)
    assert image_mode_for(model) == kind
    assert placed(sent) == {"tool": ["tool", "tool"], "user": ["human", "human"], "text": []}[kind]


def test_a_model_without_a_profile_receives_text(rag):
    _, sent = converse(model_of(None), rag)
    assert placed(sent) == []
    assert 'The images show:\n1. "asked' in sent[-1].content


@pytest.mark.parametrize(("kind", "expected"), [("tool", "tool"), ("user", "human")])
def test_an_explicit_mode_takes_precedence_over_the_profile(rag, kind, expected):
    _, sent = converse(model_of(PROFILES["tool"]), rag, kind)
    assert set(placed(sent)) == {expected}


def test_the_conversation_holds_no_images(rag):
    messages, _ = converse(model_of(PROFILES["user"]), rag)
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert placed(messages) == []
    assert "base64" not in str(messages)


async def test_the_async_agent_receives_the_same_images(rag):
    model = model_of(PROFILES["user"])
    agent = create_agent(model, tools=florence_tools(rag), middleware=[FlorenceImages(rag)])
    await agent.ainvoke({"messages": [HumanMessage("What is red?")]})
    assert placed(model.sent[-1]) == ["human", "human"]


def test_the_model_may_change_during_a_conversation(rag):
    middleware = FlorenceImages(rag)
    result = florence_tools(rag)[0].invoke(search())
    messages = [HumanMessage("What is red?"), AIMessage("", tool_calls=[search()]), result]
    for kind, expected in (("tool", ["tool", "tool"]), ("text", []), ("user", ["human", "human"])):
        request = ModelRequest(model=model_of(PROFILES[kind]), messages=messages)
        assert placed(middleware.wrap_model_call(request, lambda sent: sent.messages)) == expected
        assert request.messages == messages


def test_the_answer_of_the_model_is_returned(rag):
    request = ModelRequest(model=model_of(None), messages=[HumanMessage("Hello")])
    assert FlorenceImages(rag).wrap_model_call(request, lambda sent: AIMessage("so")).content == "so"


def test_no_result_is_shown_if_newest_is_zero(rag):
    _, sent = converse(model_of(PROFILES["tool"]), rag, newest=0)
    assert placed(sent) == []


async def test_images_load_while_the_event_loop_is_free(rag, gate, monkeypatch):
    frames = rag.frames
    monkeypatch.setattr(rag, "frames", lambda *args: (gate.wait(), frames(*args))[1])
    result = florence_tools(rag)[0].invoke(search())
    request = ModelRequest(
        model=model_of(PROFILES["user"]), messages=[HumanMessage("?"), AIMessage("", tool_calls=[search()]), result]
    )

    async def sent_messages(sent):
        return sent.messages

    assert placed(await gate.open_while(FlorenceImages(rag).awrap_model_call(request, sent_messages))) == ["human"] * 2
