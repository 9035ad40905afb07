import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.finetuning.settings import Settings
from florence_rag.finetuning.trainer import fine_tune, is_main_process, last_checkpoint
from florence_rag.finetuning.unicl import UniCLTask
from florence_rag.models.florence import FlorenceModel

QUICK = Settings(steps=4, batch=8, checks=2, validation=0.2)
PROMPTS = ("a {} image",)


def train(data, out, start, settings=QUICK, progress=None):
    task = UniCLTask([data], prompts=PROMPTS)
    return fine_tune(task, out, start / "florence", settings=settings, progress=progress)


def scalars(folder):
    """Return the tags that TensorBoard shows, with their steps."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def weights(folder):
    return FlorenceModel.from_pretrained(folder / "florence").state_dict()


def test_an_interrupted_run_ends_like_an_uninterrupted_one(start, colors, tmp_path, monkeypatch):
    whole = train(colors, tmp_path / "whole", start)

    def stop(step):
        if step.step >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(colors, tmp_path / "cut", start, progress=stop)
    assert (tmp_path / "cut/runs/florence/checkpoints/checkpoint-2").is_dir()
    cut = train(colors, tmp_path / "cut", start)
    assert cut.steps == whole.steps == 4
    assert scalars(tmp_path / "cut/runs/florence")["eval/loss"] == [2, 4]
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "cut")[name], value)
    with pytest.raises(InputError, match="started with another steps: 4, now 5"):
        train(colors, tmp_path / "cut", start, replace(QUICK, steps=5))


def test_the_losses_are_logged_and_the_checkpoints_deleted(start, colors, tmp_path):
    train(colors, tmp_path, start)
    folder = tmp_path / "runs/florence"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    assert {"loss", "eval_loss"} <= {key for entry in log for key in entry}
    assert sorted(tag for tag in scalars(folder) if tag.endswith("/loss")) == ["eval/loss", "train/loss"]
    assert not (folder / "checkpoints").exists()


def test_patience_ends_training_early(start, colors, tmp_path):
    settings = replace(QUICK, steps=40, checks=20, patience=1, learning_rate=1e-12)
    assert train(colors, tmp_path, start, settings).steps < 40


@pytest.mark.parametrize("library", ["accelerate", "tensorboard"])
def test_a_missing_extra_is_named(start, colors, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"florence-rag\[train\]"):
        train(colors, tmp_path, start)


def test_half_precision_without_a_gpu(start, colors, tmp_path):
    if torch.cuda.is_available():
        return
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        train(colors, tmp_path / "a", start, replace(QUICK, precision="fp16"))
    assert train(colors, tmp_path / "b", start, replace(QUICK, precision="bf16")).steps == 4


def test_a_finished_run_can_be_repeated(start, colors, tmp_path):
    train(colors, tmp_path / "m", start)
    assert train(colors, tmp_path / "m", start).steps == 4
    assert is_main_process()


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


def test_an_incomplete_checkpoint_is_skipped(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, state in ((2, "{}"), (8, '{"a": 1}'), (10, '{"a": 1}'), (12, '{"a"'), (14, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_a_run_that_was_interrupted_after_its_last_step_can_be_continued(start, colors, tmp_path, monkeypatch):
    deleted = []
    with monkeypatch.context() as patch:
        patch.setattr("florence_rag.finetuning.trainer.shutil.rmtree", lambda folder, **_: deleted.append(folder))
        first = train(colors, tmp_path / "out", start)
    assert last_checkpoint(deleted[0]).endswith(f"checkpoint-{first.steps}")
    trained = weights(tmp_path / "out")
    again = train(colors, tmp_path / "out", start)
    assert (again.steps, again.after) == (first.steps, first.after)
    assert all(torch.equal(value, trained[name]) for name, value in weights(tmp_path / "out").items())
