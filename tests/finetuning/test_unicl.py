import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from florence_rag.embedding.florence import FlorenceEmbedder
from florence_rag.errors import InputError, MissingExtraError
from florence_rag.finetuning import run
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.unicl import PairCollator, train_unicl
from florence_rag.models.florence import FlorenceModel
from florence_rag.models.processing import FlorenceProcessor
from florence_rag.models.registry import find_model
from florence_rag.testing import color_frame

QUICK = Settings(steps=4, batch=8, checks=2, validation=0.2)
PROMPTS = ("a {} picture",)


def scalars(folder):
    """Return the tags that TensorBoard shows, with their steps."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def weights(folder):
    return FlorenceModel.from_pretrained(folder / "florence").state_dict()


def test_a_dual_encoder_learns_classes_and_opens_by_name(start, colors, tmp_path):
    out = tmp_path / "mine"
    steps = []
    settings = replace(QUICK, steps=40, batch=16, learning_rate=3e-3)
    result = train_unicl(
        [colors], out, start / "florence", name="small", prompts=PROMPTS, settings=settings, progress=steps.append
    )
    assert result.after["zero-shot top-1"] == 1.0
    assert (result.examples, result.validation, result.steps) == (20, 4, 40)
    assert steps[-1].step == steps[-1].steps == 40
    embedder = FlorenceEmbedder.from_pretrained(find_model(str(out)).florence, "mine")
    images = embedder.embed_images([color_frame("red")])
    texts = embedder.embed_texts(["a red picture", "a blue picture"])
    assert (images @ texts.T).argmax() == 0
    card = (out / "florence" / "README.md").read_text("utf-8")
    assert "base model: `small`" in card and "4: blue, green, red, yellow" in card and "zero-shot top-1" in card
    log = [json.loads(line) for line in (out / "runs/florence/log.jsonl").read_text("utf-8").splitlines()]
    assert {"loss", "eval_loss"} <= {key for entry in log for key in entry}
    assert sorted(tag for tag in scalars(out / "runs/florence") if tag.endswith("/loss")) == ["eval/loss", "train/loss"]
    assert not (out / "runs/florence/checkpoints").exists()
    json.dumps(result.to_dict())


def test_a_batch_shares_labels(start):
    collate = PairCollator(FlorenceProcessor.from_pretrained(start / "florence"))
    pixels = torch.zeros(32, 32, 3, dtype=torch.uint8).numpy()
    keys = [("label", "a"), ("text", "b"), ("label", "a"), ("text", "c")]
    batch = collate([{"pixels": pixels, "text": text, "key": key} for key, text in zip(keys, "wxyz", strict=True)])
    assert batch["positives"].tolist() == [0, 1, 0, 2] and batch["pixel_values"].shape == (4, 3, 32, 32)


def test_an_interrupted_run_ends_like_an_uninterrupted_one(start, colors, tmp_path, monkeypatch):
    whole = train_unicl([colors], tmp_path / "whole", start / "florence", prompts=PROMPTS, settings=QUICK)

    def stop(step):
        if step.step >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_unicl([colors], tmp_path / "cut", start / "florence", prompts=PROMPTS, settings=QUICK, progress=stop)
    assert (tmp_path / "cut/runs/florence/checkpoints/checkpoint-2").is_dir()
    cut = train_unicl([colors], tmp_path / "cut", start / "florence", prompts=PROMPTS, settings=QUICK)
    assert cut.steps == whole.steps == 4
    assert scalars(tmp_path / "cut/runs/florence")["eval/loss"] == [2, 4]
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "cut")[name], value)
    with pytest.raises(InputError, match="started with another steps: 4, now 5"):
        train_unicl([colors], tmp_path / "cut", start / "florence", prompts=PROMPTS, settings=replace(QUICK, steps=5))


def test_texts_and_labels_are_learned_together(start, colors, tmp_path):
    table = tmp_path / "captions.csv"
    rows = "".join(f"data/{color}/0.png,something {color}\n" for color in ("red", "blue", "green", "yellow"))
    table.write_text("image,text\n" + rows + "data/gone.png,nothing\n")
    (colors / "red" / "damaged.png").write_text("no image")
    result = train_unicl([colors, table], tmp_path / "mine", start / "florence", prompts=PROMPTS, settings=QUICK)
    assert set(result.after) == {"zero-shot top-1", "image-to-text R@1", "text-to-image R@1"}
    assert result.examples + result.validation == 28
    assert sorted(failure.source.rsplit("/")[-1] for failure in result.failed) == ["damaged.png", "gone.png"]


def test_patience_ends_training_early(start, colors, tmp_path):
    settings = replace(QUICK, steps=40, checks=20, patience=1, learning_rate=1e-12)
    assert train_unicl([colors], tmp_path, start / "florence", prompts=PROMPTS, settings=settings).steps < 40


@pytest.mark.parametrize("library", ["accelerate", "tensorboard"])
def test_a_missing_extra_is_named(start, colors, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"florence-rag\[train\]"):
        train_unicl([colors], tmp_path, start / "florence", settings=QUICK)


def test_half_precision_without_a_gpu(start, colors, tmp_path):
    if torch.cuda.is_available():
        return
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        train_unicl([colors], tmp_path / "a", start / "florence", settings=replace(QUICK, precision="fp16"))
    done = train_unicl([colors], tmp_path / "b", start / "florence", settings=replace(QUICK, precision="bf16"))
    assert done.steps == 4


def test_a_finished_run_can_be_repeated(start, colors, tmp_path):
    train_unicl([colors], tmp_path / "m", start / "florence", prompts=PROMPTS, settings=QUICK)
    again = train_unicl([colors], tmp_path / "m", start / "florence", prompts=PROMPTS, settings=QUICK)
    assert again.steps == 4
    assert run.is_main_process()


@pytest.mark.slow
def test_two_processes_train_together(start, colors, tmp_path):
    """`accelerate launch` starts processes like this on several GPUs; only the first writes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    options = ["train", "unicl", str(colors), "--out", str(tmp_path / "m"), "--base-model", str(start), "--steps", "2"]
    done = subprocess.run(
        [*command, "-m", "florence_rag", *options, "--batch", "4", "--json"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["steps"] == 2 and (tmp_path / "m/florence/model.safetensors").is_file()
