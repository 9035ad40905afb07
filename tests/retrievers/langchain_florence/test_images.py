"""Each kind of fake chat model receives only images that it accepts (langchain #31950)."""

import base64
import io

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image
from pydantic import Field

from florence_rag.errors import InputError
from florence_rag.testing import COLORS
from florence_rag.tools import Budget
from langchain_florence import FlorenceImages, florence_tools, image_mode_for, place_images

PROFILES = {
    "tool": {"image_inputs": True, "image_tool_message": True},
    "user": {"image_inputs": True, "image_tool_message": False},
    "text": {"image_inputs": False},
}


class StrictModel(GenericFakeChatModel):
    """Refuses images where its profile does not allow them, as providers do, and records the messages."""

    sent: list = Field(default_factory=list)

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages, *args, **kwargs):
        for message, after in zip(messages, [*messages[1:], None], strict=True):
            if images_of(message):
                allowed = "image_tool_message" if isinstance(message, ToolMessage) else "image_inputs"
                if not (self.profile or {}).get(allowed):
                    raise ValueError(f"400: a {message.type} message may not hold images")
            if isinstance(message, AIMessage) and message.tool_calls and not isinstance(after, ToolMessage):
                raise ValueError("400: results must follow their calls")
        self.sent.append(list(messages))
        return super()._generate(messages, *args, **kwargs)


def call(name, id, **arguments):
    return {"name": name, "args": arguments, "id": id, "type": "tool_call"}


def search(id="1", query="red", **arguments):
    return call("search_images", id, query=query, **{"kinds": ["image"], "k": 2, **arguments})


def model_of(profile, *turns):
    replies = [AIMessage("", tool_calls=list(turn)) for turn in turns or [[search()]]]
    return StrictModel(messages=iter([*replies, AIMessage("done")]), profile=profile)


def images_of(message):
    content = message.content if isinstance(message.content, list) else []
    return [block for block in content if isinstance(block, dict) and block["type"] == "image"]


def pixels_of(block):
    assert block["mime_type"] == "image/jpeg"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(block["base64"]))))


def converse(model, rag, image_mode="auto", middleware=True, **settings):
    """Return the messages of the agent, and those that the model received last."""
    tools = florence_tools(rag, image_mode=image_mode)
    middle = [FlorenceImages(rag, image_mode, **settings)] if middleware else []
    agent = create_agent(model, tools=tools, middleware=middle)
    return agent.invoke({"messages": [HumanMessage("What is red?")]})["messages"], model.sent[-1]


def placed(sent):
    """Return the types of the messages that hold images."""
    return [message.type for message in sent for _ in images_of(message)]


@pytest.mark.parametrize("kind", PROFILES)
def test_auto_follows_the_profile_of_the_model(rag, kind):
    model = model_of(PROFILES[kind])
    _, sent = converse(model, rag)
    assert image_mode_for(model) == kind
    assert placed(sent) == {"tool": ["tool", "tool"], "user": ["human", "human"], "text": []}[kind]


def test_a_model_without_a_profile_receives_text(rag):
    _, sent = converse(model_of(None), rag)
    assert placed(sent) == []
    assert "The images show:\n1. <<< asked" in sent[-1].content


@pytest.mark.parametrize(("kind", "expected"), [("tool", "tool"), ("user", "human")])
def test_an_explicit_mode_takes_precedence_over_the_profile(rag, kind, expected):
    _, sent = converse(model_of(PROFILES["tool"]), rag, kind)
    assert set(placed(sent)) == {expected}


def test_the_mode_text_sends_no_images(rag):
    _, sent = converse(model_of(PROFILES["tool"]), rag, "text")
    assert placed(sent) == []
    assert sent[-1].content.count("The images show") == 1


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_the_image_is_that_of_the_result(rag, kind):
    _, sent = converse(model_of(PROFILES[kind]), rag)
    first = next(block for message in sent for block in images_of(message))
    assert np.abs(pixels_of(first).astype(int) - COLORS["red"]).max() < 8


def test_a_tool_without_middleware_places_images_by_its_mode(rag):
    model = model_of(PROFILES["tool"])
    _, sent = converse(model, rag, "tool", middleware=False)
    assert placed(sent) == ["tool", "tool"]


def test_the_tools_can_be_made_for_a_model(rag):
    for kind, expected in (("tool", list), ("user", str), ("text", str)):
        tools = florence_tools(rag, model=model_of(PROFILES[kind]))
        assert {tool.image_mode for tool in tools} == {kind}
        assert isinstance(tools[0].invoke(search()).content, expected)


@pytest.mark.parametrize("mode", ["auto", "user"])
def test_without_middleware_no_model_is_sent_what_it_refuses(rag, mode):
    _, sent = converse(model_of(None), rag, mode, middleware=False)
    assert placed(sent) == []


def test_results_of_one_turn_stay_together(rag):
    """Providers refuse a user message between two results of one turn."""
    turn = [search("1"), search("2", "blue")]
    _, sent = converse(model_of(PROFILES["user"], turn), rag)
    assert [message.type for message in sent] == ["human", "ai", "tool", "tool", "human"]
    texts = [block["text"] for block in sent[-1].content if block["type"] == "text"]
    assert [text for text in texts if text.startswith("Images of the call")] == [
        "Images of the call 1 of search_images:",
        "Images of the call 2 of search_images:",
    ]


def test_the_conversation_holds_no_images(rag):
    messages, _ = converse(model_of(PROFILES["user"]), rag)
    assert [message.type for message in messages] == ["human", "ai", "tool", "ai"]
    assert placed(messages) == []
    assert "base64" not in str(messages)


def test_older_results_keep_their_text_only(rag):
    turns = [[search(str(number))] for number in range(3)]
    _, sent = converse(model_of(PROFILES["tool"], *turns), rag, newest=1)
    results = [message for message in sent if isinstance(message, ToolMessage)]
    assert [len(images_of(message)) for message in results] == [0, 0, 2]
    assert results[0].content == results[2].content[0]["text"]


@pytest.mark.parametrize("kind", ["tool", "user"])
def test_beyond_the_budget_one_contact_sheet_replaces_all_images(rag, kind):
    turn = [search(k=9, kinds=["image", "clip"])]
    messages, sent = converse(model_of(PROFILES[kind], turn), rag, budget=Budget(max_images=2, max_tokens=200))
    (sheet,) = [block for message in sent for block in images_of(message)]
    height, width, _ = pixels_of(sheet).shape
    assert height * width <= 200 * 750
    (artifact,) = [message.artifact for message in messages if isinstance(message, ToolMessage)]
    assert [image["id"] for image in artifact["images"]] == [hit["id"] for hit in artifact["hits"]]


def test_a_call_that_failed_has_no_images(rag):
    _, sent = converse(model_of(PROFILES["tool"], [search(k=0)]), rag)
    assert placed(sent) == []
    assert "k is 0" in sent[-1].content


async def test_the_async_agent_receives_the_same_images(rag):
    model = model_of(PROFILES["user"])
    agent = create_agent(model, tools=florence_tools(rag), middleware=[FlorenceImages(rag)])
    await agent.ainvoke({"messages": [HumanMessage("What is red?")]})
    assert placed(model.sent[-1]) == ["human", "human"]


def test_messages_are_placed_without_an_agent(rag):
    result = florence_tools(rag)[0].invoke(search())
    mine = [HumanMessage("?"), AIMessage("", tool_calls=[search()]), result, AIMessage("so")]
    shown = place_images(mine, rag, "user")
    assert [message.type for message in shown] == ["human", "ai", "tool", "human", "ai"]
    assert mine[2] is result and isinstance(result.content, str)
    assert place_images(shown, rag, model_of(PROFILES["tool"]))[2].content[0]["text"] == result.content


def test_messages_of_other_tools_do_not_change(rag):
    others = [ToolMessage("x", tool_call_id="1", artifact=artifact) for artifact in (None, {"images": 3}, {"a": 1})]
    assert place_images(others, rag, "tool") == others


def test_an_unknown_mode_is_refused(rag):
    for make in (florence_tools, FlorenceImages):
        with pytest.raises(InputError, match="one of auto, tool, user, text"):
            make(rag, image_mode="images")
