"""A LlamaIndex agent that searches for an image, asks the VQA model about it, and cites the source of the answer.

    python examples/visual_agent_llama_index.py
    python examples/visual_agent_llama_index.py my-photos/ --db photos.db --llm llama_index.llms.ollama.Ollama:qwen3

A folder is indexed by the default model, once: the database is kept. Without a folder and --db it asks about the demo
corpus. Without --llm a scripted model plays the agent, so that nothing leaves this machine; --llm takes the class of
any function-calling LLM of LlamaIndex and a model's name.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Sequence
from typing import Any

from example_index import index_parser, open_index
from llama_index.core.agent.workflow import AgentOutput, FunctionAgent, ToolCallResult
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM

from florence_rag import FlorenceRAG
from llama_index_florence import FlorenceToolSpec

QUESTION = "What color is the car parked next to the fire hydrant?"


def next_line(messages: Sequence[ChatMessage], **_: Any) -> ChatMessage:
    """Return the next message of the script: search, ask about the best image, repeat the tool's answer."""
    question = next(message.content or "" for message in messages if message.role == "user")
    last = messages[-1].content or ""
    if messages[-1].role == "user":
        return _call("search_images", query=question, k=1, kinds=["image"])
    if found := re.search(r"^1\. id ([0-9a-f]{32})", last, re.MULTILINE):
        return _call("ask_image", image=found[1], question=question)
    return ChatMessage(role="assistant", content=last)


def _call(name: str, **arguments: Any) -> ChatMessage:
    call = ToolCallBlock(tool_call_id=name, tool_name=name, tool_kwargs=arguments)
    return ChatMessage(role="assistant", blocks=[call])


def load_llm(name: str | None) -> LLM:
    """Return the LLM named "package.Class:model", or the scripted one."""
    if name is None:
        return MockFunctionCallingLLM(response_generator=next_line)
    path, _, model = name.partition(":")
    module, _, attribute = path.rpartition(".")
    llm: LLM = getattr(importlib.import_module(module), attribute)(model=model)
    return llm


async def run_agent(rag: FlorenceRAG, question: str, llm: LLM) -> AgentOutput:
    """Return the answer, with the tool calls that led to it."""
    agent = FunctionAgent(tools=[*FlorenceToolSpec(rag).to_tool_list()], llm=llm, streaming=False)
    output: AgentOutput = await agent.run(question)
    return output


def show(output: AgentOutput) -> None:
    """Print the tool calls, the answer, and each image that a tool examined."""
    for call in output.tool_calls:
        print(f"-> {call.tool_name}({', '.join(f'{name}={value!r}' for name, value in call.tool_kwargs.items())})")
    print(f"\n{output}\n")
    for call in output.tool_calls:
        if isinstance(call, ToolCallResult) and call.tool_name == "ask_image" and not call.tool_output.is_error:
            for citation in call.tool_output.raw_output["citations"]:
                print(f"Source: {citation['source']} (id {citation['id']}, confidence {citation['confidence']:.2f})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and run the agent."""
    parser = index_parser(__doc__, "images to ask about")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--llm", help="such as llama_index.llms.ollama.Ollama:qwen3 (default: scripted)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db) as rag:
        show(asyncio.run(run_agent(rag, options.question, load_llm(options.llm))))


if __name__ == "__main__":
    main()
