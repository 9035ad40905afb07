"""Sentences that turn a label into captions a dual encoder has seen in training: zero-shot classification by prompts.

CLIP (arXiv 2103.00020, section 3.1.4) found 80 sentences for ImageNet by hand; UniCL and Florence use them together
with the bare label. The vector of a label is the mean of the vectors of its sentences, scaled to length one.
"""

from __future__ import annotations

from collections.abc import Sequence

from florence_rag.errors import InputError

_WITH_EITHER_ARTICLE = """
a bad photo of {a} {}. | a sculpture of {a} {}. | a photo of {a} hard to see {}. | a low resolution photo of {a} {}.
a rendering of {a} {}. | graffiti of {a} {}. | a cropped photo of {a} {}. | a tattoo of {a} {}. | {a} embroidered {}.
a bright photo of {a} {}. | a photo of {a} clean {}. | a photo of {a} dirty {}. | a dark photo of {a} {}.
a drawing of {a} {}. | {a} plastic {}. | a photo of {a} cool {}. | a close-up photo of {a} {}.
a black and white photo of {a} {}. | a painting of {a} {}. | a pixelated photo of {a} {}.
a jpeg corrupted photo of {a} {}. | a blurry photo of {a} {}. | a photo of {a} {}. | a good photo of {a} {}.
{a} {} in a video game. | a doodle of {a} {}. | {a} origami {}. | a sketch of {a} {}. | {a} toy {}.
a rendition of {a} {}. | a photo of {a} large {}. | a photo of {a} nice {}. | a photo of {a} weird {}.
{a} cartoon {}. | art of {a} {}. | {a} plushie {}. | itap of {a} {}. | a photo of {a} small {}.
"""
_WITH_NEITHER = "a photo of many {}. | a photo of my {}. | a photo of one {}. | itap of my {}."


def _listed(text: str) -> list[str]:
    return [sentence.strip() for line in text.strip().splitlines() for sentence in line.split("|")]


CLIP_PROMPTS: tuple[str, ...] = (
    *(sentence.replace("{a}", article) for sentence in _listed(_WITH_EITHER_ARTICLE) for article in ("a", "the")),
    *_listed(_WITH_NEITHER),
)
"""80 sentences with {} in place of the label."""

UNICL_PROMPTS: tuple[str, ...] = ("{}.", *CLIP_PROMPTS)
"""81 sentences: the bare label, and CLIP's."""


def sentences_for(label: str, prompts: tuple[str, ...] = UNICL_PROMPTS) -> list[str]:
    """What to embed for a label."""
    return [prompt.format(label) for prompt in prompts]


def check_prompts(prompts: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts; raise InputError if there are none, or one does not have exactly one {} for the label."""
    if isinstance(prompts, str) or not prompts:
        raise InputError(f"prompts must be a list of sentences with {{}} in place of the label, not {prompts!r:.80}")
    for prompt in prompts:
        if not isinstance(prompt, str) or prompt.replace("{}", "", 1).strip("{}") == prompt or prompt.count("{}") != 1:
            raise InputError(f"the prompt {prompt!r:.80} needs {{}} once, in place of the label")
    return tuple(prompts)
