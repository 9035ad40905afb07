"""Tries parts of models that can take any time and memory in a worker, where they can be stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from florence_rag.errors import MemoryLimitError, ModelError, TimeLimitError
from florence_rag.models.state_cache import StateCache
from florence_rag.workers import Limits, stream

_passed = StateCache("trials.json")


@dataclass(frozen=True)
class Trial:
    """How to try the parts of one kind.

    Attributes:
        library: The distribution that runs the parts. With another version of it, they are tried again.
        lengths: A function of a module, which runs parts and yields the lengths of what they make.
        limits: What it may use.
        most: The largest length of a part that passes.
        exceeds: What is said about a part that exceeds the limits.
        too_long: What is said about a length that is larger, in place of {}.
    """

    library: str
    lengths: Callable[[Sequence[str]], Iterator[int]]
    limits: Limits
    most: int
    exceeds: str
    too_long: str

    def check(self, parts: Mapping[str, str]) -> None:
        """Raise a ModelError if one of the parts does not pass. Those that have passed before are not run again.

        Args:
            parts: A text that stands for each part, such as its path, by a key that changes with its content.
        """
        passed = _passed.read()
        keys = {f"{self.library} {version(self.library)} {key}": part for key, part in parts.items()}
        untried = {key: part for key, part in keys.items() if key not in passed}
        if not untried:
            return
        try:
            longest = max(stream(self.lengths, [*untried.values()], limits=self.limits), default=0)
        except (TimeLimitError, MemoryLimitError) as error:
            raise ModelError(f"{self.exceeds}; choose another model") from error
        if longest > self.most:
            raise ModelError(f"{self.too_long.format(longest)}; choose another model")
        _passed.add(dict.fromkeys(untried, "passed"))
