"""What an English question is about, as a description: image encoders are trained on captions, not on questions.

    What color is the car next to the bus?     the car next to the bus
    How many red bicycles are there?           red bicycles
    Is the dog to the left of the house?       the dog and the house

Questions in other languages, and texts that are no questions, stay as they are.
"""

import re

_BEGINS = re.compile(
    r"(?:please |tell me |can you tell me |do you know )*(?:what|which|who|whom|whose|where|when|why|how|count|is|are"
    r"|was|were|does|do|did|can|could|has|have|tell me)\b"
)
_ASKING = re.compile(
    r"\b(?:please|tell me|do you know|count|see|seen|visible|shows?|shown|there|here"
    r"|(?:what|which)(?: (?:colou?rs?|side|objects?|things?|(?:kind|sort|type|brand) of))?"
    r"|who|whom|whose|where|when|why|how(?: (?:many|much|old|big|tall|long|far))?"
    r"|(?:is|are|was|were|does|do|did|can|could|has|have)(?: (?:it|you|we|they))?"
    r"|(?:the )?(?:colou?r|number|position) of"
    r"|(?:on |to )?(?:the )?left or (?:on |to )?(?:the )?right(?: of| side of)?"
    r"|(?:to|on) the (?:left|right)(?: side)?(?: of)?|(?:left|right) of"
    r"|(?:in |on )?(?:the|this|that|these|those) (?:picture|image|photo|photograph|video|clip|scene)s?)\b"
)
"""What asks, or says how things lie, and names nothing that could be seen."""
_LOOSE = re.compile(
    r"^(?:(?:stands? |right )?(?:next to|close to|beside|near)\b|(?:of|on|in|to|and|or|any|wear|wearing)(?:$|\b(?= )))"
    r"|^(?:the|a|an)$|\b(?:of|on|in|to|the|a|an|next to|wear|wearing|stand)$"
)
"""What is left of a phrase at its ends."""


def subject_of(text: str) -> str:
    """Return the noun phrases of an English question, or any other text as it is."""
    plain = " ".join(re.sub(r"[?!.,;:]+(?=\s|$)", " ", text.lower()).split())
    if not text.isascii() or not (_BEGINS.match(plain) or text.rstrip().endswith("?")):
        return text
    phrases = _ASKING.sub("\n", plain).split("\n")
    kept = [named for phrase in phrases if (named := _LOOSE.sub("", phrase.strip()).strip())]
    return " and ".join(kept) if kept and len(phrases) > 1 else text
