"""`florence-rag evalset`: measures the search of a database by queries from its own chunks, and compares two runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import RenderableType
from rich.table import Table

from florence_rag.cli.command import Command, CommandGroup, DatabaseCommand, RerankingCommand
from florence_rag.cli.options import (
    Filter,
    Model,
    absolute_path,
    check_output_file,
    check_output_folder,
    split_choices,
)
from florence_rag.cli.output import plain
from florence_rag.cli.progress import track_items

if TYPE_CHECKING:
    from florence_rag.evaluation.ranking import Difference
    from florence_rag.evaluation.report import Metric

_FIELDS = ("caption", "tags", "ocr", "text")
_BRANCHES = ("image", "text", "bm25", "text_dense", "phrase")
EvalSetFolder = Annotated[Path, typer.Argument(metavar="DIR", parser=absolute_path, help="The folder of the test set.")]
RunFile = Annotated[Path, typer.Argument(metavar="RUN", parser=absolute_path, help="A file that `run` wrote.")]


class Build(DatabaseCommand):
    """Take queries from the captions, tags, OCR text and texts of a database, each with the chunks to find."""

    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", parser=absolute_path, callback=check_output_folder, help="The folder to create."),
    ]
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_FIELDS),
            callback=split_choices(_FIELDS),
            help="Only queries from these fields of the chunks; text includes transcripts. Repeatable.",
        ),
    ] = None
    limit: Annotated[int, typer.Option(min=1, help="The most queries from each field.")] = 200
    level: Annotated[
        Literal["chunk", "source"],
        typer.Option(help="Whether the chunk itself is right, or its whole file, for databases with other chunks."),
    ] = "chunk"
    filter: Filter = None

    def run(self) -> None:
        from florence_rag.evaluation.eval_set import FIELDS, build_eval_set

        fields = [field for field in FIELDS if field in (self.field or FIELDS)]
        with self.open_index() as index:
            built = build_eval_set(index, fields, limit=self.limit, level=self.level, filter=self.filter)
        built.write(self.folder)
        counts = {name: sum(query.field == name for query in built.queries) for name in _FIELDS}
        record = {"folder": str(self.folder), "level": built.level, "queries": counts}
        listed = ", ".join(f"{count} from {name}" for name, count in counts.items() if count)
        self.print(record, plain(f"{len(built.queries)} queries in {self.folder}: {listed}"))


class Run(RerankingCommand):
    """Search a database for each query of a test set, print how well it ranks, and write the rankings for `compare`."""

    folder: EvalSetFolder
    run_file: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", parser=absolute_path, callback=check_output_file, help="The JSON file to write, as of ranx."
        ),
    ]
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(_BRANCHES),
            callback=split_choices(_BRANCHES),
            help="Leave these branches of the search out. Repeatable.",
        ),
    ] = None
    model: Model = None

    def run(self) -> None:
        from florence_rag.evaluation.eval_set import EvalSet
        from florence_rag.evaluation.ranking import measure, run_queries, write_run

        config = self.retrieval_config(**{f"{branch}_weight": 0.0 for branch in self.without or ()})
        queries = EvalSet.read(self.folder)
        with self.open_rag(self.model, reranker=self.reranker) as rag:
            run = run_queries(queries, rag.context, config, kinds=self.kinds, filter=self.filter, track=track_items)
        write_run(run, self.run_file)
        measured = measure(queries, run)
        metrics = {
            field: {each.name: {"value": each.value, "low": each.low, "high": each.high} for each in some}
            for field, some in measured.items()
        }
        record = {"run": str(self.run_file), "queries": len(queries.queries), "metrics": metrics}
        self.print(record, _metrics_to_table(measured))


class Compare(Command):
    """Compare two runs query by query: the difference of each metric, its 95 % interval, and a p-value."""

    folder: EvalSetFolder
    first: RunFile
    second: RunFile

    def run(self) -> None:
        from florence_rag.evaluation.eval_set import EvalSet
        from florence_rag.evaluation.ranking import compare_runs, read_run

        queries = EvalSet.read(self.folder)
        differences = compare_runs(queries, read_run(self.first), read_run(self.second))
        record = {
            "first": str(self.first),
            "second": str(self.second),
            "queries": len(queries.queries),
            "differences": [asdict(each) for each in differences],
        }
        self.print(record, _differences_to_table(differences))


def _metrics_to_table(measured: Mapping[str, tuple[Metric, ...]]) -> RenderableType:
    table = Table("queries", "metric", "value", "95 % interval", box=None)
    for field, metrics in measured.items():
        for metric in metrics:
            table.add_row(field, metric.name, *metric.text())
    return table


def _differences_to_table(differences: tuple[Difference, ...]) -> RenderableType:
    table = Table("queries", "metric", "first", "second", "difference", "95 % interval", "p", box=None)
    for each in differences:
        means = f"{each.first:.1%}", f"{each.second:.1%}", f"{each.difference:+.1%}"
        interval = f"{each.low:+.1%} to {each.high:+.1%}"
        table.add_row(each.field, each.metric, *means, interval, f"{each.p_value:.4f}")
    return table


EVALSET = CommandGroup(
    "Measure the search of your own database, and compare two configurations of it.",
    {"build": Build, "run": Run, "compare": Compare},
)
"""Measures the search of a database by queries from its own chunks."""
