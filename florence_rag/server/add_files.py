"""add_files: indexes files of folders that the operator allows; the only tool that writes."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from florence_rag.errors import InputError
from florence_rag.index_report import IndexReport
from florence_rag.server.config import allowed_path
from florence_rag.server.index_jobs import IndexJobs, Job
from florence_rag.tools.base import Tool, ToolResult
from florence_rag.tools.formatting import counted
from florence_rag.untrusted_text import one_line, quoted

PROMPT = """\
Index a file, or all files of a folder, so that they can be searched. Use it only when the user asks for it.
Unchanged files are skipped, so it may be repeated.\
"""
WAIT_S = 3.0
"""Seconds that a call waits for a job; it holds a thread of the server for so long."""
MAX_LISTED = 20
MAX_REASON = 300


@dataclass(frozen=True)
class AddFiles(Tool):
    """Indexes files.

    Attributes:
        folders: Where the files may lie.
        jobs: The jobs of the server, of which each call starts one; None to index within the call.
    """

    name = "add_files"
    prompt = PROMPT

    folders: tuple[Path, ...] = ()
    jobs: IndexJobs | None = None
    _left: dict[Path, Job] = field(default_factory=dict, init=False, repr=False)
    """By path, the job whose end the last call did not wait for."""

    @property
    def description(self) -> str:
        """The prompt, with the allowed folders."""
        return f"{super().description}\nThe allowed folders: {', '.join(quoted(str(each)) for each in self.folders)}."

    def run(self, path: Annotated[str, "The path of a file or folder inside an allowed folder."]) -> ToolResult:
        """Return what was indexed, and what failed, or how far a job is that takes longer. Raises InputError."""
        allowed = allowed_path(path, self.folders)
        if self.jobs is None:
            return _report_to_result(self.rag.add(allowed))
        before = self._left.pop(allowed, None)
        job = self.jobs.start([allowed], join=True)
        if not job.ended.wait(WAIT_S):
            self._left[allowed] = job
        if job.error:
            raise InputError(job.error)
        result = _report_to_result(job.report) if job.report else _state_to_result(job)
        if before in (None, job):
            return result
        ended = before.error or (_report_to_result(before.report).text if before.report else f"it was {before.state}.")
        return replace(result, text=f"The run before: {ended}\nThe run now: {result.text}")


def _report_to_result(report: IndexReport) -> ToolResult:
    failed = [f"{quoted(each.source)}: {one_line(each.reason, MAX_REASON)}" for each in report.failed[:MAX_LISTED]]
    counts = f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged"
    text = "\n".join([f"{counts}, {counted(report.failed, 'file')} failed.", *failed])
    return ToolResult(text, {"added": report.added, "updated": report.updated, "failed": len(report.failed)})


def _state_to_result(job: Job) -> ToolResult:
    """Return how far a job is that has no report."""
    text = f"Indexing is {job.state}"
    if progress := job.progress:
        words = "the words of " if progress.task == "words" else ""
        text += f": {words}{progress.files_done} of {progress.files_total} files are done"
    if not job.cancelled.is_set():
        text += ". It goes on without you. Call add_files with the same path again to see how far it is"
    return ToolResult(f"{text}.", {"job": job.id, "state": job.state})
