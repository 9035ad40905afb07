import threading

import pytest

from florence_rag.index.background_call import BackgroundCall


def test_a_call_is_made_beside_its_owner():
    may_end, calls = threading.Event(), []
    call = BackgroundCall(lambda: calls.append(may_end.wait(60)), "test")
    call.start()
    assert calls == []
    may_end.set()
    call.wait()
    assert calls == [True]


def test_its_error_is_raised_once():
    def fail() -> None:
        raise KeyboardInterrupt

    call = BackgroundCall(fail, "test")
    call.start()
    with pytest.raises(KeyboardInterrupt):
        call.wait()
    assert not call.has_failed
    call.wait()


def test_it_is_never_made_twice_at_a_time(monkeypatch):
    """Ctrl-C may interrupt `start` when the thread runs, and before anybody knows of it."""
    may_end, started, order = threading.Event(), threading.Event(), []

    def record() -> None:
        order.append("begin")
        started.set()
        may_end.wait(60)
        order.append("end")

    call = BackgroundCall(record, "test")
    call.start()
    assert started.wait(60)
    monkeypatch.setattr(call, "_thread", None)
    threading.Timer(0.1, may_end.set).start()
    call.wait()
    call.run()
    assert order == ["begin", "end"] * 2
