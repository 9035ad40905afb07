import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from florence_rag.errors import InputError, MediaError, MemoryLimitError, MissingExtraError, TimeLimitError
from florence_rag.workers import Limits, call_while_waiting, close_workers, process, start_workers, stream
from florence_rag.workers.pool import WorkerPool
from florence_rag.workers.process import Worker
from tests.workers import tasks

MB = 2**20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")


def only(items):
    (item,) = items
    return item


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def ends_within(pid, seconds):
    until = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_alive(pid)


def test_items_come_in_order_from_another_process():
    assert list(stream(tasks.squares, 5)) == [0, 1, 4, 9, 16]
    assert list(stream(tasks.squares, 0)) == []
    assert only(stream(tasks.state, "pid")) != os.getpid()


def test_arrays_arrive_whole_and_can_be_changed():
    for number, array in enumerate(stream(tasks.arrays, 3, 1000)):
        assert array.shape == (1000, 1000) and (array == number).all()
        array += 1


def test_a_worker_is_used_again_and_sees_the_present_state_of_the_program(tmp_path, monkeypatch):
    first = list(stream(tasks.state, "pid", "folder"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLOR_OF_THE_TEST", "blue")
    assert list(stream(tasks.state, "pid", "folder", "COLOR_OF_THE_TEST")) == [first[0], str(tmp_path), "blue"]


def test_a_worker_does_not_run_the_main_module_of_the_program_nor_import_models(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "print('main runs')\nfrom florence_rag.workers import stream\nfrom tests.workers import tasks\n"
        "(modules,) = stream(tasks.state, 'modules')\n"
        "print(sorted({name.split('.')[0] for name in modules} & {'torch', 'transformers', 'pymilvus', 'program'}))\n"
    )
    run = subprocess.run([sys.executable, program], env=environment(), capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("main runs\n[]\n", "")


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_worker_waits_for_the_program_to_take_its_items(tmp_path):
    reached = tmp_path / "reached"
    with closing(stream(tasks.progress, reached, 100)) as items:
        next(items)
        time.sleep(0.3)
        assert int(reached.read_text()) <= 4


@pytest.mark.parametrize("error", [MediaError("'a.jpg' is damaged"), InputError("no"), KeyError("x"), OSError(2, "no")])
def test_an_error_of_the_function_is_raised_with_its_traceback_and_the_worker_lives_on(error):
    pid = only(stream(tasks.state, "pid"))
    items = stream(tasks.fail, error)
    assert next(items) == 1
    with pytest.raises(type(error)) as raised:
        next(items)
    assert str(raised.value) == str(error)
    assert "tasks.py" in raised.value.__notes__[0]
    assert only(stream(tasks.state, "pid")) == pid


def test_an_error_with_arguments_of_its_own_arrives():
    with pytest.raises(MissingExtraError, match=r"'av' is not installed.*florence-rag\[video\]"):
        list(stream(tasks.fail_without_package))


@on_linux
@pytest.mark.parametrize(
    ("task", "how"), [((tasks.end, signal.SIGSEGV), "SIGSEGV"), ((tasks.leave,), "exit code 3")], ids=["crash", "exit"]
)
def test_a_worker_that_ends_is_the_error_of_its_task_alone(task, how):
    others = stream(tasks.squares, 3)
    assert next(others) == 0
    items = stream(*task, limits=Limits(memory_bytes=64 * MB))
    assert next(items) == 1
    with pytest.raises(MemoryLimitError, match=rf"ends its process \({how}\): it is damaged, or .* 64 MB"):
        next(items)
    assert list(others) == [1, 4]
    assert list(stream(tasks.squares, 2)) == [0, 1]


def test_a_task_that_takes_too_long_is_killed():
    items = stream(tasks.loop_forever, limits=Limits(0.5, 0))
    pid = next(items)
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"takes longer than the limit of 0\.5 s"):
        next(items)
    assert time.monotonic() - began < 20
    assert ends_within(pid, 20)


def test_only_the_time_that_the_program_waits_counts_and_each_item_allows_for_more():
    list(stream(tasks.squares, 1))  # imports the tasks
    assert len(list(stream(tasks.squares, 10, 0.2, limits=Limits(1, 0.5)))) == 10
    with pytest.raises(TimeLimitError):
        list(stream(tasks.squares, 10, 0.2, limits=Limits(1, 0.01)))
    for _ in stream(tasks.squares, 4, limits=Limits(1, 0)):
        time.sleep(0.4)


@pytest.mark.parametrize(("starved", "factor"), [(0.9, 10), (1.1, 10), (0.0, 1)])
def test_time_without_a_processor_does_not_count_up_to_ten_times_the_limit(starved, factor, monkeypatch):
    """A part of the time is starved; what is left, or ten times the limit, ends the task."""
    monkeypatch.setattr(Worker, "starved_s", lambda self: starved * time.monotonic())
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"longer than the limit of 0\.3 s"):
        list(stream(time.sleep, 60, limits=Limits(0.3)))
    assert 0.3 * factor * 0.9 < time.monotonic() - began < 0.3 * factor + 2.6  # less than ten times the limit


@on_linux
def test_a_task_that_shares_its_processor_with_others_is_not_killed():
    began = time.monotonic()
    assert only(stream(tasks.share_processor, 0.4, 3, limits=Limits(0.9))) > 0.4
    assert time.monotonic() - began > 1


def test_a_stream_that_is_closed_kills_its_worker():
    with closing(stream(tasks.loop_forever)) as items:
        pid = next(items)
    assert ends_within(pid, 20)


def test_what_is_called_while_waiting_may_end_the_task():
    stop = threading.Event()

    def check():
        if stop.is_set():
            raise KeyboardInterrupt

    call_while_waiting.set(check)
    items = stream(tasks.loop_forever)
    pid = next(items)
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        next(items)
    stop.clear()
    assert ends_within(pid, 20)


@on_linux
def test_memory_has_a_limit_that_the_next_task_does_not_have():
    limits = Limits(memory_bytes=64 * MB)
    assert list(stream(tasks.allocate, 50 * MB, limits=limits)) == [1, 50 * MB]
    with pytest.raises(MemoryLimitError, match="needs more memory than the limit of 64 MB"):
        list(stream(tasks.allocate, 300 * MB, limits=limits))
    assert list(stream(tasks.allocate, 300 * MB)) == [1, 300 * MB]


@on_linux
@pytest.mark.parametrize("task", [tasks.misread, tasks.require])
def test_a_decoder_that_misreads_a_failed_allocation_is_a_lack_of_memory(task):
    with pytest.raises(MemoryLimitError, match="needs more memory than the limit of 64 MB"):
        list(stream(task, 300 * MB, limits=Limits(memory_bytes=64 * MB)))


@on_linux
def test_a_worker_that_keeps_memory_is_replaced():
    pid = only(stream(tasks.keep, 280 * MB, limits=Limits(memory_bytes=300 * MB)))
    assert ends_within(pid, 20)
    assert only(stream(tasks.state, "pid")) != pid


def test_logs_and_warnings_reach_the_program_and_prints_do_not_mix_with_items(caplog):
    with caplog.at_level(logging.INFO, "florence_rag"), pytest.warns(UserWarning, match="an old file"):
        assert list(stream(tasks.report)) == [""]
    assert [record.getMessage() for record in caplog.records] == ["page 3 is odd"]


def test_a_function_that_no_worker_can_import_is_refused_at_once():
    with pytest.raises(Exception, match="pickle"):
        list(stream(lambda: iter(())))
    assert list(stream(tasks.squares, 2)) == [0, 1]


def test_workers_can_be_started_in_advance():
    start_workers(3)
    together = [stream(tasks.squares, 2) for _ in range(3)]
    assert [next(each) for each in together] == [0, 0, 0]
    assert [only(each) for each in together] == [1, 1, 1]


def test_a_worker_can_be_kept_when_the_others_are_ended():
    close_workers()
    pid = only(stream(tasks.state, "pid"))
    close_workers(keep=1)
    assert only(stream(tasks.state, "pid")) == pid
    close_workers()
    assert only(stream(tasks.state, "pid")) != pid


PROGRAM = """
import os, sys
from florence_rag.workers import stream
from tests.workers import tasks
{before}
for pid in stream(tasks.loop_forever):
    print(pid, flush=True)
"""


@on_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_program(number):
    command = [sys.executable, "-c", PROGRAM.format(before="")]
    with subprocess.Popen(command, env=environment(), stdout=-1, stderr=-3, text=True) as program:
        pid = int(program.stdout.readline())
        assert is_alive(pid)
        program.send_signal(number)
        program.wait(20)
    assert ends_within(pid, 20)


@on_linux
def test_a_process_that_is_forked_has_workers_of_its_own():
    before = (
        "first = list(stream(tasks.state, 'pid'))\n"
        "if os.fork() == 0:\n"
        "    print(list(stream(tasks.state, 'pid')) == first, list(stream(tasks.squares, 3)), flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()"
    )
    program = PROGRAM.format(before=before).replace("loop_forever", "squares, 2")
    run = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("False [0, 1, 4]\n0\n1\n", "")


def test_an_array_that_is_not_contiguous_arrives():
    (flipped,) = stream(np.flip, np.arange(6).reshape(1, 6), limits=Limits())
    assert flipped.tolist() == [5, 4, 3, 2, 1, 0]


def test_items_lengthen_the_time_of_a_task_only_up_to_a_limit():
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"longer than the limit of 0\.5 s"):
        list(stream(tasks.squares, 1000, 0.1, limits=Limits(0.5, seconds_per_item=10, max_seconds=1)))
    assert 0.9 < time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists the open files of a process")
def test_a_worker_that_waits_keeps_no_file_of_a_failed_task_open(tmp_path):
    path = tmp_path / "damaged.pdf"
    path.touch()
    with pytest.raises(OSError, match="is damaged"):
        list(stream(tasks.open_and_fail, path))
    assert str(path) not in list(stream(tasks.open_files))


def test_a_worker_that_does_not_start_can_be_given_up(monkeypatch):
    def stop():
        raise InputError("stopped")

    monkeypatch.setattr(process, "_MAIN", "import time; time.sleep(60)")
    call_while_waiting.set(stop)
    try:
        with pytest.raises(InputError, match="stopped"):
            list(WorkerPool().stream(tasks.squares, 1))
    finally:
        call_while_waiting.set(lambda: None)
