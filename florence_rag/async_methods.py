"""Gives blocking methods async twins, as the base classes of LangChain and LlamaIndex have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return an async method that runs a blocking one in a worker thread, so that the event loop stays free.

    The method is looked up by its name on each call, so a subclass that overrides it needs no second override.
    """

    @wraps(method)
    async def run(*args: P.args, **kwargs: P.kwargs) -> T:
        self, *others = args
        result: T = await asyncio.to_thread(getattr(self, method.__name__), *others, **kwargs)
        return result

    return run
