"""FlorenceImages: middleware for `create_agent` that places the images of tool results where the model accepts them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from florence_rag import FlorenceRAG
from florence_rag.errors import MissingExtraError
from florence_rag.tools import Budget, ImageMode, check_image_mode
from florence_rag.validation import validate_arguments

try:
    from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
except ImportError as error:
    raise MissingExtraError("langchain", "langchain") from error

from langchain_florence.images import NEWEST, ImagePlacer


@validate_arguments
class FlorenceImages(AgentMiddleware[Any, Any, Any]):
    """Agent middleware: `create_agent(model, tools=florence_tools(rag), middleware=[FlorenceImages(rag)])`.

    The conversation holds text and references only. Images are loaded for each model call, so the model may change
    during a conversation, and memory and checkpoints stay small.

    Args:
        rag: The index that the tools work on.
        image_mode: Where images are placed; "auto" uses the profile of the model that is called.
        budget: The limits for the images of one tool result.
        newest: The number of newest results that are shown with images.
    """

    def __init__(
        self, rag: FlorenceRAG, image_mode: ImageMode = "auto", *, budget: Budget | None = None, newest: int = NEWEST
    ) -> None:
        super().__init__()
        self.image_mode = check_image_mode(image_mode)
        self._place = ImagePlacer(rag, budget, newest)

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        """Call the model with images placed."""
        return handler(self._with_images(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> Any:
        """Call the model with images placed; a worker thread loads them."""
        return await handler(await asyncio.to_thread(self._with_images, request))

    def _with_images(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        mode = request.model if self.image_mode == "auto" else self.image_mode
        return request.override(messages=self._place(request.messages, mode))
