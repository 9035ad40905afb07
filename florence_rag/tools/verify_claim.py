"""verify_claim: compares statements with images and passages of the index."""

from typing import Annotated

from florence_rag.tools.base import Tool, ToolResult, images_of
from florence_rag.tools.formatting import counted
from florence_rag.types import CheckedClaim
from florence_rag.untrusted_text import place_to_text, quoted, quoted_id

PROMPT = """\
Check statements against images and passages before you tell them to the user. Use it for what a result shows or says: \
colors, numbers, what is there, left or right, and facts and figures in passages.
Pass one to three short, plain statements in English, each about one thing, "The car is blue. There are three \
people.", and the ids of the search results that they rest on.
Each statement is supported, contradicted, or unknown. Do not repeat a contradicted one; unknown means that nothing in \
the results can decide, not that it is false.\
"""


class VerifyClaim(Tool):
    """Compares statements with chunks of the index."""

    name = "verify_claim"
    prompt = PROMPT

    def run(
        self,
        claim: Annotated[str, "One or more short statements."],
        ids: Annotated[list[str], "The ids of the search results that should support them."],
    ) -> ToolResult:
        """Return a verdict per line, and the claims as dictionaries in the artifact. Raises InputError."""
        stored = self._as_stored(ids)
        claims = self.rag.verify(claim, stored)
        checked = [each for each in claims if each.verdict != "unchecked"]
        lines = [f"{counted(checked, 'statement')} compared with {counted(stored, 'result')}:", *map(_to_text, checked)]
        if left := claims[len(checked) :]:
            lines.append(f"{counted(left, 'statement')} not compared, from {quoted(left[0].text)} on: pass fewer.")
        images = images_of(self.rag.get(list(dict.fromkeys(each.citation.id for each in claims if each.citation))))
        return ToolResult("\n".join(lines), {"claims": [each.to_dict() for each in claims]}, images=images)


def _to_text(claim: CheckedClaim) -> str:
    confidence = "" if claim.confidence is None else f" (confidence {claim.confidence:.2f})"
    text = f"{claim.verdict}{confidence}: {quoted(claim.text)}"
    if claim.citation is None:
        return text
    quote = f", {quoted(claim.citation.quote)}" if claim.citation.quote else ""
    return f"{text}, by {place_to_text(claim.citation)}, id {quoted_id(claim.citation.id)}{quote}"
