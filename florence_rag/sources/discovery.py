"""Sorts what was named to those who know its kind: files and folders, containers, URLs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from florence_rag.errors import FlorenceError
from florence_rag.sources import files
from florence_rag.sources.containers import items_of, look_at_items
from florence_rag.sources.io import Columns
from florence_rag.sources.io.uris import Item, is_url, parse_item, scheme_of
from florence_rag.sources.paths import SourceUnavailable, is_dataset, places_named
from florence_rag.sources.remote import list_url, look_at_urls
from florence_rag.types import Failure, Source


def discover(
    paths: Iterable[str | Path], known: Mapping[str, Source] = {}, columns: Columns | None = None
) -> Iterator[Source | Failure]:
    """All media that are named, or lie in the folders and containers that are, each once.

    paths: files, folders, patterns; URLs; tars, tables and datasets; uris of items. First come files, sorted by path,
    then what lies in containers, then URLs. In folders hidden files, files of unknown kind and containers are passed
    over. What has the size and time of its record in `known` is not read; its record is given back. columns: of tables.
    A path that does not exist raises InputError at once.
    """
    return _discover(dict.fromkeys(places_named(paths)), known, columns or Columns())


def _discover(places: Iterable[str], known: Mapping[str, Source], columns: Columns) -> Iterator[Source | Failure]:
    local: list[str] = []
    containers: dict[str, list[Item] | None] = {}
    urls: dict[str, None] = {}
    for place in places:
        if item := parse_item(place):
            wanted = containers.setdefault(item.container, [])
            if wanted is not None:
                wanted.append(item)
        elif is_url(place):
            try:
                urls |= dict.fromkeys(list_url(place))
            except FlorenceError as error:
                yield SourceUnavailable(place, str(error))
        elif is_dataset(place):
            containers |= dict.fromkeys(_arrow_files(place))
        elif scheme_of(place) and os.path.isfile(place):
            containers[place] = None
        else:
            local.append(place)
    containers |= dict.fromkeys(url for url in urls if scheme_of(url))
    yield from files.discover(local, known)
    for container, wanted in sorted(containers.items()):
        yield from look_at_items(wanted, known) if wanted else items_of(container, known, columns)
    yield from look_at_urls([url for url in urls if not scheme_of(url)], known)


def _arrow_files(dataset: str) -> list[str]:
    """Those of all splits."""
    return sorted(str(path) for path in Path(dataset).rglob("*.arrow") if not path.name.startswith("cache-"))
