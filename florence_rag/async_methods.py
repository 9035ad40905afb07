"""Gives blocking methods async twins, as the base classes of LangChain and LlamaIndex have them."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(method: Callable[..., T]) -> Callable[..., Coroutine[Any, Any, T]]:
    """Return an async method that runs a blocking one in a worker thread, so that the event loop stays free.

    The method is looked up by its name on each call, so a subclass that overrides it needs no second override.
    """

    @wraps(method)
    async def run(self: Any, *args: Any, **kwargs: Any) -> T:
        result: T = await asyncio.to_thread(getattr(self, method.__name__), *args, **kwargs)
        return result

    return run
