"""Tries the tokenizers of a model where they can be stopped: normalizers and templates can multiply a text at will."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from florence_rag.errors import MemoryLimitError
from florence_rag.models.state_cache import file_key
from florence_rag.models.trials import Trial
from florence_rag.workers import Limits

_PROBE = f"a photo of a dog {'a' * 1000}!"


def check_tokenizers(paths: Sequence[Path]) -> None:
    """Raise a ModelError if a tokenizer.json takes too long or too much memory, makes too many tokens, or crashes."""
    _trial.check({file_key([path]): str(path) for path in paths})


def _lengths(paths: Sequence[str]) -> Iterator[int]:
    """Yield how many tokens each tokenizer makes of the probe."""
    from tokenizers import Tokenizer

    for path in paths:
        try:
            yield len(Tokenizer.from_file(path).encode(_PROBE).ids)
        except MemoryError:
            raise
        except Exception:  # other forms of a vocabulary, and errors that opening the model reports, too
            continue
        except BaseException as error:  # a panic of Rust
            raise MemoryLimitError(str(error)) from error


_trial = Trial(
    "tokenizers",
    _lengths,
    Limits(seconds=20.0, seconds_per_item=0.0),
    most=10_000,
    exceeds="its tokenizer.json needs too much time or memory, or crashes",
    too_long=f"its tokenizer makes {{}} tokens of {len(_PROBE)} characters",
)
