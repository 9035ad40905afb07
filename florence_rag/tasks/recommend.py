"""Turns what somebody liked and disliked, ids, files, pixels or words, into examples to recommend by."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from florence_rag.chunking import read_image
from florence_rag.context import Context
from florence_rag.embedding.base import embed_queries, unit_rows
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.image_store import ImageInput
from florence_rag.index.base import Filter
from florence_rag.retrieval.perceptual_hash import LOOK, look_of
from florence_rag.retrieval.query import check_count, check_kinds
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.tasks.recommend_scoring import Example, recommend
from florence_rag.types import Hit, Kind, is_chunk_id

_NAMED = 40

Item = str | ImageInput
"""The id of an indexed chunk, a file, pixels, or words."""


def recommended(
    context: Context,
    like: Sequence[Item],
    dislike: Sequence[Item],
    seen: Sequence[Item],
    k: int,
    *,
    kinds: Collection[Kind] | None,
    filter: Filter | None,
    diversity: float,
    files: bool = True,
) -> list[Hit]:
    """As FlorenceRAG.recommend. files: whether a text may name a file on this machine."""
    if isinstance(diversity, bool) or not isinstance(diversity, int | float) or not 0 <= diversity <= 1:
        raise InputError(f"diversity is {diversity!r}; it must lie between 0, the best alone, and 1, all different")
    check_count(k)
    liked, disliked, known = (
        _examples(context, items, name, files) for items, name in ((like, "like"), (dislike, "dislike"), (seen, "seen"))
    )
    if not liked:
        raise InputError("there is nothing to go by: give at least one thing to like, an id, a file or words")
    if both := {example.name for example in liked} & {example.name for example in disliked}:
        raise InputError(f"{min(both)} is both liked and disliked; decide")
    return recommend(
        context.index, liked, disliked, known, k, kinds=check_kinds(kinds), filter=filter, diversity=diversity
    )


def _examples(context: Context, items: Sequence[Item], name: str, files: bool) -> list[Example]:
    if isinstance(items, str | bytes | Path):
        raise InputError(f"{name} is {items!r:.80}; give a list, also of one thing")
    hits = {hit.id: hit for hit in context.index.get([item for item in items if isinstance(item, str) and item])}
    return [_example(context, item, hits, name, files) for item in items]


def _example(context: Context, item: Item, hits: dict[str, Hit], name: str, files: bool) -> Example:
    """A text is the id that it is, or else the file that there is, or else words."""
    if isinstance(item, str):
        if hit := hits.get(item):
            return Example(_name_of(hit), context.index.vectors([hit.id])[0], hit.uri, _look(hit))
        if not (files and _names_file(item)):
            return _words(context, item, name)
    return _picture(context, item)


def _words(context: Context, text: str, name: str) -> Example:
    if not text.strip():
        raise InputError(f"{name} has an empty text; leave it out, or say what it should be")
    if is_chunk_id(text):
        raise unknown_chunk_error(text)
    return Example(f'"{text[:_NAMED]}"', embed_queries(context.models.embedder, [text])[0])


def _names_file(text: str) -> bool:
    """Also one that is not there, which is then an error and not words."""
    path = Path(text).expanduser()
    try:
        return path.is_file() or path.suffix.lower() in MEDIA_BY_SUFFIX
    except (OSError, ValueError):
        return False


def _picture(context: Context, image: ImageInput) -> Example:
    """A file that is indexed is known already, whatever it is; any other must be a picture."""
    uri = ""
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        uri = str(path.parent.resolve() / path.name)
        if stored := _whole(context.index.find(filter={"source": uri})):
            middle = unit_rows(context.index.vectors([hit.id for hit in stored]).mean(axis=0)[None])[0]
            return Example(path.name, middle, uri, _look(stored[0]))
    frame = read_image(image)
    name = Path(uri).name or "the given picture"
    return Example(name, context.models.embedder.embed_images([frame])[0], uri, {LOOK: look_of(frame)})


def _whole(hits: Iterable[Hit]) -> list[Hit]:
    return sorted((hit for hit in hits if hit.locator.box is None), key=lambda hit: hit.id)


def _look(hit: Hit) -> dict[str, str] | None:
    return dict(hit.metadata) if hit.kind == "image" and LOOK in hit.metadata else None


def _name_of(hit: Hit) -> str:
    where = str(hit.locator)
    return f"{Path(hit.source).name}, {where}" if where else Path(hit.source).name
