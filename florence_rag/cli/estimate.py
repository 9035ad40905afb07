"""`florence-rag estimate`: what an index of some size takes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from florence_rag.cli.estimate_table import estimate_to_markdown, estimate_to_text
from florence_rag.cli.options import AsJson
from florence_rag.cli.output import print_result
from florence_rag.errors import InputError


def estimate(
    images: Annotated[list[float] | None, typer.Option(help="The number of images, such as 1e8. Repeatable.")] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another value of an assumption, such as dimension=512. Repeatable."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/scale.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """Estimate GPU hours, memory, disk and cost for numbers of images, for each index type."""
    from florence_rag.index.capacity_estimate import SIZES, Assumptions, indexing_cost, search_costs
    from florence_rag.index.capacity_estimate import assume as change

    assumptions = change(dict(_parse_assumption(text) for text in assume or ()), Assumptions())
    sizes = [_check_size(size) for size in images or SIZES]
    if markdown:
        print(estimate_to_markdown(sizes, assumptions))
        return
    estimates = [
        {
            **asdict(indexing_cost(size, assumptions)),
            "indexes": [asdict(each) for each in search_costs(size, assumptions)],
        }
        for size in sizes
    ]
    record = {"assumptions": asdict(assumptions), "estimates": estimates}
    print_result(record, estimate_to_text(sizes, assumptions), as_json)


def _parse_assumption(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--assume {text!r} has no value; write it as NAME=VALUE, such as dimension=512")
    return name.strip(), value.strip()


def _check_size(images: float) -> int:
    if not 1 <= images <= 1e15:
        raise InputError(f"--images {images!r} is no number of images; use 1 to 1e15")
    return int(images)
