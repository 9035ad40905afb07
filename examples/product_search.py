"""Product search: by a photo, by a photo and what should differ, and by what a customer liked before.

    python examples/product_search.py --text "a purple dog"
    python examples/product_search.py catalog/ --db shop.db --image shoe.jpg --text "in red"
    python examples/product_search.py --db shop.db --text "shoes" --filter '{"price": {"$lt": 80}}'
    python examples/product_search.py --db shop.db --like 7f3a... --like 91bc...

The catalog is a folder, a table or a tar, whose columns become metadata to filter by; see docs/indexing.md. It is
indexed once, by the model that --model names. Without a catalog and --db it searches the demo corpus.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from example_index import open_index

from florence_rag import FlorenceRAG, Hit


def find(rag: FlorenceRAG, options: argparse.Namespace) -> list[Hit]:
    """Return what is like the examples, or fits the image and the text together."""
    scope: dict[str, Any] = {"k": options.k, "filter": options.filter}
    if options.like:
        return rag.recommend(options.like, **scope)
    return rag.search(options.text, image=options.image, **scope)


def main(arguments: Sequence[str] | None = None) -> None:
    """Open the index, and print the products."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("catalog", nargs="?", type=Path, help="what to search (default: the demo corpus)")
    parser.add_argument("--db", type=Path, help="the database, which is kept (default with a catalog: florence.db)")
    parser.add_argument("--model", help="the embedder of a new database (default: that of florence-rag index)")
    parser.add_argument("--text", help="what to find")
    parser.add_argument("--image", type=Path, help="a photo of what to find")
    parser.add_argument("--like", action="append", default=[], help="the id of a product that the customer liked")
    parser.add_argument("--filter", type=json.loads, help="conditions on the metadata, as JSON")
    parser.add_argument("-k", type=int, default=5)
    options = parser.parse_args(arguments)
    with open_index(options.catalog, options.db, model=options.model) as rag:
        for hit in find(rag, options):
            print(f"{hit.id}  {hit.source}  {hit.explanation}")


if __name__ == "__main__":
    main()
