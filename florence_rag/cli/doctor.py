"""`florence-rag doctor`: measures what makes a database slow or its results wrong, and says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from florence_rag.cli.command import EmbeddingCommand
from florence_rag.cli.options import Model
from florence_rag.cli.output import plain

if TYPE_CHECKING:
    from florence_rag.maintenance.doctor import Diagnosis


class Doctor(EmbeddingCommand):
    """Measure what makes a database slow or its results wrong, and say what to do. It changes nothing."""

    model: Model = None

    def run(self) -> None:
        from florence_rag.maintenance.doctor import diagnose

        with self.open_rag(self.model) as rag:
            diagnosis = diagnose(rag.context)
        self.print(diagnosis.to_dict(), _diagnosis_to_text(diagnosis))


def _diagnosis_to_text(diagnosis: Diagnosis) -> RenderableType:
    lines = []
    for each in diagnosis.measurements:
        color = "yellow" if each.advice else "green"
        lines.append(Text.assemble((f"{each.name:<17}", color), plain(each.text)))
        if each.advice:
            lines.append(Text.assemble(" " * 17, plain(f"-> {each.advice}", "yellow")))
    count = sum(bool(each.advice) for each in diagnosis.measurements)
    return Group(*lines, Text(f"{count} things to do" if count else "nothing to do", "bold"))
