"""Weights of foreign checkpoints, wrapped or bare, next to objects whose code must never run."""

import gzip
import io
import json
import pickle
import zipfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from florence_rag.errors import ModelError
from florence_rag.models.checkpoint_files import read_checkpoint, read_weights
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
    [
        WEIGHTS,
        {"state_dict": WEIGHTS},
        {"model": WEIGHTS, "epoch": 3, "ema": {k: 2 * v for k, v in WEIGHTS.items()}},
        {f"module.{k}": v for k, v in WEIGHTS.items()},
        {"module": WEIGHTS, "epoch": 3},
        {"model_ema": WEIGHTS, "epoch": 3},
        {"state_dict": {"module": {f"_orig_mod.module.{k}": v for k, v in WEIGHTS.items()}}},
        {"state_dict": {f"model.{k}": v for k, v in WEIGHTS.items()}},
    ],
    ids=["bare", "lightning", "unicl", "parallel", "module", "average", "nested", "member"],
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


def saved(content: Any, path: Path, **options: Any) -> bytes:
    torch.save(content, path, **options)
    return path.read_bytes()


def damaged_files(folder: Path) -> dict[str, tuple[bytes, str]]:
    """The content of files that are no weights, and what is said about them."""
    whole = saved(WEIGHTS, folder / "whole.pth")
    legacy = saved(WEIGHTS, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    flipped = bytearray(whole)
    flipped[whole.index(WEIGHTS["layer.weight"].numpy().tobytes()) + 6] ^= 1
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "weights elsewhere")
    return {
        "half": (whole[:400], "its archive is cut off or damaged"),
        "last byte": (whole[:-1], "its archive is cut off or damaged"),
        "flipped bit": (bytes(flipped), r"its archive is damaged in whole/data/\d"),
        "half of a legacy file": (legacy[: len(legacy) // 2], "it is cut off"),
        "start of a legacy file": (legacy[:30], "it is cut off"),
        "empty": (b"", "it is empty; fetch it again"),
        "zeros": (bytes(1000), "it begins with zeros"),
        "web page": (b"\n<!DOCTYPE html><html>404</html>", "it is a web page"),
        "error of a store": (b'<?xml version="1.0"?><Error/>', "it is a web page"),
        "reply of a service": (b'{"error": "not found"}', "it is JSON text"),
        "text": (b"Not Found", "it is text"),
        "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n", "Git LFS pointer"),
        "gzip": (gzip.compress(whole), "gzip archive: unpack it first"),
        "other archive": (other.getvalue(), r"zip archive without data\.pkl: unpack it first"),
        "pickle": (pickle.dumps([1, 2], protocol=2), "it is not a file of torch.save"),
    }


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".ckpt"])
def test_damaged_and_foreign_files_are_named_for_what_they_are(suffix: str, tmp_path: Path) -> None:
    for name, (content, reason) in damaged_files(tmp_path).items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"not a readable PyTorch checkpoint: .*{reason}") as caught:
            read_weights(path)
        text = str(caught.value)
        assert "weights_only" not in text and "\n" not in text and "()" not in text and ": ;" not in text, name


def test_a_truncated_safetensors_file(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    for length in (3, 40, len(whole) - 1):
        (tmp_path / "half.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            read_weights(tmp_path / "half.safetensors")


def test_the_format_is_recognized_whatever_the_suffix_is(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.bin")
    assert_read(tmp_path / "weights.bin")
    saved(WEIGHTS, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").rename(tmp_path / "weights.safetensors")
    assert_read(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_in_several_files_are_read_by_their_index(suffix: str, tmp_path: Path) -> None:
    save: Callable[..., Any] = save_file if suffix == "safetensors" else torch.save
    names = [f"model-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    for (key, tensor), name in zip(WEIGHTS.items(), names, strict=True):
        save({key: tensor}, tmp_path / name)
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip(WEIGHTS, names, strict=True))}))
    assert_read(index)
    with pytest.raises(ModelError, match=r"holds a part of the weights; give the file that ends in \.index\.json"):
        read_weights(tmp_path / names[0])
    (tmp_path / names[1]).unlink()
    with pytest.raises(ModelError, match=f"missing: {names[1]}"):
        read_weights(index)


@pytest.mark.parametrize("content", ["{", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../a.bin"}}', "[]"])
def test_a_damaged_index(content: str, tmp_path: Path) -> None:
    (tmp_path / "model.index.json").write_text(content)
    with pytest.raises(ModelError, match="not a readable index of weights"):
        read_weights(tmp_path / "model.index.json")


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path) -> None:
    torch.save({"huge": torch.zeros(1).expand(10**7, 10**6)}, tmp_path / "huge.pth")
    with pytest.raises(ModelError, match=r"huge claims the shape \(10000000, 1000000\), larger than the file"):
        read_weights(tmp_path / "huge.pth")
    torch.save({"sparse": torch.eye(3).to_sparse()}, tmp_path / "sparse.pth")
    with pytest.raises(ModelError, match="sparse is not a plain tensor"):
        read_weights(tmp_path / "sparse.pth")


@dataclass
class Options:
    num_heads: int = 4


@dataclass(slots=True)
class SlottedOptions:
    num_heads: int = 4


@pytest.mark.parametrize(
    ("key", "content"),
    [
        ("hyper_parameters", {"config": {"num_heads": 4}}),
        ("hparams", {"num_heads": 4}),
        ("config", Settings(num_heads=4)),
        ("args", Namespace(num_heads=4)),
        ("cfg", OmegaConf.create({"num_heads": 4})),
        ("hyper_parameters", {"cfg": OmegaConf.create({"num_heads": 4})}),
        ("config", Options()),
        ("config", SlottedOptions()),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_settings_of_a_training_are_read_without_its_code(
    key: str, content: Any, zipped: bool, tmp_path: Path
) -> None:
    state = {"state_dict": WEIGHTS, "trap": Trap(), key: content}
    torch.save(state, tmp_path / "state.ckpt", _use_new_zipfile_serialization=zipped)
    ran.clear()
    assert read_checkpoint(tmp_path / "state.ckpt").settings["num_heads"] == 4
    assert ran == []


def test_nested_settings_are_named_by_a_path(tmp_path: Path) -> None:
    config = {"MODEL": OmegaConf.create({"SWIN": {"DEPTHS": [2, 6], "APE": False}}), "OUT": Path("a"), "NO": None}
    torch.save({"model": WEIGHTS, "config": config}, tmp_path / "state.ckpt")
    settings = read_checkpoint(tmp_path / "state.ckpt").settings
    assert settings == {"MODEL.SWIN.DEPTHS": [2, 6], "MODEL.SWIN.APE": False}
    assert read_checkpoint(saved_weights(tmp_path)).settings == {}


def saved_weights(folder: Path) -> Path:
    torch.save(WEIGHTS, folder / "bare.pth")
    return folder / "bare.pth"


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
