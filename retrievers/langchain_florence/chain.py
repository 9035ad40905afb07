"""A chain that holds a conversation with an index, and an agent that has its tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Unpack

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableLambda

from florence_rag import Chat, FlorenceRAG, InputError, Turn
from florence_rag.chat.session import ChatOptions
from florence_rag.chat.session_file import turn_from_dict, turn_to_dict
from florence_rag.index.base import ChunkReader
from florence_rag.tools import Budget, ImageMode, check_image_mode
from florence_rag.types import Answer
from florence_rag.validation import validate_arguments
from langchain_florence.images import block_to_image, image_mode_for
from langchain_florence.retriever import hit_to_document

TURN = "florence_turn"
"""The key of a reply's `additional_kwargs` with its turn, from which the next call continues."""

INSTRUCTION = """\
You answer questions about the user's own files. Look for evidence with the tools, and name the files that your answer
rests on. If nothing answers the question, say so."""

Conversation = str | BaseMessage | Sequence[Any] | Mapping[str, Any]


@validate_arguments
def create_rag_chain(
    rag: FlorenceRAG,
    llm: BaseChatModel | None = None,
    *,
    image_mode: ImageMode = "auto",
    **options: Unpack[ChatOptions],
) -> Runnable[Any, AIMessageChunk]:
    """Return a chain from a text, or from the messages of a conversation, to a reply that cites its results by number.

        chain = create_rag_chain(rag, init_chat_model("openai:gpt-5-mini"))
        reply = chain.invoke("What color is the car?")
        chain.invoke([HumanMessage("What color is the car?"), reply, HumanMessage("and what is next to it?")])
        cited_documents(rag, reply)

    The model receives the images of the present results only. The reply carries the ids of its results, so that any
    memory, such as a checkpointer, keeps what the next message may refer to. The chain streams.

    Args:
        rag: The index.
        llm: The chat model; None to answer by the VQA model and by quotes.
        image_mode: "text" describes the images instead of sending them; "auto" uses the profile of the model.
        **options: As for `FlorenceRAG.chat`.
    """
    if check_image_mode(image_mode) == "auto" and llm is not None:
        image_mode = image_mode_for(llm)
    if image_mode == "text":
        options["budget"] = Budget(max_images=0)
    # LangGraph would stream what the model says before `without_markup`, and the follow-ups that it rewrites.
    model = llm and llm.with_config(tags=["nostream"])

    def answer(conversation: Conversation) -> Iterator[AIMessageChunk]:
        chat = rag.chat(model, **options)
        text, image = read_conversation(rag, conversation, chat)
        for part in chat.stream(text, image):
            if isinstance(part, Turn):
                yield AIMessageChunk(content="", additional_kwargs={TURN: turn_to_dict(part)})
            else:
                yield AIMessageChunk(content=part)

    async def answer_async(conversation: Conversation) -> AsyncIterator[AIMessageChunk]:
        parts = answer(conversation)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield part

    return RunnableLambda(answer, answer_async, name="florence_rag")


def read_conversation(rag: FlorenceRAG, conversation: Conversation, chat: Chat) -> tuple[str, Any]:
    """Return the text and the image of the last message; the earlier ones become the history of the chat."""
    if isinstance(conversation, Mapping):
        conversation = conversation["messages"]
    if isinstance(conversation, str | BaseMessage):
        conversation = [conversation]
    *earlier, last = convert_to_messages(conversation)
    if not isinstance(last, HumanMessage):
        raise InputError(f"the last message is of type {last.type!r}; it must be one of the user")
    chat.history = list(_turns(earlier, rag.index))
    return last.text, next((block_to_image(block) for block in last.content_blocks if block["type"] == "image"), None)


def cited_documents(rag: FlorenceRAG, reply: BaseMessage) -> dict[int, Document]:
    """Return the documents that a reply of the chain cites, by the numbers in its text."""
    turn = turn_from_dict(reply.additional_kwargs[TURN], rag.index)
    return {number: hit_to_document(turn.hits[number - 1]) for number in turn.citations}


@validate_arguments
def create_rag_agent(
    rag: FlorenceRAG,
    llm: str | BaseChatModel,
    *,
    image_mode: ImageMode = "auto",
    budget: Budget | None = None,
    system_prompt: str = INSTRUCTION,
    **settings: Any,
) -> Any:
    """Return an agent of LangChain with the tools of an index, whose images are placed where its model accepts them.

    Args:
        rag: The index.
        llm: The chat model, or its name for `init_chat_model`.
        image_mode: As for `FlorenceImages`.
        budget: As for `FlorenceImages`.
        system_prompt: The instruction of the agent.
        **settings: Further arguments of `create_agent`, such as `checkpointer`.
    """
    from langchain.agents import create_agent

    from langchain_florence.middleware import FlorenceImages
    from langchain_florence.tools import florence_tools

    middleware = [FlorenceImages(rag, image_mode, budget=budget), *settings.pop("middleware", ())]
    return create_agent(llm, florence_tools(rag), system_prompt=system_prompt, middleware=middleware, **settings)


def _turns(messages: Sequence[BaseMessage], index: ChunkReader) -> Iterator[Turn]:
    """Yield the turns that messages record; a reply from elsewhere is a turn without results."""
    question = ""
    for message in messages:
        if isinstance(message, HumanMessage):
            question = message.text
        elif isinstance(message, AIMessage) and TURN in message.additional_kwargs:
            yield turn_from_dict(message.additional_kwargs[TURN], index)
        elif isinstance(message, AIMessage) and message.text:
            yield Turn(question, question, Answer(message.text, None))
