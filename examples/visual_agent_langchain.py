"""A LangChain agent that searches for an image, asks the VQA model about it, and cites the source of the answer.

    python examples/visual_agent_langchain.py
    python examples/visual_agent_langchain.py my-photos/ --db photos.db --question "..." --model openai:gpt-5-mini

A folder is indexed by the default model, once: the database is kept. Without a folder and --db it asks about the demo
corpus. Without --model a scripted model plays the agent, so that nothing leaves this machine; --model takes any name
that LangChain's init_chat_model knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from example_index import index_parser, open_index
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatResult

from florence_rag import FlorenceRAG
from langchain_florence import FlorenceImages, florence_tools

QUESTION = "What color is the car parked next to the fire hydrant?"


class ScriptedModel(GenericFakeChatModel):
    """LangChain's fake chat model, scripted to search, to ask about the best image, and to repeat the tool's answer."""

    messages: Iterator[AIMessage | str] = iter(())

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> ScriptedModel:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.messages = iter([self._next_line(messages)])
        return super()._generate(messages, *args, **kwargs)

    def _next_line(self, messages: list[BaseMessage]) -> AIMessage:
        question, last = messages[0].text, messages[-1]
        if not isinstance(last, ToolMessage):
            return _call("search_images", query=question, k=1, kinds=["image"])
        if last.name == "search_images" and (found := re.search(r"id ([0-9a-f]{32})", last.text)):
            return _call("ask_image", image=found[1], question=question)
        return AIMessage(last.text)


def _call(name: str, **arguments: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": name, "type": "tool_call"}])


def run_agent(rag: FlorenceRAG, question: str, model: str | BaseChatModel) -> list[AnyMessage]:
    """Return the whole conversation, with the answer last. A model that accepts images receives those of the tools."""
    agent = create_agent(model, tools=florence_tools(rag), middleware=[FlorenceImages(rag)])
    messages: list[AnyMessage] = agent.invoke({"messages": [HumanMessage(question)]})["messages"]
    return messages


def show(messages: list[AnyMessage]) -> None:
    """Print the tool calls, the answer, and each image that a tool examined."""
    for message in messages:
        for call in getattr(message, "tool_calls", ()):
            print(f"-> {call['name']}({', '.join(f'{name}={value!r}' for name, value in call['args'].items())})")
    print(f"\n{messages[-1].text}\n")
    for message in messages:
        if isinstance(message, ToolMessage) and message.name == "ask_image" and message.artifact:
            for citation in message.artifact["citations"]:
                print(f"Source: {citation['source']} (id {citation['id']}, confidence {citation['confidence']:.2f})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and run the agent."""
    parser = index_parser(__doc__, "images to ask about")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--model", help="a name for init_chat_model, such as openai:gpt-5-mini (default: scripted)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db) as rag:
        show(run_agent(rag, options.question, options.model or ScriptedModel()))


if __name__ == "__main__":
    main()
