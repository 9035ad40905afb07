import shutil
from pathlib import Path

import numpy as np
import pytest

from florence_rag.errors import ModelError
from florence_rag.loading.loaders import VQA
from florence_rag.loading.model_loader import load_model
from florence_rag.models.registry import CARDS
from florence_rag.perception.base import VQAResult
from florence_rag.perception.vqa_calibration import CALIBRATION_FILE, CalibratedVQA, PlattScaling, VQACalibration
from florence_rag.testing import ScriptedVQA, color_frame

HALF = VQACalibration({"yes/no": PlattScaling(0.5, 0.0)})


def samples(slope, offset, count=4000):
    """Draw confidences, and whether the answers are right if the true probability is this one."""
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.05, 0.95, count)
    odds = slope * np.log(confidences / (1 - confidences)) + offset
    return confidences, rng.random(count) < 1 / (1 + np.exp(-odds))


@pytest.mark.parametrize(("slope", "offset"), [(1, 0), (0.4, 0), (2, -1), (0.5, 1.5)])
def test_the_true_parameters_are_found(slope, offset):
    fitted = PlattScaling.fit(*samples(slope, offset))
    assert (fitted.slope, fitted.offset) == (pytest.approx(slope, abs=0.15), pytest.approx(offset, abs=0.15))


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("confidence", [0.0, 0.5, 1.0])
def test_answers_that_are_all_alike_have_a_fit(confidence, right):
    fitted = PlattScaling.fit([confidence] * 100, [right] * 100)
    assert abs(fitted.probability(confidence) - right) < 0.1


def test_a_better_confidence_is_never_less_probable():
    falling = PlattScaling.fit(np.linspace(0.01, 0.99, 200), np.linspace(1, 0, 200))
    probabilities = [falling.probability(confidence) for confidence in (0.0, 0.1, 0.5, 0.9, 1.0)]
    assert probabilities == sorted(probabilities) and falling.slope >= 0


def test_answers_of_a_calibrated_model():
    vqa = CalibratedVQA(ScriptedVQA({"Is": ("yes", 0.9), "color": ("red", 0.9)}), HALF)
    result = vqa.answer(color_frame("red"), "Is it?")
    assert (result.answer, result.confidence) == ("yes", 0.75)
    assert dict(result.candidates)["yes"] == 0.75
    assert vqa.answer(color_frame("red"), "What color?").confidence == 0.9, "no calibration of this type"


def test_each_type_of_answer_has_its_own_scaling():
    unsure, sure = samples(0.3, 0), samples(1.0, 1.0)
    answers = ["No", "yes"] * 2000 + ["3"] * 4000
    fitted = VQACalibration.fit(answers, [*unsure[0], *sure[0]], [*unsure[1], *sure[1]])
    assert fitted.scalings.keys() == {"yes/no", "number"}
    assert fitted.scaling_of("yes").slope == pytest.approx(0.3, abs=0.1)
    assert fitted.scaling_of("12").offset == pytest.approx(1, abs=0.2)
    assert fitted.scaling_of("red") == PlattScaling(1, 0)


def test_a_model_without_confidence_stays_without():
    class Silent:
        def answer(self, frame, question):
            return VQAResult("yes", None, ())

    result = CalibratedVQA(Silent(), HALF).answer(color_frame("red"), "Is it?")
    assert (result.confidence, result.candidates) == (None, ())


def test_a_calibration_is_stored_with_the_model(tmp_path):
    assert VQACalibration.read(tmp_path) is None
    HALF.write(tmp_path)
    assert VQACalibration.read(tmp_path) == HALF


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"slope": 1, "offset": 0}',
        '{"color": {"slope": 1, "offset": 0}}',
        *(f'{{"number": {{"slope": {slope}, "offset": 0}}}}' for slope in ("-1", '"1"', "NaN")),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, text):
    (tmp_path / CALIBRATION_FILE).write_text(text)
    with pytest.raises(ModelError, match=CALIBRATION_FILE):
        VQACalibration.read(tmp_path)


def test_the_calibration_in_a_folder_is_applied(tmp_path):
    for part in ("florence", "meter"):
        shutil.copytree(Path(CARDS["florence-tiny"].source) / part, tmp_path / part)
    raw = load_model(VQA, str(tmp_path)).answer(color_frame("red"), "Is there a red car?")
    HALF.write(tmp_path)
    calibrated = load_model(VQA, str(tmp_path)).answer(color_frame("red"), "Is there a red car?")
    assert calibrated.confidence == pytest.approx(PlattScaling(0.5, 0.0).probability(raw.confidence), abs=1e-3)
    assert calibrated.answer == raw.answer
