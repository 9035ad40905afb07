"""A folder of a model opens completely or not at all."""

import json
from argparse import Namespace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import ModelError
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.strict_loading import open_strictly
from tests.models import tiny


@pytest.fixture
def folder(tmp_path):
    FlorenceModel(tiny.florence()).save_pretrained(tmp_path)
    return tmp_path


def test_a_complete_folder_opens(folder):
    model = open_strictly(FlorenceModel, folder, device="cpu")
    assert not model.training and model.dtype == torch.float32


def test_a_network_that_is_much_larger_than_its_files_takes_no_memory(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"its config.json describes a network of .* GB, and its files hold .* MB"):
        open_strictly(FlorenceModel, folder, device="cpu")


def test_progress_bars_are_hidden_while_a_folder_opens(folder, capsys):
    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    try:
        open_strictly(FlorenceModel, folder, device="cpu")
        assert logging.is_progress_bar_enabled()
    finally:
        if not shown:
            logging.disable_progress_bar()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("logit_scale"), "1 missing keys: logit_scale"),
        (lambda weights: weights.update(more=torch.ones(1)), "1 unexpected keys: more"),
        (lambda weights: weights.update({"a\nb" + "c" * 999: torch.ones(1)}), "1 unexpected keys: a bccc"),
    ],
)
def test_weights_that_do_not_fit_are_listed(folder, change, said):
    """transformers alone would open it, with random numbers for missing weights."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    of_pipeline = partial(FlorenceEmbedder.from_pretrained, folder, "x")
    for open_it in (partial(open_strictly, FlorenceModel, folder), of_pipeline):
        with pytest.raises(ModelError, match=f"the weights in .* do not fit, {said}"):
            open_it()


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_truncated_file_is_an_error_of_one_line(folder, file):
    (folder / file).write_bytes((folder / file).read_bytes()[:200])
    with pytest.raises(ModelError, match=r"cannot be opened as a FlorenceModel: .*; fetch it again") as error:
        open_strictly(FlorenceModel, folder)
    assert "\n" not in str(error.value)


def test_weights_that_are_not_finite_are_named(folder):
    weights = load_file(folder / "model.safetensors")
    weights["logit_scale"] = torch.tensor(float("nan"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"are not all finite numbers: logit_scale$"):
        open_strictly(FlorenceModel, folder)


def test_a_pickle_of_more_than_weights_is_refused_without_advice_to_run_it(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, "options": Namespace(a=1)}, folder / "pytorch_model.bin")
    with pytest.raises(
        ModelError, match=r"no \*\.safetensors next to pytorch_model\.bin; weights in other forms may be pickles"
    ):
        open_strictly(FlorenceModel, folder)
