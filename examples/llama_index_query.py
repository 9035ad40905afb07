"""A LlamaIndex query engine that finds pictures and shows them to a multimodal LLM, which answers and cites.

    python examples/llama_index_query.py
    python examples/llama_index_query.py my-photos/ --question "..." --llm llama_index.llms.ollama.Ollama:qwen3-vl

Without a folder it draws a little town and asks about that. Without --llm a scripted model answers with what METER
sees in the pictures that it is sent, so that nothing leaves this machine; --llm takes the class of any LLM of
LlamaIndex that takes pictures, and a model's name.
"""

from __future__ import annotations

import argparse
import importlib
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, TextBlock
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import NodeWithScore

from florence_rag import FlorenceRAG, VQAResult
from florence_rag.datasets.demo_corpus import copy_demo_corpus
from llama_index_florence import FlorenceRerank, FlorenceRetriever, FlorenceVectorStore

QUESTION = "What colour is the car parked next to the fire hydrant?"


def build_engine(rag: FlorenceRAG, llm: LLM, k: int = 3) -> CitationQueryEngine:
    """Finds ten pictures, looks at them with METER, and shows the LLM the best k, with numbers to cite."""
    store = FlorenceVectorStore(rag)
    return CitationQueryEngine.from_args(
        VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model),
        llm=llm,
        retriever=FlorenceRetriever(rag, k=10, kinds={"image", "page", "clip"}),
        node_postprocessors=[FlorenceRerank(rag=rag, top_n=k)],
        multimodal=True,
    )


def cited(response: RESPONSE_TYPE) -> list[NodeWithScore]:
    """The sources that the answer names by number."""
    numbers = dict.fromkeys(int(number) for number in re.findall(r"\[(\d+)\]", str(response)))
    return [response.source_nodes[number - 1] for number in numbers if 0 < number <= len(response.source_nodes)]


class ScriptedLLM(MockFunctionCallingLLM):
    """LlamaIndex's fake model, with a script: look at every picture of the message, give the surest answer."""

    def __init__(self, look: Callable[[bytes, str], VQAResult]) -> None:
        """look: answers a question about the bytes of a picture."""
        super().__init__(response_generator=lambda messages, **_: _answer(messages[-1], look), is_chat_model=True)

    @property
    def metadata(self) -> LLMMetadata:
        """With room for some pictures, of which LlamaIndex thinks that each takes two thousand tokens."""
        return LLMMetadata(context_window=100_000, is_chat_model=True)


def _answer(message: ChatMessage, look: Callable[[bytes, str], VQAResult]) -> ChatMessage:
    """The number of a picture stands in the words before it."""
    number, seen = 0, []
    question = re.findall(r"^Query: (.*)$", message.content or "", re.MULTILINE)[-1]
    for block in message.blocks:
        if isinstance(block, TextBlock):
            number = int(([str(number), *re.findall(r"^\s*Source (\d+):$", block.text, re.MULTILINE)])[-1])
        elif isinstance(block, ImageBlock):
            seen.append((look(block.resolve_image().read(), question), number))
    if not seen:
        return ChatMessage(role="assistant", content="I do not know: there are no pictures.")
    best, number = max(seen, key=lambda each: each[0].confidence or 0.0)
    return ChatMessage(role="assistant", content=f"{best.answer} [{number}]")


def load_llm(name: str | None, rag: FlorenceRAG) -> LLM:
    """ "package.Class:model", or LlamaIndex's fake model with our script."""
    if name is None:
        return ScriptedLLM(rag.ask_image)
    path, _, model = name.partition(":")
    module, _, attribute = path.rpartition(".")
    llm: LLM = getattr(importlib.import_module(module), attribute)(model=model)
    return llm


def show(response: RESPONSE_TYPE) -> None:
    """Print the answer, and every picture that it rests on."""
    print(f"{response}\n")
    for found in cited(response):
        source: dict[str, Any] = found.node.metadata
        print(f"Source: {source['source']} (id {source['id']}, {source['explanation']})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Index the folder into a database that lives as long as this run, and ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="pictures to ask about (default: draw some)")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--llm", help="such as llama_index.llms.ollama.Ollama:qwen3-vl (default: scripted)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if options.folder is None:
            copy_demo_corpus(Path(scratch))
        with FlorenceRAG.open(Path(scratch) / "query.db", "florence-tiny", ocr="never") as rag:
            rag.add(options.folder or Path(scratch) / "photos")
            show(build_engine(rag, load_llm(options.llm, rag)).query(options.question))


if __name__ == "__main__":
    main()
