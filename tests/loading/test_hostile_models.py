"""No file of a model runs code, asks on standard input, or fetches anything, in any role and however it is named."""

import json
import pickle
import shutil
import socket
from pathlib import Path

import pytest
import torch

from florence_rag.errors import ModelError
from florence_rag.loading import loaders
from florence_rag.loading.model_loader import load_model
from florence_rag.loading.model_options import ModelOptions
from florence_rag.models.registry import TINY, find_model
from tests.models import tiny_sentence_transformers as pairs
from tests.perception import tiny

AUTO_MAP = {
    "AutoConfig": "evil.Evil",
    "AutoModel": "evil.Evil",
    "AutoModelForCausalLM": "evil.Evil",
    "AutoModelForImageTextToText": "evil.Evil",
    "AutoModelForSequenceClassification": "evil.Evil",
    "AutoModelForVisualQuestionAnswering": "evil.Evil",
    "AutoTokenizer": ["evil.Evil", "evil.Evil"],
    "AutoProcessor": "evil.Evil",
    "AutoImageProcessor": "evil.Evil",
    "AutoFeatureExtractor": "evil.Evil",
}


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def merge(file: Path, **changes: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **changes}))


def merge_all(folder: Path, name: str, **changes: object) -> None:
    """Change all files of this name in the folder; write one next to the weights if there is none."""
    for file in list(folder.rglob(name)) or [each.with_name(name) for each in folder.rglob("*.safetensors")]:
        merge(file, **changes)


def write_all(folder: Path, name: str, content: str) -> None:
    for file in {each.with_name(name) for each in folder.rglob("*.safetensors")}:
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)


def pickle_weights(folder: Path, mark: Path) -> None:
    for file in list(folder.rglob("*.safetensors")):
        torch.save({"weight": torch.zeros(2), "x": Payload(mark)}, file.with_name("pytorch_model.bin"))
        file.unlink()


def pickles_beside_weights(folder: Path, mark: Path) -> None:
    for file in list(folder.rglob("*.safetensors")):
        for name in ("pytorch_model.bin", "training_args.bin", "vocab.npy", "model.ckpt", "tokenizer.pkl"):
            file.with_name(name).write_bytes(pickle.dumps(Payload(mark)))


def st_module(name: str):
    def edit(folder: Path, mark: Path) -> None:
        write_all(folder, "modules.json", json.dumps([{"idx": 0, "name": "0", "path": "", "type": name}]))

    return edit


def custom_generate(folder: Path, mark: Path) -> None:
    for file in list(folder.rglob("*.safetensors")):
        (file.parent / "custom_generate").mkdir()
        shutil.copy(folder / "evil.py", file.parent / "custom_generate" / "generate.py")
    merge_all(folder, "generation_config.json", custom_generate="evil", trust_remote_code=True)


EVERYWHERE = "config.json tokenizer_config.json processor_config.json preprocessor_config.json".split()

EDITS = {
    "auto_map": lambda folder, mark: [
        merge_all(folder, each, auto_map=AUTO_MAP, trust_remote_code=True) for each in EVERYWHERE
    ],
    "unknown type": lambda folder, mark: merge_all(folder, "config.json", model_type="evil", auto_map=AUTO_MAP),
    "type alone": lambda folder, mark: merge_all(folder, "config.json", model_type="evil"),
    "elsewhere": lambda folder, mark: merge_all(
        folder, "config.json", model_type="evil", auto_map={"AutoConfig": "evil/evil--evil.Evil"}
    ),
    "classes": lambda folder, mark: [
        merge_all(folder, "tokenizer_config.json", tokenizer_class="evil.Evil", auto_map=AUTO_MAP),
        merge_all(folder, "preprocessor_config.json", image_processor_type="evil.Evil", auto_map=AUTO_MAP),
        merge_all(folder, "processor_config.json", processor_class="evil.Evil", auto_map=AUTO_MAP),
    ],
    "module": st_module("evil.Evil"),
    "function": st_module("os.system"),
    "library function": st_module("sentence_transformers.base.model.torch"),
    "arguments": lambda folder, mark: [
        merge_all(folder, "config.json", model_type="evil", auto_map=AUTO_MAP),
        merge_all(
            folder,
            "sentence_bert_config.json",
            **{key: {"trust_remote_code": True} for key in ("model_args", "config_args", "tokenizer_args")},
        ),
    ],
    "activation": lambda folder, mark: merge_all(
        folder, "config.json", sentence_transformers={"activation_fn": "torch._C._crash_if_csrc_asan"}
    ),
    "kernel": lambda folder, mark: merge_all(folder, "config.json", attn_implementation="evil/kernel:attention"),
    "adapter": lambda folder, mark: write_all(
        folder, "adapter_config.json", json.dumps({"base_model_name_or_path": "evil/evil", "peft_type": "LORA"})
    ),
    "pickles": pickle_weights,
    "pickles beside": pickles_beside_weights,
    "generate": custom_generate,
    "template": lambda folder, mark: [
        merge_all(folder, "tokenizer_config.json", chat_template=escape(mark)),
        write_all(folder, "chat_template.jinja", escape(mark)),
    ],
}


def escape(mark: Path) -> str:
    return "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}"


ROLES = {
    "embedder": (loaders.EMBEDDER, "", lambda folder: pairs.save_clip(folder)),
    "plain embedder": (loaders.EMBEDDER, "", lambda folder: pairs.save_siglip(folder)),
    "text embedder": (loaders.TEXT_EMBEDDER, "", lambda folder: pairs.save_bert(folder)),
    "reranker": (loaders.RERANKER, "", pairs.save_text_cross_encoder),
    "image reranker": (loaders.RERANKER, "", pairs.save_seeing_cross_encoder),
    "answerer": (loaders.VQA, "", lambda folder: tiny.save_vilt(folder, answers={0: "a", 1: "b", 2: "c"})),
    "writing answerer": (loaders.VQA, "", tiny.save_blip),
    "captioner": (loaders.CAPTIONER, "transformers:", tiny.save_blip_captioner),
    "chat captioner": (loaders.CAPTIONER, "transformers:", tiny.save_llava),
    "florence-2": (loaders.DETECTOR, "florence-2:", tiny.save_florence2),
    "dual encoder": (loaders.EMBEDDER, "florence:", lambda folder: copy_tiny(folder)),
    "meter": (loaders.VQA, "florence:", lambda folder: copy_tiny(folder)),
    "detector": (loaders.DETECTOR, "florence:", lambda folder: copy_tiny(folder)),
    "actions": (loaders.ACTION_RECOGNIZER, "florence:", lambda folder: copy_tiny(folder)),
}


def copy_tiny(folder: Path) -> Path:
    return Path(shutil.copytree(find_model(TINY).source, folder, dirs_exist_ok=True))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """Return a function that saves the model of a role once."""
    saved: dict[str, Path] = {}

    def save(role: str) -> Path:
        if role not in saved:
            saved[role] = ROLES[role][2](tmp_path_factory.mktemp(role.replace(" ", "-")))
        return saved[role]

    return save


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Return a file that code of a model would create, and fail on questions and on connections."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # as a user who confirms everything
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was opened"))
    return tmp_path / "mark"


SLOW = ("plain embedder", "image reranker", "chat captioner", "dual encoder", "actions")
"""Roles that share their way of loading with others."""


@pytest.mark.parametrize("role", [pytest.param(role, marks=[pytest.mark.slow] * (role in SLOW)) for role in ROLES])
def test_no_folder_runs_code(role, healthy, mark, tmp_path):
    kind, family, _ = ROLES[role]
    load_model(kind, f"{family}{healthy(role)}", ModelOptions(offline=True))  # it is healthy before it is changed
    for name, edit in EDITS.items():
        folder = shutil.copytree(healthy(role), tmp_path / name.replace(" ", "-"))
        code = f"open({str(mark)!r}, 'w')\nclass Evil: pass\n"
        for each in {folder, *(file.parent for file in folder.rglob("*.safetensors"))}:
            (each / "evil.py").write_text(code)
        edit(folder, mark)
        try:
            load_model(kind, f"{family}{folder}", ModelOptions(offline=True))
        except ModelError as error:
            assert "\n" not in str(error) and "trust_remote_code" not in str(error), name
        assert not mark.exists(), name
