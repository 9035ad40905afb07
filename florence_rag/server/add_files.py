"""add_files: indexes files of folders that the operator allows; the only tool that writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from florence_rag.server.config import allowed_path
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.tools.formatting import counted
from florence_rag.untrusted_text import one_line, quoted

PROMPT = """\
Index a file, or all files of a folder, so that they can be searched. Use it only when the user asks for it.
Unchanged files are skipped, so it may be repeated.\
"""
MAX_LISTED = 20
MAX_REASON = 300


@dataclass(frozen=True)
class AddFiles(Tool):
    """Indexes files.

    Attributes:
        folders: Where the files may lie.
    """

    name = "add_files"
    prompt = PROMPT

    folders: tuple[Path, ...] = ()

    @property
    def description(self) -> str:
        """The prompt, with the allowed folders."""
        return f"{super().description}\nThe allowed folders: {', '.join(quoted(str(each)) for each in self.folders)}."

    def run(self, path: Annotated[str, "The path of a file or folder inside an allowed folder."]) -> ToolResult:
        """Return what was indexed, and what failed. Raises InputError."""
        report = self.rag.add(allowed_path(path, self.folders))
        failed = [f"{quoted(each.source)}: {one_line(each.reason, MAX_REASON)}" for each in report.failed[:MAX_LISTED]]
        counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged"
        text = "\n".join([f"{counts}, {counted(report.failed, 'file')} failed.", *failed])
        return ToolResult(text, {"added": report.added, "updated": report.updated, "failed": len(report.failed)})
