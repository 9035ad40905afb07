"""`florence-rag models` and `convert`: the models that can be named, and checkpoints turned into such models."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.opening import print_download
from florence_rag.cli.options import AsJson, Offline, absolute_path
from florence_rag.cli.output import plain, print_result

if TYPE_CHECKING:
    from florence_rag.models.registry import ModelCard


def models(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/models.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the models that can be named, with roles, sizes and licenses, and which are on this machine."""
    from florence_rag.models.downloads import is_here
    from florence_rag.models.registry import CARDS

    if markdown:
        print(cards_to_markdown(CARDS.values()))
        return
    local = {name for name, card in CARDS.items() if is_here(card)}
    record = {"models": [_card_to_dict(card, local) for card in CARDS.values()]}
    print_result(record, Group(*(_card_to_text(card, card.name in local) for card in CARDS.values())), as_json)


def _card_to_dict(card: ModelCard, local: Collection[str]) -> dict[str, Any]:
    from florence_rag.models.registry import DEFAULT

    return {**asdict(card), "default": card.name == DEFAULT, "local": card.name in local}


def _card_to_text(card: ModelCard, is_local: bool) -> Text:
    size = "on this machine" if is_local else f"{card.size_mb} MB to fetch" if card.size_mb else "a service"
    facts = ", ".join([*card.roles, *([f"{card.parameters_m:g}M parameters"] if card.parameters_m else [])])
    training = f"\n  knows {card.training_data}; {card.license}"
    return Text.assemble((card.name, "bold"), f"  {facts}, ", (size, "green" if is_local else ""), training)


def cards_to_markdown(cards: Iterable[ModelCard]) -> str:
    """Return the table of docs/models.md."""
    rows = [
        "| name | roles | parameters | download | knows | license | published | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        size = f"{card.size_mb} MB" if card.size_mb else "a service"
        paper = f"[{card.paper}](https://arxiv.org/abs/{card.paper})" if card.paper else ""
        parameters = f"{card.parameters_m:g}M" if card.parameters_m else ""
        roles = ", ".join(card.roles)
        cells = [f"`{card.name}`", roles, parameters, size, card.training_data, card.license, card.published, paper]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(parser=absolute_path, metavar="CHECKPOINT", help="A released UniCL or METER checkpoint.")
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            parser=absolute_path, metavar="FOLDER", help="Where to write weights, configuration and processor."
        ),
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A folder with vocab.json and merges.txt; downloaded by default."),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="METER's answers: a JSON list, a text file, or VQAv2's annotation files."),
    ] = None,
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint into a folder that `--model` and `--vqa` take and that `from_pretrained` opens."""
    from florence_rag.models.convert import convert as convert_checkpoint
    from florence_rag.models.convert import fetch_tokenizer
    from florence_rag.models.downloads import Fetcher
    from florence_rag.models.vqa_vocabulary import read_answers

    tokenizer = tokenizer or fetch_tokenizer(checkpoint, Fetcher(offline=offline, announce=print_download))
    vocabulary = None if answers is None else read_answers(answers)
    config = convert_checkpoint(checkpoint, folder, tokenizer=tokenizer, answers=vocabulary)
    print_result({"folder": str(folder), "model_type": config.model_type}, _converted_to_text(config, folder), as_json)


def _converted_to_text(config: Any, folder: Path) -> RenderableType:
    if config.model_type == "florence":
        return plain(f"A dual encoder. Use it with: florence-rag index PATH --model {folder}")
    usage = f"Use it with: florence-rag ask QUESTION --vqa {folder}"
    if not config.answers:
        usage = "It has no answers: convert it with --answers so that it can answer."
    return plain(f"METER with the heads {', '.join(config.heads)}. {usage if 'vqa' in config.heads else ''}".rstrip())
