"""A LlamaIndex query engine that retrieves images and passes them to a multimodal LLM, which answers and cites them.

    python examples/llama_index_query.py
    python examples/llama_index_query.py my-photos/ --db photos.db --llm llama_index.llms.ollama.Ollama:qwen3-vl

A folder is indexed by the default model, once: the database is kept. Without a folder and --db it asks about the demo
corpus. Without --llm a scripted model answers with the VQA model's answers about the images that it receives, so that
nothing leaves this machine; --llm takes the class of any LLM of LlamaIndex that accepts images, and a model's name.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from example_index import index_parser, open_index
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, LLMMetadata, TextBlock
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.llms import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import CitationQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore

from florence_rag import FlorenceRAG, VQAResult
from llama_index_florence import FlorenceRerank, FlorenceRetriever, FlorenceVectorStore

QUESTION = "What color is the car parked next to the fire hydrant?"


def build_engine(rag: FlorenceRAG, llm: LLM, k: int = 3) -> CitationQueryEngine:
    """Return an engine that retrieves ten images, reranks them, and passes the best k to the LLM."""
    store = FlorenceVectorStore(rag)
    return CitationQueryEngine.from_args(
        VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model),
        llm=llm,
        retriever=FlorenceRetriever(rag, k=10, kinds={"image", "page", "clip"}),
        node_postprocessors=[FlorenceRerank(rag=rag, top_n=k)],
        multimodal=True,
        metadata_mode=MetadataMode.LLM,  # in which the text of files stands in a fence
    )


def cited(response: RESPONSE_TYPE) -> list[NodeWithScore]:
    """Return the sources that the answer cites by number."""
    numbers = dict.fromkeys(int(number) for number in re.findall(r"\[(\d+)\]", str(response)))
    return [response.source_nodes[number - 1] for number in numbers if 0 < number <= len(response.source_nodes)]


class ScriptedLLM(MockFunctionCallingLLM):
    """LlamaIndex's fake LLM, which asks a VQA model about each image and gives the most confident answer.

    Args:
        answer_image: Answers a question about an image, which it receives as bytes.
    """

    def __init__(self, answer_image: Callable[[bytes, str], VQAResult]) -> None:
        super().__init__(
            response_generator=lambda messages, **_: _answer(messages[-1], answer_image), is_chat_model=True
        )

    @property
    def metadata(self) -> LLMMetadata:
        """A context window with room for several images, which LlamaIndex counts as 2,000 tokens each."""
        return LLMMetadata(context_window=100_000, is_chat_model=True)


def _answer(message: ChatMessage, answer_image: Callable[[bytes, str], VQAResult]) -> ChatMessage:
    """Answer from the images of a message; the text before each image gives its number."""
    number, results = 0, []
    question = re.findall(r"^Query: (.*)$", message.content or "", re.MULTILINE)[-1]
    for block in message.blocks:
        if isinstance(block, TextBlock):
            number = int(([str(number), *re.findall(r"^\s*Source (\d+):$", block.text, re.MULTILINE)])[-1])
        elif isinstance(block, ImageBlock):
            results.append((answer_image(block.resolve_image().read(), question), number))
    if not results:
        return ChatMessage(role="assistant", content="I do not know: there are no images.")
    best, number = max(results, key=lambda result: result[0].confidence or 0.0)
    return ChatMessage(role="assistant", content=f"{best.answer} [{number}]")


def load_llm(name: str | None, rag: FlorenceRAG) -> LLM:
    """Return the LLM named "package.Class:model", or the scripted one."""
    if name is None:
        return ScriptedLLM(rag.ask_image)
    path, _, model = name.partition(":")
    module, _, attribute = path.rpartition(".")
    llm: LLM = getattr(importlib.import_module(module), attribute)(model=model)
    return llm


def show(response: RESPONSE_TYPE) -> None:
    """Print the answer and each image that it cites."""
    print(f"{response}\n")
    for found in cited(response):
        source: dict[str, Any] = found.node.metadata
        print(f"Source: {source['source']} (id {source['id']}, {source['explanation']})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and ask the question."""
    parser = index_parser(__doc__, "images to ask about")
    parser.add_argument("--question", default=QUESTION)
    parser.add_argument("--llm", help="such as llama_index.llms.ollama.Ollama:qwen3-vl (default: scripted)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db) as rag:
        show(build_engine(rag, load_llm(options.llm, rag)).query(options.question))


if __name__ == "__main__":
    main()
