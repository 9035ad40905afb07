import pytest

from florence_rag.ingest.progress import Progress, StageTimer


def test_the_bottleneck_is_the_busiest_stage():
    assert Progress(1, 2, 3, "/a", 0, 1.0, {"read": 0.2, "embed": 0.9}).bottleneck == "embed"
    assert Progress(0, 2, 0, "/a", 0).bottleneck == ""


def test_times_of_a_stage_are_added():
    timer = StageTimer()
    timer.add({"read": 1.5, "embed": 2.0})
    timer.add({"read": 0.5})
    with timer("store"):
        pass
    assert timer.seconds() == {"read": 2.0, "embed": 2.0, "store": timer.seconds()["store"]}


def test_a_stage_that_fails_counts_its_time_too():
    timer = StageTimer()
    with pytest.raises(ValueError), timer("read"):
        raise ValueError
    assert timer.seconds().keys() == {"read"}


def test_utilization_is_shared_by_the_threads_of_a_stage():
    timer = StageTimer()
    timer.set_threads(readers=4, workers=2)
    timer.add(dict.fromkeys(("read", "ocr", "caption", "detect", "actions", "embed", "store"), 8.0))
    busy = timer.utilization()
    assert busy["read"] == busy["ocr"] == busy["embed"] / 2 == busy["store"] / 4 > 0
    assert busy["caption"] == busy["detect"] == busy["actions"] == busy["embed"]
