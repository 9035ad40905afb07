from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from florence_rag.errors import ModelError
from florence_rag.models.meter import MeterModel
from florence_rag.models.meter_heads import (
    IGNORE,
    MeterForImageTextMatching,
    MeterForMaskedLM,
    MeterForMultipleTasks,
    MeterForQuestionAnswering,
    MeterForVisualReasoning,
    class_loss,
    rank_loss,
    soft_answer_loss,
)
from tests.models import tiny

BATCH = {**tiny.texts(), "pixel_values": tiny.images()}
SOFT = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.0, 0.0], [0.6, 0.0, 0.9]])


def tasks(**changes: Any) -> MeterForMultipleTasks:
    torch.manual_seed(0)
    return MeterForMultipleTasks(tiny.meter(**changes)).eval()


def test_the_vqa_loss_is_cross_entropy_times_the_number_of_answers() -> None:
    logits = torch.randn(3, 3)
    expected = F.binary_cross_entropy_with_logits(logits, SOFT) * 3
    torch.testing.assert_close(soft_answer_loss(logits, SOFT), expected)


def test_rows_without_a_label_do_not_count() -> None:
    logits = torch.randn(3, 3)
    soft = SOFT.clone()
    soft[1] = IGNORE
    torch.testing.assert_close(soft_answer_loss(logits, soft), soft_answer_loss(logits[[0, 2]], SOFT[[0, 2]]))
    labels = torch.tensor([1, IGNORE, 0])
    torch.testing.assert_close(class_loss(logits, labels), F.cross_entropy(logits[[0, 2]], labels[[0, 2]]))


def test_a_batch_without_any_label_costs_nothing() -> None:
    logits = torch.randn(2, 3, requires_grad=True)
    for loss in (soft_answer_loss(logits, torch.full((2, 3), IGNORE)), class_loss(logits, torch.full((2,), IGNORE))):
        assert loss.item() == 0.0
        loss.backward()
    assert logits.grad is not None and not logits.grad.any()


def test_ranking_chooses_among_consecutive_pairs() -> None:
    logits = torch.tensor([0.1, 2.0, -1.0, 0.5, 0.0, 3.0])
    expected = F.cross_entropy(logits.view(2, 3), torch.tensor([1, 2]))
    torch.testing.assert_close(rank_loss(logits, torch.tensor([1, 2])), expected)


def test_words_without_a_mask_do_not_count() -> None:
    logits, labels = torch.randn(2, 4, 9), torch.full((2, 4), IGNORE)
    labels[0, 1], labels[1, 3] = 5, 7
    expected = F.cross_entropy(torch.stack([logits[0, 1], logits[1, 3]]), torch.tensor([5, 7]))
    torch.testing.assert_close(class_loss(logits, labels), expected)


def test_several_tasks_learn_from_one_pass() -> None:
    model = tasks()
    labels = {"vqa": SOFT.clone(), "itm": torch.tensor([IGNORE, 1, 0])}
    labels["vqa"][1:] = IGNORE
    output = model(**BATCH, labels=labels)
    expected = soft_answer_loss(output.logits["vqa"], labels["vqa"]) + class_loss(output.logits["itm"], labels["itm"])
    torch.testing.assert_close(output.loss, expected)
    assert model(**BATCH).loss is None
    assert set(model(**BATCH, labels={"itm": labels["itm"]}).logits) == {"vqa", "itm"}


@torch.no_grad()
def test_one_file_is_loaded_by_every_class_whose_head_it_contains(tmp_path: Path) -> None:
    model = tasks()
    model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model.safetensors"]
    expected = model(**BATCH)
    for network, head in ((MeterForQuestionAnswering, "vqa"), (MeterForImageTextMatching, "itm")):
        loaded = network.from_pretrained(tmp_path)
        torch.testing.assert_close(loaded(**BATCH).logits, expected.logits[head])
        assert loaded.state_dict().keys() == model.state_dict().keys()
    backbone = MeterModel.from_pretrained(tmp_path)
    torch.testing.assert_close(backbone(**BATCH).pooler_output, expected.fusion.pooler_output)
    with pytest.raises(ModelError, match="MeterForMaskedLM needs the head 'mlm'"):
        MeterForMaskedLM.from_pretrained(tmp_path)


def test_a_task_returns_its_own_loss() -> None:
    torch.manual_seed(0)
    model = MeterForQuestionAnswering(tiny.meter(heads=("vqa", "itm"))).eval()
    output = model(**BATCH, labels=SOFT)
    torch.testing.assert_close(output.loss, soft_answer_loss(output.logits, SOFT))


@torch.no_grad()
def test_reasoning_distinguishes_the_first_image_from_the_second() -> None:
    torch.manual_seed(0)
    model = MeterForVisualReasoning(tiny.meter(heads=("nlvr2",), num_token_types=3)).eval()
    pair = torch.stack([tiny.images(), tiny.images(seed=1)], dim=1)
    ours = model(**tiny.texts(), pixel_values=pair, labels=torch.tensor([1, 0, 1]))
    swapped = model(**tiny.texts(), pixel_values=pair.flip(1))
    torch.testing.assert_close(ours.loss, F.cross_entropy(ours.logits, torch.tensor([1, 0, 1])))
    assert not torch.allclose(ours.logits, swapped.logits)
    with pytest.raises(ModelError, match="needs pixel_values"):
        model(**tiny.texts())


def test_it_learns() -> None:
    """Both heads learn together: three images with three answers, and which text matches."""
    model = tasks(dropout=0.0).train()
    labels = {"vqa": torch.eye(3), "itm": torch.tensor([1, 0, 1])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(**BATCH, labels=labels).loss.backward()
        optimizer.step()
    logits = model.eval()(**BATCH).logits
    assert logits["vqa"].argmax(1).tolist() == [0, 1, 2]
    assert logits["itm"].argmax(1).tolist() == [1, 0, 1]
