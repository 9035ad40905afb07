"""A chatbot in LangChain: it remembers the conversation in a checkpointer, shows images to the model, and cites them.

    python examples/rag_chatbot_langchain.py
    python examples/rag_chatbot_langchain.py my-photos/ --db photos.db --model openai:gpt-5-mini

Each line of standard input is a message. A folder is indexed by the default model, once: the database is kept. Without
a folder and --db it talks about the demo corpus. Without --model the VQA model answers, so that nothing leaves this
machine; --model takes any name that LangChain's init_chat_model knows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from example_index import index_parser, open_index
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from florence_rag import FlorenceRAG
from langchain_florence import cited_documents, create_rag_chain


def build_chatbot(rag: FlorenceRAG, model: BaseChatModel | None) -> Any:
    """Return a graph that answers the last message; the checkpointer keeps the conversations by their thread."""
    chain = create_rag_chain(rag, model)

    def answer(state: MessagesState) -> dict[str, Any]:
        write, reply = get_stream_writer(), AIMessageChunk("")
        for part in chain.stream(state["messages"]):
            write(part.text)
            reply += part
        return {"messages": [reply]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    return graph.compile(checkpointer=InMemorySaver())  # a database in production


def talk(rag: FlorenceRAG, chatbot: Any, lines: Iterable[str], thread: str = "1") -> None:
    """Answer each line, and print the files that the answer cites."""
    config = {"configurable": {"thread_id": thread}}
    for line in filter(None, map(str.strip, lines)):
        state = {"messages": [HumanMessage(line)]}
        for part in chatbot.stream(state, config, stream_mode="custom"):
            print(part, end="", flush=True)
        reply = chatbot.get_state(config).values["messages"][-1]
        print()
        for number, document in cited_documents(rag, reply).items():
            print(f"  [{number}] {document.metadata['source']}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and talk."""
    parser = index_parser(__doc__, "what to talk about")
    parser.add_argument("--model", help="a name for init_chat_model, such as openai:gpt-5-mini (default: none)")
    options = parser.parse_args(arguments)
    with open_index(options.folder, options.db) as rag:
        model = init_chat_model(options.model) if options.model else None
        talk(rag, build_chatbot(rag, model), sys.stdin)


if __name__ == "__main__":
    main()
