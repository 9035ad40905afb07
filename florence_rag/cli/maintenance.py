"""`florence-rag check` and `repair`: finds damage of a database, and repairs what can be repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.command import DatabaseCommand, IndexingCommand
from florence_rag.cli.output import plain, stdout
from florence_rag.cli.progress import show_progress
from florence_rag.errors import FlorenceError
from florence_rag.redaction import redact

if TYPE_CHECKING:
    from florence_rag.maintenance.findings import CheckReport
    from florence_rag.maintenance.plan import Step
    from florence_rag.maintenance.repair import RepairOptions, RepairReport

_MAX_FILES = 20
_COLORS = {"repaired": "green", "kept": "yellow", "lost": "red"}


class Check(DatabaseCommand):
    """Find damage in a database; the exit code is 1 if there is any. It loads no model and changes nothing."""

    def run(self) -> None:
        from florence_rag.maintenance.check import check_database

        report = check_database(self.db, token=self.token, tenant=self.tenant)
        self.print(report.to_dict(), _check_to_text(report))
        if not report.is_sound:
            raise typer.Exit(1)


class Repair(IndexingCommand):
    """Repair a database; the exit code is 1 if something is lost. Give the options with which files were indexed."""

    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; print what would be repaired, and what is lost.")
    ] = False

    def run(self) -> None:
        from florence_rag.maintenance.repair import RepairReport, repair_database

        options: dict[str, Any] = {
            **self.settings(),
            "token": self.token,
            "tenant": self.tenant,
            "model_options": self.model_options(),
            "near_duplicates": self.near_duplicates,
            "words": self.words,
            "follow_links": self.follow_links,
        }
        steps: list[Step] = []

        def show(step: Step) -> None:
            steps.append(step)
            if not self.as_json:
                stdout().print(_step_to_text(step))

        try:
            with show_progress() as progress:
                report = repair_database(
                    self.db,
                    self.model,
                    dry_run=self.dry_run,
                    report=show,
                    **cast("RepairOptions", {**options, "progress": progress}),
                )
        except FlorenceError as error:
            if self.as_json:  # what was done before is done
                record = RepairReport(self.db, tuple(steps), dry_run=self.dry_run).to_dict()
                self.print(record | {"complete": False, "error": redact(str(error))}, "")
            raise
        self.print(report.to_dict(), _repair_to_text(report))
        if not report.is_complete:
            raise typer.Exit(1)


def _check_to_text(report: CheckReport) -> RenderableType:
    lines = [Text.assemble(("damage ", "red"), plain(str(finding))) for finding in report.findings]
    for name, files in (("gone", report.gone), ("changed", report.changed), ("unfinished", report.unfinished)):
        lines += [Text.assemble((f"{name} ", "yellow"), plain(file)) for file in files[:_MAX_FILES]]
        lines += [Text(f"and {len(files) - _MAX_FILES} more {name}")] if len(files) > _MAX_FILES else []
    if report.unverified:
        lines.append(Text(f"{report.unverified} rows of an older version have no checksum; repair adds it."))
    count = len(report.findings)
    advice = f"{count} faults; repair them with: florence-rag repair --db {report.database}"
    summary = f"{report.sources} sources, {report.rows} rows: {advice if count else 'no damage'}"
    return Group(*lines, plain(summary, "bold"))


def _step_to_text(step: Step) -> Text:
    return Text.assemble((f"{step.outcome} ", _COLORS[step.outcome]), plain(str(step)))


def _repair_to_text(report: RepairReport) -> RenderableType:
    counts = {outcome: sum(step.outcome == outcome for step in report.steps) for outcome in _COLORS}
    summary = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count) or "nothing to repair"
    lines = [plain(f"{summary}; nothing was changed" if report.dry_run else summary, "bold")]
    if report.set_aside:
        lines.append(plain(f"The damaged files are kept in {report.set_aside}; delete them if you do not need them."))
    return Group(*lines)
