"""Fake chat models that refuse images as providers do, and an agent that talks to them."""

import base64
import io

import numpy as np
from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from PIL import Image
from pydantic import Field

from langchain_florence import FlorenceImages, florence_tools

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


def search(id="1", query="red red blue", **arguments):
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
