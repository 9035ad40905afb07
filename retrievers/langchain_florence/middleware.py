"""FlorencePictures: middleware for `create_agent` that puts the tools' pictures where the model at hand takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from florence_rag import FlorenceRAG
from florence_rag.errors import MissingExtraError
from florence_rag.tools import Budget, Pictures, check_pictures

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

from langchain_florence.pictures import NEWEST, PicturePlacer


class FlorencePictures(AgentMiddleware[Any, Any, Any]):
    """`create_agent(model, tools=florence_tools(rag), middleware=[FlorencePictures(rag)])`.

    The conversation keeps text and references only; pictures are loaded for each call of the model, so that it may
    change on the way, and memory and checkpoints stay small. "auto" goes by the profile of the model that is called.
    """

    def __init__(
        self, rag: FlorenceRAG, pictures: Pictures = "auto", *, budget: Budget | None = None, newest: int = NEWEST
    ) -> None:
        super().__init__()
        self.pictures = check_pictures(pictures)
        self._place = PicturePlacer(rag, budget, newest)

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """The call, with pictures."""
        return handler(self._shown(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Any:
        """The same; pictures are loaded in a worker thread."""
        return await handler(await asyncio.to_thread(self._shown, request))

    def _shown(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        way = request.model if self.pictures == "auto" else self.pictures
        return request.override(messages=self._place(request.messages, way))
