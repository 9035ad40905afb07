"""Tries the chat templates of a model where they can be stopped: Jinja's sandbox limits neither loops nor memory."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from florence_rag.models.trials import Trial
from florence_rag.workers import Limits

_TEXT = {"type": "text", "text": "a word"}
_CONVERSATIONS: Sequence[Sequence[Mapping[str, Any]]] = (
    [{"role": "user", "content": "a word"}],
    [{"role": "user", "content": [_TEXT]}],
    [{"role": "user", "content": [{"type": "image"}, _TEXT]}],
    [{"role": "system", "content": [_TEXT]}, {"role": "user", "content": [_TEXT]}],
    [{"role": "query", "content": [_TEXT]}, {"role": "document", "content": [{"type": "image"}]}],
    [{"role": "query", "content": "a word"}, {"role": "document", "content": "a word"}],
)
"""What this package and sentence-transformers say to models."""


def check_templates(templates: Sequence[str]) -> None:
    """Raise a ModelError if one of the templates takes too long, too much memory, or writes too much."""
    _trial.check({sha256(each.encode("utf-8", "surrogatepass")).hexdigest(): each for each in templates})


def _lengths(templates: Sequence[str]) -> Iterator[int]:
    """Yield how many characters each template makes of each conversation that it accepts."""
    from transformers.utils.chat_template_utils import render_jinja_template

    for template in templates:
        for conversation in _CONVERSATIONS:
            try:
                rendered: Any = render_jinja_template([list(map(dict, conversation))], chat_template=template)
            except MemoryError:
                raise
            except Exception:  # templates refuse conversations by errors of their own
                continue
            yield max(map(len, rendered[0]))


_trial = Trial(
    "jinja2",
    _lengths,
    Limits(seconds=15.0, seconds_per_item=0.0, memory_bytes=1 << 30),
    most=100_000,
    exceeds="its chat template does not end, or needs more than a gigabyte",
    too_long="its chat template makes {} characters of two words",
)
