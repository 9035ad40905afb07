"""Weights of foreign checkpoints, wrapped or bare, next to objects whose code must never run."""

import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_weights
from tests.models.reference import PUBLIC, needs_parity, read_json

UNICL = PUBLIC / "unicl_small"
WEIGHTS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}

ran: list[str] = []


def danger(*arguments: Any) -> str:
    ran.append("danger")
    return "done"


class Settings(dict[str, Any]):
    """Like CfgNode of yacs: a dictionary with attributes."""

    def __setstate__(self, state: Any) -> None:
        ran.append("settings")


class Callback:
    """Like a callback of a trainer: an object with state, whose class serves as a key."""

    def __setstate__(self, state: Any) -> None:
        ran.append("callback")


class Trap:
    """Calls danger when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., str], tuple[str]]:
        return danger, ("now",)


class Listing(list[int]):
    """A subclass of list."""


def training_state() -> dict[str, Any]:
    settings, callback = Settings(lr=0.1), Callback()
    settings.frozen = True  # type: ignore[attr-defined]
    callback.best = 3  # type: ignore[attr-defined]
    foreign = {"config": settings, "callbacks": {Callback: callback}, "trap": Trap(), "history": Listing([1, 2])}
    return {"state_dict": WEIGHTS, "epoch": 3, "seen": {1, 2}, "path": Path("a"), **foreign}


def assert_read(path: Path) -> None:
    weights = read_weights(path)
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    "content",
    [WEIGHTS, {"state_dict": WEIGHTS}, {"model": WEIGHTS, "epoch": 3}, {f"module.{k}": v for k, v in WEIGHTS.items()}],
    ids=["bare", "lightning", "unicl", "parallel"],
)
def test_wrapped_or_bare(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert_read(tmp_path / "weights.pth")


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.safetensors")
    assert_read(tmp_path / "weights.safetensors")


def test_parameters_are_read_and_other_values_dropped(tmp_path: Path) -> None:
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in WEIGHTS.items()}
    torch.save({**parameters, "version": 2}, tmp_path / "weights.pth")
    assert_read(tmp_path / "weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_next_to_the_weights_are_never_run(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "state.ckpt"
    torch.save(training_state(), path, _use_new_zipfile_serialization=zipped)
    ran.clear()
    assert_read(path)
    assert ran == []
    # Without our reader, the file runs them.
    torch.load(path, weights_only=False)
    assert set(ran) == {"danger", "settings", "callback"}


def test_a_plain_pickle_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    ran.clear()
    with pytest.raises(ModelError, match=r"only running its code would open \(.*danger\), which is refused; on a"):
        read_weights(tmp_path / "trap.pth")
    assert ran == []


def test_a_whole_network_is_not_rebuilt_by_its_code(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(ModelError, match=r"pickle .*Linear.* refused; .* save its state_dict\(\) by safetensors"):
        read_weights(tmp_path / "network.pth")


def test_a_truncated_file(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(WEIGHTS, whole)
    for name, content in (("half.pth", whole.read_bytes()[:400]), ("empty.pth", b""), ("text.pth", b"no weights")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match="not a readable PyTorch checkpoint"):
            read_weights(tmp_path / name)


def test_a_truncated_safetensors_file(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "whole.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:40])
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        read_weights(tmp_path / "half.safetensors")


@pytest.mark.filterwarnings("ignore")  # compiling is deprecated, but such files still exist
def test_compiled_networks_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "network.pt")
    with pytest.raises(ModelError, match="TorchScript"):
        read_weights(tmp_path / "network.pt")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights file"):
        read_weights(tmp_path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {}])
def test_a_file_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "none.pth")
    with pytest.raises(ModelError, match="contains no weights"):
        read_weights(tmp_path / "none.pth")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights file"):
        read_weights(tmp_path / "missing.pth")


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_the_state_of_a_training_gives_the_weights_of_its_network(wrapper: str, tmp_path: Path) -> None:
    """Optimizer, scheduler and configuration are those of the libraries, as in the states of UniCL and METER."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler.step()
    state = {
        wrapper: network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "config": Namespace(lr=0.1, data=Namespace(path=Path("a"))),
        "callbacks": {Callback: Callback()},
        "max_accuracy": np.float64(0.5),
        "epoch": 3,
    }
    torch.save(state, tmp_path / "state.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "state.pth", weights_only=True)
    weights, expected = read_weights(tmp_path / "state.pth"), network.state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@needs_parity
def test_the_state_of_unicl_training_gives_the_released_weights() -> None:
    state, released = (read_weights(UNICL / name) for name in ("checkpoint_train_state.pth", "checkpoint.pth"))
    assert state.keys() == released.keys()
    assert all(torch.equal(state[name], released[name]) for name in released)


@needs_parity
@pytest.mark.parametrize("task", ["pretrain", "vqa", "irtr"])
@pytest.mark.parametrize("encoder", ["clip16", "swin"])
def test_every_weight_of_a_meter_file_is_read(encoder: str, task: str) -> None:
    folder = PUBLIC / f"meter_{encoder}_roberta_small"
    assert read_weights(folder / f"{task}.ckpt").keys() == read_json(folder / f"{task}.keys.json").keys()
