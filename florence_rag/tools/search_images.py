"""search_images: searches the index by a description."""

from typing import Annotated

from florence_rag.retrieval.query import to_query
from florence_rag.tasks.query_items import read_examples
from florence_rag.text_arguments import check_query_text
from florence_rag.tools.arguments import (
    CountArgument,
    FilterArgument,
    KindsArgument,
    check_filter,
    check_k,
    check_kinds,
)
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.tools.formatting import counted
from florence_rag.untrusted_text import quoted

PROMPT = """\
Search the user's own images, video clips, document pages and texts by meaning, and by the text in them.
Use it first for anything about the user's images, videos or documents. Describe what should be visible in one plain \
phrase, such as "a blue car next to a fire hydrant"; write text that must appear in the image exactly as it is printed.
For "like this at night, without cars" pass "at night" as query, the id of this as like, and "cars" as unlike.
Each result has an id, its kind, file, page or time, and its known text. An image without text is still a result: \
examine it with ask_image and its id. Cite results by file and page or time.
Scores order the results of one search only. Relevance is the probability that a result is right. Results without one \
are listed even if they are poor: check before you rely on them.\
"""


class SearchImages(Tool):
    """Finds images, clips, pages and passages by a description."""

    name = "search_images"
    prompt = PROMPT

    def run(
        self,
        query: Annotated[str, "What to look for, in one plain phrase."],
        k: CountArgument = 5,
        kinds: KindsArgument = None,
        filter: FilterArgument = None,
        like: Annotated[list[str] | None, "What else results are like: ids or phrases; weighted as in fog^0.5."] = None,
        unlike: Annotated[list[str] | None, "What results are not like, in the same form."] = None,
    ) -> ToolResult:
        """Return a numbered list, and the hits as dictionaries in the artifact. Raises InputError."""
        query = check_query_text(query)
        like, unlike = self._as_stored(like or ()), self._as_stored(unlike or ())
        parts = read_examples(self.rag.index, like, unlike, files=False) if like or unlike else ()
        found = self.rag.search(
            to_query(query, parts=parts), k=check_k(k), kinds=check_kinds(kinds), filter=check_filter(filter)
        )
        advice = "Try other words, or omit kinds and filter."
        # The nearest to examples are wanted, however near.
        hits, nothing = (found, advice) if parts else self._relevant(query, found, advice)
        if not hits:
            return ToolResult.of_hits(f"Nothing was found for {quoted(query, 80)}. {nothing}", hits)
        return ToolResult.of_hits(f"{counted(hits, 'result')} for {quoted(query, 80)}, best first:", hits)
