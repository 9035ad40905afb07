"""florence-rag models and convert."""

import pickle

import pytest
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModel, AutoProcessor

from florence_rag.models.florence import FlorenceModel
from florence_rag.testing import color_frame
from tests.models.fill import fill
from tests.models.reference import FILL_SEED, UNICL_LAYOUT, meter_layout
from tests.models.words import save_clip_words, save_roberta_words


def test_models_lists_roles_and_which_models_are_on_this_machine(run):
    models = {model["name"]: model for model in run("models", "--json").json["models"]}
    tiny, default = models["florence-tiny"], models["siglip2-base"]
    assert (tiny["local"], tiny["default"], default["local"], default["default"]) == (True, False, False, True)
    assert "synthetic" in tiny["training_data"]
    out = run("models").out
    assert "florence-tiny  embed, answer, match, describe, detect, action, 12.5M parameters, on this machine" in out
    assert "siglip2-base  embed, 375M parameters, 1500 MB to fetch" in out
    assert run("models", "--markdown").out.startswith("| name | roles |")


class Trap:
    """Would run code when it is read."""

    def __reduce__(self):
        return print, ("it ran",)


@pytest.fixture
def towers(tmp_path):
    save_file(fill(UNICL_LAYOUT, FILL_SEED), tmp_path / "towers.safetensors")
    save_clip_words(tmp_path / "clip")
    return tmp_path / "towers.safetensors"


def test_a_converted_dual_encoder_opens_everywhere(run, tmp_path, towers):
    out = tmp_path / "out"
    record = run("convert", towers, out, "--tokenizer", tmp_path / "clip", "--json").json
    guessed = {"image_config.image_size": 128, "text_config.num_attention_heads": 1}
    assert record == {"folder": str(out), "model_type": "florence", "guessed": guessed}
    assert type(AutoModel.from_pretrained(out)) is FlorenceModel
    assert AutoProcessor.from_pretrained(out)(text="a dog")["input_ids"].shape[0] == 1
    Image.fromarray(color_frame("red")).save(tmp_path / "red.png")
    indexed = run("index", tmp_path / "red.png", "--db", tmp_path / "my.db", "--model", out, "--ocr", "never")
    assert indexed.code == 0 and "1 added" in indexed.out


def test_the_output_about_a_converted_meter_says_if_answers_are_missing(run, tmp_path):
    save_file(fill(meter_layout("clip16", 64, "vqa"), FILL_SEED), tmp_path / "meter.safetensors")
    words = save_roberta_words(tmp_path / "roberta")
    out = run("convert", tmp_path / "meter.safetensors", tmp_path / "bare", "--tokenizer", words).out
    assert "METER with the heads vqa. It has no answers: convert it with --answers" in out
    (tmp_path / "answers.txt").write_text("\n".join(f"answer {i}" for i in range(61)))
    arguments = ("--tokenizer", words, "--answers", tmp_path / "answers.txt")
    out = run("convert", tmp_path / "meter.safetensors", tmp_path / "out", *arguments).out
    assert f"--vqa {tmp_path / 'out'}" in out


def test_what_is_guessed_is_printed_and_a_configuration_replaces_it(run, tmp_path, towers):
    words = ("--tokenizer", tmp_path / "clip")
    out = run("convert", towers, tmp_path / "first", *words).out
    assert "Guessed image_config.image_size = 128, text_config.num_attention_heads = 1; the file of" in out
    (tmp_path / "config.yaml").write_text("image_size: 128\ntext_config: {num_attention_heads: 4}\n")
    outcome = run("convert", towers, tmp_path / "out", *words, "--config", tmp_path / "config.yaml")
    assert outcome.code == 0 and "Guessed" not in outcome.out
    assert AutoModel.from_pretrained(tmp_path / "out").config.text_config.num_attention_heads == 4


def test_bad_checkpoints_are_one_line_each(run, tmp_path, towers, capfd):
    whole = towers.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    save_file({"some.weight": fill({"some.weight": (2,)}, 0)["some.weight"]}, tmp_path / "other.safetensors")
    wanted = {
        "cut.safetensors": "not a readable safetensors file",
        "trap.pth": "only running its code would open",
        "other.safetensors": "neither UniCL's nor METER's: some.weight",
        "none.pth": "no weights file",
    }
    for name, said in wanted.items():
        outcome = run("convert", tmp_path / name, tmp_path / "out", "--tokenizer", tmp_path / "clip")
        assert outcome.code == 1 and outcome.err.startswith("Error: ") and said in outcome.err
        assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists() and "it ran" not in capfd.readouterr().out
