"""What an image or a passage says about a claim."""

from typing import Literal, NamedTuple

from florence_rag.types import Box

Verdict = Literal["supported", "contradicted", "unknown"]

CERTAIN = 0.8
"""The probability from which a claim is supported; contradicted, if it does not hold with that probability."""


class Judgment(NamedTuple):
    """What an image or a passage says about a claim.

    Attributes:
        probability: That the claim holds, in [0, 1].
        box: The part of the image that decides.
        quote: The sentence that decides.
        is_stated: Whether the models state how sure they are.
    """

    probability: float
    box: Box | None = None
    quote: str = ""
    is_stated: bool = True

    @property
    def verdict(self) -> Verdict:
        """The verdict that the probability allows."""
        if self.confidence < CERTAIN:
            return "unknown"
        return "supported" if self.probability > 0.5 else "contradicted"

    @property
    def confidence(self) -> float:
        """The probability that the likelier verdict is right."""
        return max(self.probability, 1 - self.probability)
