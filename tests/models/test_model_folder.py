import ast
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from florence_rag.errors import ModelError
from florence_rag.models.model_folder import check_files, open_network, open_part, opening
from florence_rag.models.registry import find_model, read_config
from florence_rag.models.sentence_transformers import open_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with weights and settings that hold nothing unusual."""
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    settings = {"model_type": "clip", "activation_function": "gelu", "rope_scaling": {"type": "linear"}}
    (folder / "config.json").write_text(json.dumps({**settings, "attn_implementation": "sdpa"}))
    return folder


def write(folder, name, content):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_usual_folders_pass(folder):
    write(folder, "modules.json", [{"type": "sentence_transformers.models.Transformer", "path": ""}])
    write(folder, "2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"})
    write(folder, "config_sentence_transformers.json", {"activation_fn": "torch.nn.modules.linear.Identity"})
    write(folder, "router_config.json", {"types": {"a": "sentence_transformers.models.Pooling"}, "structure": {}})
    (folder / "pytorch_model.bin").write_bytes(b"next to safetensors, and never opened")
    check_files(folder)


def test_files_of_the_cache_are_links(folder, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "c", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True), blobs.mkdir()
    for i, file in enumerate(folder.iterdir()):
        shutil.move(file, blobs / str(i))
        (snapshot / file.name).symlink_to(f"../../blobs/{i}")
    check_files(snapshot)
    (tmp_path / "link").symlink_to(snapshot)
    check_files(tmp_path / "link")


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret.json", "/dev/zero", "/etc"])
@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling", "weights.safetensors"])
def test_links_out_of_the_folder_are_refused(folder, target, name):
    (folder.parent / "secret.json").write_text("{}")
    (folder / name).symlink_to(target)
    with pytest.raises(
        ModelError, match=rf"{name}' is a link out of the folder of the model; put the file itself there"
    ):
        check_files(folder)


def test_pipes_and_broken_links_are_refused_and_not_read(folder):
    os.mkfifo(folder / "generation_config.json")
    with pytest.raises(ModelError, match="is not a regular file"):
        check_files(folder)
    (folder / "generation_config.json").unlink()
    (folder / "vocab.txt").symlink_to("gone.txt")
    with pytest.raises(ModelError, match="is not a regular file"):
        check_files(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 100_000, f'{{"a": {"9" * 100_000}}}', "{", "\x00", ""])
def test_settings_that_cannot_be_read_are_one_line(folder, name, content):
    write(folder, name, content)
    with pytest.raises(ModelError, match=r"config\.json' is not valid JSON") as error:
        check_files(folder)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_huge_settings_and_vocabularies_are_not_read(folder):
    for name in ("config.json", "tokenizer.json"):
        with (folder / name).open("r+b" if (folder / name).exists() else "wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(ModelError, match="larger than 64 MB"):
            check_files(folder)
        with pytest.raises(ModelError, match="larger than 16 MB"):
            read_config(folder / name)
        write(folder, name, {})


@pytest.mark.slow
def test_a_folder_of_other_files_is_not_searched_to_its_end(tmp_path):
    for i in range(10_001):
        (tmp_path / str(i)).touch()
    with pytest.raises(ModelError, match="more than 10000 files; give the folder of one model"):
        check_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("modules.json", [{"type": "evil.Evil"}], r"names the class 'evil\.Evil'"),
        ("modules.json", ["os.system"], r"names the class 'os\.system'"),
        ("modules.json", [{"type": "sentence_transformers.util.distributed.pickle"}], "names the class"),
        ("router_config.json", {"types": {"a": "os.Evil"}, "structure": {}}, r"names the class 'os\.Evil'"),
        ("2_Dense/config.json", {"activation_function": "os.abort"}, r"names the function 'os\.abort'"),
        ("2_Dense/config.json", {"activation_function": "torch.cuda.init"}, "names the function"),
        ("config.json", {"sbert_ce_default_activation_function": "torch.nn.init.abort"}, "names the function"),
        ("config.json", {"sentence_transformers": {"activation_fn": "torch._dynamo.reset"}}, "names the function"),
        ("config.json", {"vision_config": {"_attn_implementation": "a/b:c"}}, "names the compiled code 'a/b:c'"),
        ("config.json", {"attn_implementation": {"text_config": "flash|a/b"}}, "names the compiled code"),
        ("config.json", {"_experts_implementation_internal": "a/b"}, "names the compiled code"),
        ("sentence_bert_config.json", {"model_args": {"attn_implementation": "a/b@main"}}, "compiled code"),
        ("adapter_config.json", {"base_model_name_or_path": "/etc"}, "an adapter of another one, which is not fetched"),
        ("0_Transformer/adapter_config.json", {"base_model_name_or_path": "a/b"}, "an adapter of another one"),
        ("2_Dense/pytorch_model.bin", "a pickle", r"no \*\.safetensors next to pytorch_model\.bin; .* not opened"),
        ("other/model.ckpt", "a pickle", "weights in other forms may be pickles"),
    ],
)
def test_what_could_run_code_or_fetch_is_named(folder, name, content, reason):
    write(folder, name, content)
    with pytest.raises(ModelError, match=reason) as error:
        check_files(folder)
    assert name in str(error.value) or "other" in name or "2_Dense" in name


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "depths", "encoder_layers", "num_local_experts"])
@pytest.mark.parametrize("value", [1_000_000_000, [2, 2_001]])
def test_a_network_that_takes_hours_to_be_built_is_not_built(folder, key, value):
    write(folder, "config.json", {"model_type": "clip", "vision_config": {key: value}})
    with pytest.raises(ModelError, match=rf"config\.json' says {key} = .*, and no model has more than 2000"):
        check_files(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("processor_config.json", {"image_processor": {"crop_size": {"height": 30_000, "width": 30_000}}}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 30_000}}),
        ("2_Dense/config.json", {"in_features": 16, "out_features": 10**8}),
        ("config.json", {"num_labels": 10**7}),
        ("generation_config.json", {"num_beams": 10**6}),
        ("preprocessor_config.json", {"min_pixels": 10**9}),
        ("preprocessor_config.json", {"size": {"shortest_edge": 10**9}, "merge_size": 2}),
        ("config.json", {"id2label": dict.fromkeys(map(str, range(100_001)), "x")}),
    ],
)
def test_settings_that_take_gigabytes_are_refused(folder, name, content):
    write(folder, name, content)
    with pytest.raises(ModelError, match="no model has more than"):
        check_files(folder)


def test_some_processors_count_pixels_by_the_shortest_edge(folder):
    write(folder, "preprocessor_config.json", {"size": {"shortest_edge": 65_536}, "merge_size": 2})
    check_files(folder)


def test_a_header_that_lists_millions_of_tensors_is_not_read(folder):
    with (folder / "model.safetensors").open("r+b") as file:
        file.write((17 << 20).to_bytes(8, "little"))
    with pytest.raises(ModelError, match="has a header of more than 16 MB, or is damaged"):
        check_files(folder)


def test_an_index_of_shards_names_files_of_its_folder(folder):
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    write(folder, "model.safetensors.index.json", {"weight_map": {"a": "model-1.safetensors"}})
    check_files(folder)
    for content in ({}, [], "[" * 100_000, {"weight_map": {}}, *({"weight_map": {"a": x}} for x in ("../b", "/c", 1))):
        write(folder, "model.safetensors.index.json", content)
        with pytest.raises(ModelError, match="does not name the files of its folder that hold the weights"):
            check_files(folder)


def test_weights_of_other_shapes_are_said_in_our_words(folder):
    with (
        pytest.raises(ModelError, match=r"its weights have other shapes than its config\.json says"),
        opening(folder, ""),
    ):
        raise RuntimeError("You set `ignore_mismatched_sizes` to `False`, thus raising an error. See the above report!")


def test_code_of_a_model_is_named_and_never_advised(folder):
    write(folder, "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
    advice = ValueError("The repository contains custom code.\nPlease pass the argument `trust_remote_code=True`")
    with (
        pytest.raises(
            ModelError, match=r"^no: it needs code of its own \(\['evil\.Evil', None\] in tokenizer"
        ) as error,
        opening(folder, "no"),
    ):
        raise advice
    assert "trust_remote_code" not in str(error.value) and "\n" not in str(error.value)


def test_every_error_is_one_line_and_errors_of_ours_pass(folder):
    with pytest.raises(ModelError, match=r"^no: first; fetch it again$"), opening(folder, "no", "; fetch it again"):
        raise RuntimeError("first\nsecond")
    with pytest.raises(ModelError, match=r"^mine$"), opening(folder, "no"):
        raise ModelError("mine")
    with pytest.raises(ModelError, match=r"^no: a panic of Rust$"), opening(folder, "no", " of Rust"):
        raise type("PanicException", (BaseException,), {})("a panic")
    with pytest.raises(KeyboardInterrupt), opening(folder, "no"):
        raise KeyboardInterrupt


def test_nothing_is_fetched_while_a_folder_is_opened(folder, monkeypatch):
    usual = bool(constants.HF_HUB_OFFLINE)
    with opening(folder, "no"):
        assert bool(constants.is_offline_mode())
    assert bool(constants.is_offline_mode()) == usual


def test_every_way_to_open_a_folder_forbids_code(folder):
    class Kind:
        tokenizer = config = None

        @classmethod
        def from_pretrained(cls, folder, **options):
            return options

        def __init__(self, folder=None, **options):
            self.options = options

        def eval(self):
            return self.options

    safe = {"trust_remote_code": False, "local_files_only": True}
    assert open_part(Kind, folder) == safe
    assert open_network(Kind, folder) == {**safe, "use_safetensors": True}
    opened = open_model(Kind, folder, device="cpu", precision=None)
    assert safe.items() <= opened.items() and opened["model_kwargs"]["use_safetensors"] is True


CALLS = {
    "from_pretrained": {"models/model_folder.py", "loading/loaders.py", "perception/transformers_captioner.py"},
    "SentenceTransformer": set(),
    "CrossEncoder": set(),
    "SparseEncoder": set(),
    "snapshot_download": {"models/downloads.py"},
    "hf_hub_download": set(),
    "pipeline": set(),
    "torch.load": {"models/checkpoint_files.py"},
    "pickle.load": set(),
    "pickle.loads": {"ingest/ray_engine.py", "workers/child.py", "workers/messages.py"},  # from processes of our own
    "joblib.load": set(),
    "eval": set(),
    "exec": set(),
}
"""Calls that could run code of a file, and the only modules that may contain them."""


def calls(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            last = name.rpartition(".")[2]
            yield (name if name in CALLS else "" if last in ("eval", "exec") else last), node


def test_no_other_module_opens_what_could_run_code():
    for path in sorted([*(ROOT / "florence_rag").rglob("*.py"), *(ROOT / "retrievers").rglob("*.py")]):
        for name, node in calls(path):
            place = os.path.relpath(path, ROOT / "florence_rag")
            if name in CALLS:
                assert place in CALLS[name], f"{place}:{node.lineno} calls {name}"
            for keyword in node.keywords:
                if keyword.arg == "trust_remote_code":
                    assert ast.unparse(keyword.value) == "False", f"{place}:{node.lineno}"
                assert keyword.arg != "allow_pickle", f"{place}:{node.lineno}"


def test_the_registry_of_loaders_calls_only_classes_of_this_package():
    tree = ast.parse((ROOT / "florence_rag" / "loading" / "loaders.py").read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert all(module.startswith(("florence_rag.", "__future__", "typing")) for module in modules)


def test_a_folder_with_hostile_settings_is_an_error_before_it_is_loaded(folder):
    for content in ("[" * 100_000, "[]", "1", "null", '{"model_type": ["a"]}'):
        write(folder, "config.json", content)
        try:
            find_model(str(folder), "answer")
        except ModelError as error:
            assert "config.json" in str(error)
