"""`florence-rag search`, `moments`, `ask` and `recommend`: queries to a database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from florence_rag.cli.command import QueryCommand, RAGCommand, RerankingCommand
from florence_rag.cli.options import (
    VQA,
    ContactSheet,
    Count,
    Filter,
    Model,
    absolute_path,
    check_output_folder,
)
from florence_rag.cli.output import answer_to_text, hits_to_text, plain, source_to_text, stderr
from florence_rag.errors import InputError
from florence_rag.retrieval.request import MAX_COUNT

if TYPE_CHECKING:
    from florence_rag.rag import FlorenceRAG
    from florence_rag.retrieval.query import Query
    from florence_rag.types import Box, Frame, Hit


class Search(RerankingCommand):
    """Find images, clips, pages and passages by a text, by an image, or by both together."""

    text: Annotated[str | None, typer.Argument(help="A description of what you are looking for.")] = None
    image: Annotated[
        str | None,
        typer.Option(metavar="IMAGE", help="An image to search with, alone or with a text; also a data URI."),
    ] = None
    box: Annotated[
        str | None,
        typer.Option(metavar="L,T,R,B", help="Only this part of the image, as fractions of its size: 0.1,0.2,0.5,0.9."),
    ] = None
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", help="Another part of the query: an id, a file or a text. Repeatable."),
    ] = None
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ITEM",
            help="What the hits are not to be like. Repeatable. An ITEM may end in a region and a weight, as in "
            '"street.jpg@0,0,0.5,1^0.8".',
        ),
    ] = None
    k: Count = 5
    min_relevance: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="The smallest relevance of a hit, from 0 to 1."),
    ] = None
    match_depth: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=MAX_COUNT,
            help="With --min-relevance, how many of the best hits the model for image-text matching judges, or -k if "
            "that is more; 0 for none.",
        ),
    ] = 8
    contact_sheet: ContactSheet = None
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=absolute_path,
            callback=check_output_folder,
            help="Also draw each image that was found, warmer where it shows what you look for.",
        ),
    ] = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.chunking import read_image
        from florence_rag.image_store import image_name
        from florence_rag.retrieval.query import to_query
        from florence_rag.tasks.query_items import read_examples

        box = _parse_box(self.box)
        frame = read_image(self.image) if self.image else None
        if not self.like:  # before the models are loaded
            to_query(self.text, frame, box)
        retrieval = self.retrieval_config(match_depth=self.match_depth)
        with self.open_rag(self.model, reranker=self.reranker, retrieval=retrieval) as rag:
            parts = read_examples(rag.index, self.like or (), self.unlike or (), files=True)
            query = to_query(self.text, frame, box, parts)
            hits = rag.search(
                query,
                k=self.k,
                kinds=self.kinds,
                filter=self.filter,
                min_relevance=self.min_relevance,
            )
            nothing = "Nothing found." if hits or not self.min_relevance else self._nothing_relevant(rag, query)
            record: dict[str, Any] = {"hits": [hit.to_dict() for hit in hits]}
            if self.explain is not None:
                record["heat_maps"] = draw_heat_maps(rag, query, hits, self.explain)
            self.print(record, hits_to_text(hits, nothing))
            if self.contact_sheet:
                image = Path(image_name(self.image)).name if self.image else None
                title = " and ".join(filter(None, (image, self.text, *(self.like or ()))))
                draw_hits(rag, title, hits, self.contact_sheet, frame, box)

    def _nothing_relevant(self, rag: FlorenceRAG, query: Query) -> str:
        """Return a line about the hits below the relevance, if there are any."""
        hits = rag.search(query, k=self.k, kinds=self.kinds, filter=self.filter, min_relevance=0.0)
        best = max((hit.relevance or 0.0 for hit in hits), default=0.0)
        below = f"{len(hits)} {'hit has' if len(hits) == 1 else 'hits have'} less than the relevance"
        return f"Nothing found: {below} {self.min_relevance:g}; the best has {best:.2f}." if hits else "Nothing found."


def _parse_box(text: str | None) -> Box | None:
    """Return the four numbers of "0.1,0.2,0.5,0.9", or raise a usage error."""
    from florence_rag.embedding.region_view import check_box

    if text is None:
        return None
    try:
        edges = [float(edge) for edge in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--box is {text!r}; give fractions of the size, as 0.1,0.2,0.5,0.9") from error
    return check_box(edges)


def draw_heat_maps(rag: FlorenceRAG, query: Query, hits: Sequence[Hit], folder: Path) -> dict[str, str]:
    """Draw a heat map of each image among the hits, and return its file by the id of the hit."""
    from florence_rag.types import middle_frame
    from florence_rag.viz.drawing import heat_map

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for rank, hit in enumerate(hits, start=1):
        if hit.kind == "text":
            continue
        try:
            image = heat_map(middle_frame(rag.frames(hit)), rag.retriever.heat_map(hit, query), hit.locator.box)
        except InputError as error:
            stderr().print(plain(f"no heat map of hit {rank}: {error}"))
            continue
        drawn[hit.id] = str(folder / f"{rank:02}.png")
        image.save(drawn[hit.id])
    return drawn


def draw_hits(
    rag: FlorenceRAG,
    title: str,
    hits: Sequence[Hit],
    file: Path,
    query: Frame | None = None,
    box: Box | None = None,
) -> None:
    """Draw hits, which are printed already, into an image; raise InputError if that fails for any reason."""
    from florence_rag.viz.contact_sheet import draw_sheet, hits_to_row

    try:
        draw_sheet([hits_to_row(title, hits, rag.frames, query, box)]).save(file)
    except Exception as error:  # the printed hits matter more than the cause
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"the contact sheet {str(file)!r} could not be drawn: {reason:.200}") from error


class Moments(RAGCommand):
    """Find when something happens in videos. Each moment has a start, an end, and a link that opens the video there."""

    text: Annotated[str, typer.Argument(help="A description of what happens, or words of the subtitles.")]
    k: Count = 5
    filter: Filter = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.retrieval.query import to_query
        from florence_rag.tools.find_video_moment import hit_to_moment

        to_query(self.text)
        with self.open_rag(self.model) as rag:
            moments = [hit_to_moment(hit) for hit in rag.find_moments(self.text, self.k, filter=self.filter)]
        lines = [] if moments else [Text("No moment found; are there videos in the database?", "yellow")]
        for rank, moment in enumerate(moments, start=1):
            start, end = (f"{moment[name] or 0.0:.1f}" for name in ("start_s", "end_s"))
            times = plain(f"{rank:>2}. [{start} s, {end} s]  ", "bold")
            lines.append(Text.assemble(times, source_to_text(moment["source"])))
            details = (" ".join(moment["text"].split()), moment["link"], moment["explanation"])
            lines += [plain(f"     {line:.200}", "dim") for line in details if line]
        self.print({"moments": moments}, Group(*lines))


class Ask(RerankingCommand):
    """Answer a question, with a confidence and citations. With --image, answer it about that image only."""

    question: Annotated[str, typer.Argument(help="A question about what the images show or the texts say.")]
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Answer about this image only; a file, a data URI or an id.")
    ] = None
    k: Annotated[int, typer.Option("-k", min=1, max=MAX_COUNT, help="The number of hits to consider.")] = 8
    llm: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A chat model that answers, named as for LangChain's init_chat_model."),
    ] = None
    vqa: VQA = None
    cache_answers: Annotated[
        bool, typer.Option("--cache-answers", help="Store answers about images, and reuse stored answers.")
    ] = False
    min_relevance: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="The smallest relevance of a hit, from 0 to 1; by default that of the calibration.",
        ),
    ] = None
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare what the answer states with the images and passages it cites.")
    ] = False
    model: Model = None

    def run(self) -> None:
        from florence_rag.answering.llm import open_chat_model
        from florence_rag.text_arguments import check_question

        check_question(self.question)
        self._check_image()
        llm = open_chat_model(self.llm) if self.llm else None
        retrieval = self.retrieval_config()
        with self.open_rag(self.model, vqa=self.vqa, reranker=self.reranker, retrieval=retrieval) as rag:
            answer = rag.ask(
                self.question,
                k=self.k,
                kinds=self.kinds,
                filter=self.filter,
                llm=llm,
                image=self.image,
                cache_answers=self.cache_answers,
                min_relevance=self.min_relevance,
                verify=self.verify,
            )
        self.print(answer.to_dict(), answer_to_text(answer))

    def _check_image(self) -> None:
        """Raise InputError if the image is neither a readable file nor the id of a chunk."""
        from florence_rag.chunking import read_image

        if self.image is None:
            return
        try:
            read_image(self.image)
        except InputError:
            with self.open_index() as index:
                if not index.get([self.image]):
                    raise


class Recommend(QueryCommand):
    """Recommend varied new hits by examples of what you like and dislike."""

    like: Annotated[
        list[str], typer.Argument(metavar="LIKE...", help="What you like: ids of chunks, files, or descriptions.")
    ]
    dislike: Annotated[
        list[str] | None, typer.Option(metavar="ITEM", help="What you dislike: an id, a file or a text. Repeatable.")
    ] = None
    seen: Annotated[list[str] | None, typer.Option(metavar="ITEM", help="An item to skip. Repeatable.")] = None
    k: Count = 5
    diversity: Annotated[
        float, typer.Option(metavar="SHARE", help="From 0, the best hits alone, to 1, the most varied hits.")
    ] = 0.3
    contact_sheet: ContactSheet = None

    def run(self) -> None:
        from florence_rag.image_store import image_name

        if not 0 <= self.diversity <= 1:
            raise InputError(f"diversity is {self.diversity:g}; it must lie between 0 and 1")
        with self.open_rag() as rag:
            hits = rag.recommend(
                self.like,
                self.dislike or (),
                k=self.k,
                seen=self.seen or (),
                kinds=self.kinds,
                filter=self.filter,
                diversity=self.diversity,
            )
            self.print({"hits": [hit.to_dict() for hit in hits]}, hits_to_text(hits))
            if self.contact_sheet:
                draw_hits(rag, ", ".join(map(image_name, self.like)), hits, self.contact_sheet)
