"""Runs functions that read a file in a worker process, within limits of time and memory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from florence_rag.errors import MemoryLimitError, TimeLimitError
from florence_rag.sources.io.uris import is_url, parse_member
from florence_rag.types import Media
from florence_rag.workers import Limits, stream

P = ParamSpec("P")
T = TypeVar("T")

READ_LIMITS = Limits(seconds=20)
"""What reading one image, page or clip may use, if it is not read to be indexed."""
_CLIP_S = 10.0
"""How much longer a video may take for each of its clips, which are no longer than that."""
_IN_MEMORY = "memory://"
_REMOTE_FACTOR = 10
"""How much longer a file on a server may take, which has limits of its own."""


def stream_file(
    uri: str, function: Callable[P, Iterable[T]], *args: Any, limits: Limits | None = None, media: Media | None = None
) -> Iterator[T]:
    """Yield the items of a generator function that reads a file, in a worker process.

    Files at memory:// URLs exist only in this process, and are read in it without limits.

    Args:
        uri: The uri of the source.
        function: A function that the worker can import; arguments and items must be picklable.
        args: Its arguments.
        limits: What it may use, by default READ_LIMITS. A file on a server may take longer.
        media: The medium that it cuts into chunks: each clip of a video may take longer than a page.
    """
    if location_of(uri).startswith(_IN_MEMORY):
        return iter(function(*args))  # type: ignore[call-arg]
    limits = limits_at(uri, limits or READ_LIMITS)
    return stream(function, *args, limits=replace(limits, seconds_per_item=_CLIP_S) if media == "video" else limits)


@contextmanager
def limit_errors_named(name: str) -> Iterator[None]:
    """Put the name of a file before the message that it exceeds a limit."""
    try:
        yield
    except (TimeLimitError, MemoryLimitError) as error:
        raise type(error)(f"{name}: {error}") from error


def limits_at(uri: str, limits: Limits) -> Limits:
    """Return the limits of reading a file at a uri."""
    if limits.seconds is None or not is_url(location_of(uri)):
        return limits
    return replace(limits, seconds=limits.seconds * _REMOTE_FACTOR)


def location_of(uri: str) -> str:
    """Return the path or URL of the file that holds a source."""
    member = parse_member(uri)
    return member.container if member else uri
