"""`florence-rag models` and `convert`: the models that can be named, and checkpoints turned into such models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from florence_rag.cli.command import Command, ModelCommand
from florence_rag.cli.options import absolute_path
from florence_rag.cli.output import markdown_table, plain

if TYPE_CHECKING:
    from florence_rag.models.registry import ModelCard


class Models(Command):
    """List the models that can be named, with roles, sizes and licenses. It marks the models on this machine."""

    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/models.md.")] = False

    def run(self) -> None:
        from florence_rag.models.downloads import is_local
        from florence_rag.models.registry import CARDS, DEFAULT

        if self.markdown:
            print(cards_to_markdown(CARDS.values()))
            return
        local = {name: is_local(card) for name, card in CARDS.items()}
        records = [{**asdict(card), "default": name == DEFAULT, "local": local[name]} for name, card in CARDS.items()]
        lines = (_card_to_text(card, local[name]) for name, card in CARDS.items())
        self.print({"models": records}, Group(*lines))


def _card_to_text(card: ModelCard, is_local: bool) -> Text:
    size = "on this machine" if is_local else f"{card.size_mb} MB to fetch" if card.size_mb else "a service"
    facts = ", ".join([*card.roles, *([f"{card.parameters_m:g}M parameters"] if card.parameters_m else [])])
    training = f"\n  trained on {card.training_data}; {card.license}"
    return Text.assemble((card.name, "bold"), f"  {facts}, ", (size, "green" if is_local else ""), training)


def cards_to_markdown(cards: Iterable[ModelCard]) -> str:
    """Return the table of docs/models.md."""
    names = ("name", "roles", "parameters", "download", "trained on", "license", "published", "paper")
    rows = []
    for card in cards:
        size = f"{card.size_mb} MB" if card.size_mb else "a service"
        paper = f"[{card.paper}](https://arxiv.org/abs/{card.paper})" if card.paper else ""
        parameters = f"{card.parameters_m:g}M" if card.parameters_m else ""
        roles = ", ".join(card.roles)
        training = card.training_data
        rows.append((f"`{card.name}`", roles, parameters, size, training, card.license, card.published, paper))
    return markdown_table(names, rows)


class Convert(ModelCommand):
    """Convert a checkpoint into the folder of a model.

    The folder is a name for `florence-rag index --model` or `florence-rag ask --vqa`.
    """

    checkpoint: Annotated[
        Path, typer.Argument(parser=absolute_path, metavar="CHECKPOINT", help="A released UniCL or METER checkpoint.")
    ]
    folder: Annotated[
        Path,
        typer.Argument(
            parser=absolute_path, metavar="FOLDER", help="Where to write weights, configuration and processor."
        ),
    ]
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="A folder with vocab.json and merges.txt; downloaded by default."),
    ] = None
    answers: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="METER's answers: a JSON list, a text file, or VQAv2's annotation files."),
    ] = None
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=absolute_path,
            help="Settings that the checkpoint lacks or has wrong, as .json, .yaml or .toml.",
        ),
    ] = None

    def run(self) -> None:
        from florence_rag.models.checkpoint_files import read_checkpoint
        from florence_rag.models.convert import convert, fetch_tokenizer, guesses_to_text, require_new
        from florence_rag.models.vqa_vocabulary import read_answers

        require_new(self.folder)  # before gigabytes are read
        answers = None if self.answers is None else read_answers(self.answers)
        checkpoint = read_checkpoint(self.checkpoint)
        tokenizer = self.tokenizer or fetch_tokenizer(checkpoint, self.fetcher())
        result = convert(checkpoint, self.folder, tokenizer=tokenizer, config=self.config, answers=answers)
        record = {"folder": str(self.folder), "model_type": result.config.model_type, "guessed": result.guessed}
        text = _usage(result.config, self.folder)
        if guessed := guesses_to_text(result.guessed):
            text += f"\n{guessed[0].upper()}{guessed[1:]}."
        self.print(record, plain(text))


def _usage(config: Any, folder: Path) -> str:
    if config.model_type == "florence":
        return f"A dual encoder. Use it with: florence-rag index PATH --model {folder}"
    heads = f"METER with the heads {', '.join(config.heads)}."
    if "vqa" not in config.heads:
        return heads
    if not config.answers:
        return f"{heads} It has no answers: convert it with --answers so that it can answer."
    return f"{heads} Use it with: florence-rag ask QUESTION --vqa {folder}"
