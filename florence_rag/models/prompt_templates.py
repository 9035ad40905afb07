"""Prompt templates that turn a label into captions like those of training, for zero-shot classification.

CLIP (arXiv 2103.00020, section 3.1.4) found 80 templates for ImageNet by hand; UniCL and Florence use them together
with the bare label. The vector of a label is the mean of the vectors of its prompts, scaled to length one.
"""

from collections.abc import Sequence
from pathlib import Path

from florence_rag.errors import InputError

CLIP_PROMPTS = tuple(Path(__file__).with_name("clip_prompts.txt").read_text("utf-8").splitlines())
"""80 templates with {} in place of the label."""

UNICL_PROMPTS: tuple[str, ...] = ("{}.", *CLIP_PROMPTS)
"""81 templates: the bare label, and CLIP's."""


def sentences_for(label: str, prompts: tuple[str, ...] = UNICL_PROMPTS) -> list[str]:
    """Return the prompts to embed for a label."""
    return [prompt.format(label) for prompt in prompts]


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts; raise InputError if there are none, or one does not have exactly one {} for the label."""
    if isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a list of templates with {{}} in place of the label, not {prompts!r:.80}")
    for prompt in prompts:
        if not isinstance(prompt, str) or [prompt.count(mark) for mark in ("{}", "{", "}")] != [1, 1, 1]:
            raise InputError(f"the prompt {prompt!r:.80} needs {{}} once, in place of the label, and no other braces")
    return tuple(prompts)
