"""Files are indexed, tried again when they failed, and followed when their folders are watched."""

import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import pytest
from PIL import Image

from florence_rag.errors import InputError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index_report import Change
from florence_rag.ingest.embed_stage import EmbedStage
from florence_rag.ingest.engine import IngestConfig, ThreadEngine
from florence_rag.ingest.file_ingestor import FileIngestor
from florence_rag.ingest.index_diff import IndexSnapshot
from florence_rag.rag import FlorenceRAG
from florence_rag.sources import Places, watching
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.types import Skipped
from tests.chunking.samples import pdf_with_attachment

WAIT_S = 20  # on a busy machine; it takes half a second


def save(path, *colors):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(color_frame(*colors, size_px=64)).save(path)
    return path


class Watched:
    """A FlorenceRAG that watches in a thread of its own."""

    def __init__(self, rag, *folders, **options):
        self.rag = rag
        self.reports = Queue()
        self.stop = threading.Event()
        self._arguments = folders, options
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        folders, options = self._arguments
        try:
            for report in self.rag.watch(*folders, stop=self.stop, **options):
                self.reports.put(report)
        except Exception as error:
            self.reports.put(error)

    def next(self):
        return self.reports.get(timeout=WAIT_S)

    def changes(self, count):
        """Return the next changes, sorted, whether one run reports them or several do."""
        seen = set()
        while len(seen) < count:
            seen |= set(self.next().changes)
        return sorted((change.event, os.path.basename(change.source)) for change in seen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join()


@pytest.fixture
def rag():
    return FlorenceRAG(MemoryIndex(ColorEmbedder.info), ColorEmbedder(), ingest=IngestConfig(threads=1))


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "in" / "red.png", "red")
    return tmp_path / "in"


@pytest.fixture(params=["memory", "milvus"])
def each_rag(request, tmp_path):
    info = ColorEmbedder.info
    index = MemoryIndex(info) if request.param == "memory" else MilvusIndex.open(str(tmp_path / "x.db"), info)
    with FlorenceRAG(index, ColorEmbedder(), ingest=IngestConfig(threads=1)) as rag:
        yield rag


@pytest.fixture
def mixed_folder(folder):
    """An image, and a file that cannot be read as one."""
    (folder / "broken.jpg").write_text("this is no image")
    return folder


@pytest.fixture
def compared(monkeypatch):
    """The paths that the watch compares with the index, run by run."""
    paths_of_runs = []
    diff = IndexSnapshot.diff

    def recorded(self, paths, **options):
        paths_of_runs.append(list(paths.uris if isinstance(paths, Places) else paths))
        return diff(self, paths, **options)

    monkeypatch.setattr(IndexSnapshot, "diff", recorded)
    return paths_of_runs


def test_watching_reports_new_files_that_are_not_read_once(rag, folder):
    (folder / "old.mp3").write_bytes(b"x")
    with Watched(rag, folder) as watched:
        assert watched.next().skipped_counts == {".mp3": 1}
        (folder / "new.mp3").write_bytes(b"x")
        (folder / "up").symlink_to(folder.parent)
        skipped = set()
        while len(skipped) < 2:
            skipped |= set(watched.next().skipped)
        assert skipped == {
            Skipped(str(folder / "new.mp3"), ".mp3"),
            Skipped(str(folder / "up"), "link to a parent folder"),
        }
        (folder / "old.mp3").write_bytes(b"y")
        (folder / "new.mp3").write_bytes(b"y")
        save(folder / "green.png", "green")
        report = watched.next()
        assert (report.added, report.failed, report.skipped) == (1, (), ())


def test_watching_begins_with_earlier_changes_and_follows_new_changed_moved_and_deleted_files(rag, folder, compared):
    rag.add(folder)
    save(folder / "blue.png", "blue")
    (folder / "red.png").unlink()
    with Watched(rag, folder) as watched:
        first = watched.next()
        assert (first.added, first.removed, first.unchanged) == (1, 1, 0)
        save(folder / "deep" / "er" / "green.png", "green")
        assert watched.changes(1) == [("added", "green.png")]
        save(folder / "blue.png", "yellow")
        assert watched.changes(1) == [("updated", "blue.png")]
        assert rag.search("yellow", k=1)[0].source == str(folder / "blue.png")
        (folder / "blue.png").rename(folder / "moved.png")
        assert watched.changes(2) == [("added", "moved.png"), ("removed", "blue.png")]
        (folder / "deep").rename(folder / "other")
        assert watched.changes(2) == [("added", "green.png"), ("removed", "green.png")]
        (folder / "moved.png").unlink()
        assert watched.changes(1) == [("removed", "moved.png")]
    assert list(rag.index.sources()) == [str(folder / "other" / "er" / "green.png")]
    assert [str(folder)] not in compared[2:]


def test_a_file_that_is_being_written_waits_until_it_is_whole(rag, folder):
    data = save(folder.parent / "whole.png", "blue").read_bytes()
    with Watched(rag, folder) as watched:
        watched.next()
        with open(folder / "slow.png", "wb") as file:
            for start in range(0, len(data), len(data) // 6 + 1):
                file.write(data[start : start + len(data) // 6 + 1])
                file.flush()
                time.sleep(watching.SETTLE_S / 3)
        report = watched.next()
        assert report.changes == (Change("added", str(folder / "slow.png")),)
        assert not report.failed


def test_a_file_that_was_read_too_early_is_read_again(rag, folder):
    data = save(folder.parent / "whole.png", "blue").read_bytes()
    with Watched(rag, folder) as watched:
        watched.next()
        (folder / "half.png").write_bytes(data[: len(data) // 2])
        assert [failure.source for failure in watched.next().failed] == [str(folder / "half.png")]
        with open(folder / "half.png", "ab") as file:
            file.write(data[len(data) // 2 :])
        assert watched.changes(1) == [("added", "half.png")]
    assert rag.index.failures() == ()


def test_a_search_in_another_thread_sees_the_changes(rag, folder):
    with Watched(rag, folder) as watched:
        watched.next()
        save(folder / "blue.png", "blue")
        watched.next()
        assert rag.search("blue", k=1)[0].source == str(folder / "blue.png")


def test_the_sources_of_a_folder_that_disappears_stay(rag, folder):
    with Watched(rag, folder) as watched:
        watched.next()
        folder.rename(folder.parent / "away")
        error = watched.next()
    assert isinstance(error, InputError) and "is gone; its files stay in the index" in str(error)
    assert list(rag.index.sources()) == [str(folder / "red.png")]


def test_after_very_many_changes_the_folders_are_scanned(rag, folder, compared, monkeypatch):
    monkeypatch.setattr(watching, "MAX_CHANGES", 2)
    with Watched(rag, folder) as watched:
        watched.next()
        for number, colors in enumerate([("red", "blue"), ("blue", "red"), ("green", "red"), ("red", "green")]):
            save(folder / f"{number}.png", *colors)
        watched.changes(4)
    assert [str(folder)] in compared[1:]


def test_an_empty_folder_can_be_watched(rag, tmp_path):
    with Watched(rag, tmp_path) as watched:
        assert watched.next().changes == ()
        save(tmp_path / "a.png", "red")
        assert watched.changes(1) == [("added", "a.png")]


@pytest.mark.parametrize("name", ["red.png", "missing"])
def test_only_folders_can_be_watched(rag, folder, name):
    with pytest.raises(InputError, match=f"{name}' is not a folder; give folders to watch"):
        next(rag.watch(folder / name))


class ReadFiles(set):
    """The names of the files that are read, as the progress reports them."""

    def __call__(self, step):
        self.add(os.path.basename(step.source))


def test_what_is_skipped_is_reported_by_runs_without_changes_and_recorded(each_rag, folder):
    (folder / "a.mp3").write_bytes(b"x")
    (folder / "a.pdf").write_bytes(pdf_with_attachment())
    expected = {".mp3": 1, "attachment": 1}
    first, second = each_rag.add(folder), each_rag.add(folder)
    assert first.skipped_counts == second.skipped_counts == each_rag.info().skipped == expected
    assert set(first.skipped) == set(second.skipped)
    shutil.copy(folder / "a.pdf", folder / "copy.pdf")  # its chunks are those of the original
    (folder / "a.mp3").unlink()
    assert each_rag.add(folder).skipped_counts == each_rag.info().skipped == {"attachment": 2}
    (folder / "copy.pdf").unlink()
    assert each_rag.add(folder, prune=True).skipped_counts == each_rag.info().skipped == {"attachment": 1}


def counts(report):
    return report.added, report.updated, report.unchanged, len(report.failed)


def test_an_unchanged_failure_is_reported_again_and_not_read_again(each_rag, mixed_folder):
    first, read = each_rag.add(mixed_folder), ReadFiles()
    second = each_rag.add(mixed_folder, progress=read)
    assert counts(second) == (0, 0, 1, 1)
    assert second.failed == first.failed == each_rag.index.failures()
    assert read == set()


@pytest.mark.parametrize(
    "retry",
    [
        lambda each_rag, mixed_folder, progress: each_rag.add(mixed_folder, retry=True, progress=progress),
        lambda each_rag, _, progress: each_rag.retry_failures(progress=progress),
    ],
)
def test_a_failure_is_tried_again_on_demand(each_rag, mixed_folder, retry):
    each_rag.add(mixed_folder)
    read = ReadFiles()
    assert len(retry(each_rag, mixed_folder, read).failed) == 1
    assert read == {"broken.jpg"}


def test_a_failed_file_is_tried_again_when_it_changes(each_rag, mixed_folder):
    each_rag.add(mixed_folder)
    Image.fromarray(color_frame("blue")).save(mixed_folder / "broken.jpg", "PNG")
    assert counts(each_rag.add(mixed_folder)) == (1, 0, 1, 0)
    assert each_rag.index.failures() == () and each_rag.index.rejected() == {}


def test_a_failure_that_does_not_lie_in_the_file_is_tried_again_in_every_run(each_rag, mixed_folder):
    def refuse(frames):
        raise InputError("the service is tired")

    embed, each_rag.models.embedder.embed_images = each_rag.models.embedder.embed_images, refuse
    assert counts(each_rag.add(mixed_folder)) == (0, 0, 0, 2)
    each_rag.models.embedder.embed_images = embed
    assert counts(each_rag.add(mixed_folder)) == (1, 0, 0, 1)


def test_a_failure_whose_file_is_gone_is_deleted_when_tried_again(each_rag, mixed_folder):
    each_rag.add(mixed_folder)
    (mixed_folder / "broken.jpg").unlink()
    assert counts(each_rag.retry_failures()) == (0, 0, 0, 0)
    assert each_rag.index.failures() == ()


def test_without_failures_a_retry_does_nothing(each_rag):
    assert counts(each_rag.retry_failures()) == (0, 0, 0, 0)


def test_a_file_with_new_times_and_old_bytes_is_hashed_once(each_rag, mixed_folder, monkeypatch):
    from florence_rag.sources import discovery

    hashed = []
    hash_content = discovery.hash_content

    def record_name(files):
        files = list(files)
        hashed.append(os.path.basename(files[0].name))
        return hash_content(files)

    monkeypatch.setattr(discovery, "hash_content", record_name)
    each_rag.add(mixed_folder)
    for name in ("red.png", "broken.jpg"):
        os.utime(mixed_folder / name, (1, 1))
    hashed.clear()
    assert counts(each_rag.add(mixed_folder)) == (0, 0, 1, 1)
    assert sorted(hashed) == ["broken.jpg", "red.png"]
    assert counts(each_rag.add(mixed_folder)) == (0, 0, 1, 1)
    assert sorted(hashed) == ["broken.jpg", "red.png"]
    assert len(each_rag.search("red")) == 1


def test_sources_below_a_missing_path_are_not_pruned(each_rag, mixed_folder):
    each_rag.add(mixed_folder)
    shutil.move(mixed_folder, mixed_folder.parent / "away")
    with pytest.raises(InputError, match="does not exist"):
        each_rag.add(mixed_folder, prune=True)
    assert len(each_rag.index.sources()) == 1


@pytest.fixture
def ingestor(rag):
    return FileIngestor(rag.context)


def test_an_engine_is_made_for_each_run_that_changes_something(ingestor, folder):
    engines = []

    def make(chunker):
        engines.append(ThreadEngine(EmbedStage.from_models(ingestor.context.models), chunker))
        return engines[-1]

    assert ingestor.add([folder], {"engine": make}).added == 1
    assert ingestor.add([folder], {"engine": make}).unchanged == 1
    assert len(engines) == 1


def test_a_run_without_any_file_names_what_was_searched(ingestor, tmp_path):
    with pytest.raises(InputError, match=r"nothing to index in the list; supported are .*\.jpg"):
        ingestor.add([], {}, listed=[])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"nothing to index in '.*empty'"):
        ingestor.add([tmp_path / "empty"], {})


def test_options_are_checked_before_the_index_changes(ingestor, rag, folder):
    with pytest.raises(InputError, match="near_duplicates is 'merge'; allowed are 'keep', 'link' and 'drop'"):
        ingestor.add([folder], {"near_duplicates": "merge"})
    with pytest.raises(TypeError, match="did you mean 'engine'"):
        ingestor.add([folder], {"engines": None})
    assert rag.index.sources() == {}


def test_threads_that_share_an_ingestor_index_a_file_once(ingestor, folder):
    with ThreadPoolExecutor(4) as threads:
        reports = list(threads.map(lambda _: ingestor.add([folder], {}), range(4)))
    assert sorted((report.added, report.unchanged) for report in reports) == [(0, 1)] * 3 + [(1, 0)]


def test_a_listed_file_that_does_not_exist_is_a_failure_and_the_others_are_indexed(ingestor, folder):
    report = ingestor.add([], {}, listed=[folder / "red.png", folder / "gone.png"])
    assert (report.added, [os.path.basename(failure.source) for failure in report.failed]) == (1, ["gone.png"])


def test_the_readers_of_another_engine_have_the_whole_budget_each(rag, folder):
    save(folder / "a.png", "red")
    limits = []

    def make_engine(chunker):
        limits.append(chunker.limits)
        return ThreadEngine(EmbedStage.from_models(rag.context.models), chunker)

    assert rag.add(folder, engine=make_engine).failed == ()
    assert limits == [IngestConfig().limits(1)]
