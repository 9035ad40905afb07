"""recommend: finds more like liked examples, unlike disliked ones, and nothing that was seen."""

from typing import Annotated

from florence_rag.tasks.recommend import recommend
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

PROMPT = """\
Recommend new images, clips, pages and texts by what the user likes and dislikes. Use it for "more of these", \
"something like this but not like that", and to go on from results that the user has judged.
Name each liked or disliked example by the id of a search result, or describe it in a plain phrase such as "a beach at \
sunset". Pass as seen the ids of all that was shown already: these, and near copies of them, are excluded.
Results are varied, best first. They are guesses at a taste; ask the user which are right, and call again with the \
answer. To match one description use search_images, to match one image find_similar.\
"""


class Recommend(Tool):
    """Recommends chunks from liked and disliked ids and phrases."""

    name = "recommend"
    prompt = PROMPT

    def run(
        self,
        like: Annotated[list[str], "What is liked: ids of results, or phrases."],
        dislike: Annotated[list[str] | None, "What is not liked: ids of results, or phrases."] = None,
        seen: Annotated[list[str] | None, "Ids of results that were shown already."] = None,
        k: CountArgument = 5,
        kinds: KindsArgument = None,
        filter: FilterArgument = None,
    ) -> ToolResult:
        """Return a numbered list, and the hits as dictionaries in the artifact. Raises InputError."""
        hits = recommend(
            self.rag.context,
            self._as_stored(like),
            self._as_stored(dislike or ()),
            check_k(k),
            seen=self._as_stored(seen or ()),
            kinds=check_kinds(kinds),
            filter=check_filter(filter),
            files=False,
        )
        nothing = "There is nothing else to recommend: everything that matches was seen."
        return ToolResult.of_hits(f"{counted(hits, 'recommendation')}, best first:" if hits else nothing, hits)
