import pytest


def test_estimates_are_printed(run):
    outcome = run("estimate", "--images", "1e6", "--assume", "dimension=512", "--json").json
    assert outcome["assumptions"]["dimension"] == 512
    assert [each["images"] for each in outcome["estimates"]] == [1_000_000]
    table = run("estimate", "--images", "1e6").out
    assert "To search 1,000,000 images" in table
    assert "IVF_RABITQ" in table


@pytest.mark.parametrize(
    "arguments,explanation",
    [
        (("--assume", "dimension"), "has no value; write it as NAME=VALUE"),
        (("--assume", "x=1"), "'x' is not an assumption"),
        (("--images", "0"), "is not a number of images"),
        (("--images", "nan"), "is not a number of images"),
    ],
)
def test_wrong_arguments_of_estimate_are_one_line(run, arguments, explanation):
    outcome = run("estimate", *arguments)
    assert outcome.code == 1
    assert explanation in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
