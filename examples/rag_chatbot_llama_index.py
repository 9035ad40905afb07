"""A chatbot in LlamaIndex: it remembers the conversation in a memory, shows images to the LLM, and cites them.

    python examples/rag_chatbot_llama_index.py
    python examples/rag_chatbot_llama_index.py my-photos/ --db photos.db --model llama_index.llms.ollama.Ollama:qwen3-vl

Each line of standard input is a message. A folder is indexed by the default model, once: the database is kept. Without
a folder and --db it talks about the demo corpus. Without --model the VQA model answers, so that nothing leaves this
machine; --model takes the class of any LLM of LlamaIndex, and a model's name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Sequence

from example_index import index_parser, open_index
from llama_index.core.llms import LLM
from llama_index.core.memory import ChatMemoryBuffer

from florence_rag import FlorenceRAG
from llama_index_florence import FlorenceChatEngine


def build_chatbot(rag: FlorenceRAG, llm: LLM | None) -> FlorenceChatEngine:
    """Return an engine that shows images to the LLM; drop image_mode for an LLM that accepts none."""
    memory = ChatMemoryBuffer.from_defaults(token_limit=100_000)
    return FlorenceChatEngine(rag, llm, memory=memory, image_mode="user")


def load_llm(name: str) -> LLM:
    """Return the LLM named "package.Class:model"."""
    path, _, model = name.partition(":")
    module, _, attribute = path.rpartition(".")
    llm: LLM = getattr(importlib.import_module(module), attribute)(model=model)
    return llm


def talk(chatbot: FlorenceChatEngine, lines: Iterable[str]) -> None:
    """Answer each line, and print the files of the results."""
    for line in filter(None, map(str.strip, lines)):
        reply = chatbot.stream_chat(line)
        for part in reply.response_gen:
            print(part, end="", flush=True)
        print()
        for number, found in enumerate(reply.source_nodes, start=1):
            print(f"  [{number}] {found.node.metadata['source']}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and talk."""
    parser = index_parser(__doc__, "what to talk about")
    parser.add_argument("--model", help="such as llama_index.llms.ollama.Ollama:qwen3-vl (default: none)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db) as rag:
        talk(build_chatbot(rag, load_llm(options.model) if options.model else None), sys.stdin)


if __name__ == "__main__":
    main()
