import json

import pytest

from florence_rag.evaluation.report import HEADLINES, EvaluationReport, Metric
from florence_rag.types import Failure


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric("top-1", 0.5, 0.25, 0.75), ("50.00%", "25.00% to 75.00%")),
        (Metric("AR", 1.0), ("100.00%", "")),
        (Metric("median rank", 1.5, 1.0, 12.0, unit="rank"), ("1.5", "1 to 12")),
    ],
)
def test_a_metric_has_a_text(metric, text):
    assert metric.text() == text


@pytest.mark.parametrize("task", HEADLINES)
def test_a_report_becomes_json(task):
    report = EvaluationReport(
        task, "mine", {"images": 2}, (Metric("a", 0.5, 0.4, 0.6),), (Failure("b", "gone"),), ("c",)
    )
    record = json.loads(json.dumps(report.to_dict()))
    assert record["metrics"] == {"a": {"value": 0.5, "low": 0.4, "high": 0.6}} and report["a"].value == 0.5
    assert record["failed"] == [{"source": "b", "reason": "gone"}] and record["notes"] == ["c"]
    assert {tuple(each) for each in record["florence_percent"]} == {("data", "metric", "value")}
