"""find_video_moment: finds when something happens in the videos of the index."""

from typing import Annotated, Any

from florence_rag.errors import InputError
from florence_rag.text_arguments import check_query_text
from florence_rag.tools.arguments import CountArgument, check_k
from florence_rag.tools.base import Tool, ToolResult, images_of
from florence_rag.tools.formatting import counted, hits_to_text
from florence_rag.types import Hit
from florence_rag.untrusted_text import quoted
from florence_rag.viz.gallery import link_to

PROMPT = """\
Find when something happens or is visible in the user's videos: moments with start and end in seconds.
Use it for "when", "at what time" and "show me the part where". Describe what is visible in one plain phrase, such as \
"a red bus drives past", or words of the subtitles. For all kinds of files use search_images.
Several moments can come from one video; to search one video only pass the id of any of its clips as video.
Each moment has an id, which ask_image and the other tools take, and a link that opens the video there: give it to the \
user. Results without a relevance are listed even if they are poor: check with ask_image before you rely on them.\
"""


MAX_LINK = 1_000
"""The text names no longer link, because a part of it would open nothing."""


class FindVideoMoment(Tool):
    """Finds moments of videos by a description."""

    name = "find_video_moment"
    prompt = PROMPT

    def run(
        self,
        query: Annotated[str, "What is visible, or words of the subtitles, in one plain phrase."],
        k: CountArgument = 3,
        video: Annotated[str | None, "The id of a clip: only moments of its video. Omit it for all videos."] = None,
    ) -> ToolResult:
        """Return a numbered list, and moments with start_s, end_s and link in the artifact. Raises InputError."""
        query = check_query_text(query)
        within = {"source": self._source_of(video)} if video and video.strip() else None
        # The nearest moments are wanted, however near: what passes in front of other things is hardly recognized.
        hits = self.rag.find_moments(query, check_k(k), filter=within)
        if not hits:
            nothing = "There may be no videos in the index."
            return ToolResult(f"No moment was found for {quoted(query, 80)}. {nothing}", {"moments": []})
        moments = [hit_to_moment(hit) for hit in hits]
        links = [
            f'{number}. [{moment["start_s"] or 0.0:.1f} s, {moment["end_s"] or 0.0:.1f} s] "{moment["link"]}"'
            for number, moment in enumerate(moments, start=1)
            if len(moment["link"]) <= MAX_LINK
        ]
        heading = f"{counted(hits, 'moment')} for {quoted(query, 80)}, best first:"
        text = "\n".join([heading, hits_to_text(hits), "Links:", *links])
        return ToolResult(text, {"moments": moments}, images=images_of(hits))

    def _source_of(self, clip: str) -> str:
        hit = self._chunk(clip)
        if hit is None or hit.kind != "clip":
            raise InputError(f"{clip!r:.80} is not the id of a clip; pass the id of a result, or omit video")
        return hit.source


def hit_to_moment(hit: Hit) -> dict[str, Any]:
    """Return the hit with start_s and end_s in seconds, and a link that opens the video there."""
    span = {"start_s": hit.locator.start_s, "end_s": hit.locator.end_s}
    return {**hit.to_dict(), **span, "link": link_to(hit.source, hit.locator)}
