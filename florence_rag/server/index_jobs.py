"""Index runs that clients start: one after the other, with progress, and a way to cancel them."""

import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from florence_rag.errors import FlorenceError, InputError
from florence_rag.index_report import IndexReport
from florence_rag.ingest.file_ingestor import RunOptions
from florence_rag.ingest.progress import Progress
from florence_rag.rag import FlorenceRAG
from florence_rag.telemetry import get_logger

log = get_logger(__name__)

MAX_JOBS = 50
"""Jobs that are remembered."""
MAX_WAITING = 20
MAX_LISTED = 500
"""Failed, skipped and near-duplicate files of a job that are listed; the counts are exact."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]


class _Cancelled(Exception):
    """Ends a run from its progress callback; finished files are kept."""


@dataclass
class Job:
    """One index run.

    Attributes:
        id: The id of the job.
        paths: The files and folders.
        retry: Whether to read files again that failed before.
        state: How far it is.
        progress: The latest progress.
        report: The result of a run that is done.
        error: Why the run failed.
        created_at: Seconds since the epoch.
        cancelled: Set when somebody cancels it.
        ended: Set when its thread is done with it.
    """

    paths: Sequence[Path]
    retry: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    state: State = "waiting"
    progress: Progress | None = None
    report: IndexReport | None = None
    error: str = ""
    created_at: float = field(default_factory=time.time)
    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ("done", "failed", "cancelled")

    def to_dict(self) -> dict[str, Any]:
        """Return the job, ready for JSON."""
        return {
            "id": self.id,
            "paths": [str(path) for path in self.paths],
            "state": self.state,
            "progress": self.progress and asdict(self.progress) | {"bottleneck": self.progress.bottleneck},
            "report": self.report and _short_report(self.report),
            "error": self.error,
            "created_at": self.created_at,
        }


def _short_report(report: IndexReport) -> dict[str, Any]:
    record: dict[str, Any] = report.to_dict()
    counts = {f"{name}_count": len(record[name]) for name in ("failed", "near_duplicates")}
    return record | counts | {name: record[name][:MAX_LISTED] for name in ("failed", "near_duplicates", "skipped")}


class IndexJobs:
    """The jobs of a server. All methods may be called from any thread."""

    def __init__(self, rag: FlorenceRAG, options: RunOptions) -> None:
        self._rag, self._options = rag, options
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, "florence-index")

    def start(self, paths: Sequence[Path], retry: bool = False, *, join: bool = False) -> Job:
        """Queue a run over files and folders, which must exist; with `join`, return one that is not over instead."""
        job = Job(paths, retry)
        with self._lock:
            for each in self._jobs.values() if join else ():
                if (each.paths, each.retry) == (paths, retry) and not (each.is_over or each.cancelled.is_set()):
                    return each
            if sum(not each.is_over for each in self._jobs.values()) > MAX_WAITING:
                raise InputError(f"{MAX_WAITING} index jobs are waiting; cancel one, or wait")
            self._jobs[job.id] = job
            for old in [each.id for each in self._jobs.values() if each.is_over][:-MAX_JOBS]:
                del self._jobs[old]
        self._thread.submit(self._run, job)
        return job

    def get(self, id: str) -> Job | None:
        """Return a job, or None if there is none."""
        return self._jobs.get(id)

    def all(self) -> list[Job]:
        """Return the jobs, the newest first."""
        with self._lock:
            return list(self._jobs.values())[::-1]

    def cancel(self, job: Job) -> None:
        """End a job after the file that is being stored; files that are finished are kept."""
        job.cancelled.set()
        if job.state == "waiting":
            job.state = "cancelled"

    def close(self) -> None:
        """Cancel all jobs, and wait until the running one has ended."""
        for job in self.all():
            self.cancel(job)
        self._thread.shutdown()

    def _run(self, job: Job) -> None:
        if not job.cancelled.is_set():
            self._index(job)
        job.ended.set()

    def _index(self, job: Job) -> None:
        def report(progress: Progress) -> None:
            job.progress = progress
            if job.cancelled.is_set():
                raise _Cancelled

        job.state = "running"
        options: RunOptions = {**self._options, "progress": report}
        try:
            job.report = self._rag.add(*job.paths, retry=job.retry, **options)
            job.state = "done"
        except _Cancelled:
            job.state = "cancelled"
        except FlorenceError as error:
            job.error, job.state = str(error), "failed"
        except Exception as error:
            log.exception("an index job failed", extra={"event": "server.job"})
            job.error, job.state = f"unexpected {type(error).__name__}; the log of the server has more", "failed"
