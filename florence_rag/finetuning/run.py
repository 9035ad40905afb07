"""One run of transformers' Trainer, which resumes from its last checkpoint and keeps the best weights."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.finetuning.settings import Progress, Settings, Step

SMALL_PARAMETERS = 50_000_000
"""Networks with fewer parameters learn at 5e-4 by default, larger ones at 1e-5."""


def fast_attention(use_cpu: bool) -> AbstractContextManager[None]:
    """Return a context in which attention uses the kernels with the fastest backward pass."""
    # On CPUs the backward pass of the fused kernel took more time than the rest of the step.
    return sdpa_kernel([SDPBackend.MATH] if use_cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])


class _Trainer(Trainer):
    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, *_: Any, **__: Any) -> Any:
        """Return the loss of the network."""
        with fast_attention(self.args.use_cpu):
            output = model(**inputs)
        return (output.loss, {"loss": output.loss}) if return_outputs else output.loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> tuple[Any, None, None]:
        """Return the loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


class _LogCallback(TrainerCallback):
    """Rewrites log.jsonl at each entry, so that a resumed run has one log, and reports the progress."""

    def __init__(self, folder: Path, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the log and report the last training loss."""
        if not state.is_world_process_zero:
            return
        lines = "".join(json.dumps(entry) + "\n" for entry in state.log_history)
        (self.folder / "log.jsonl").write_text(lines, "utf-8")
        if self.progress is not None:
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            self.progress(Step(state.global_step, state.max_steps, losses[-1] if losses else None))


def require_train_extra() -> None:
    """Raise MissingExtraError if a library of the extra `train` is not installed."""
    for name in ("accelerate", "tensorboard"):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingExtraError(name, "train") from error


def fine_tune(
    model: PreTrainedModel,
    data: Dataset[Any],
    validation: Dataset[Any],
    collate: Callable[..., Any],
    folder: Path,
    settings: Settings,
    *,
    identity: Mapping[str, Any],
    progress: Progress | None = None,
) -> tuple[int, float]:
    """Train a model in place, and leave it with the weights that did best on the validation data.

    The folder receives checkpoints, log.jsonl and TensorBoard's event files. A run in it is resumed if it has the same
    `identity` and settings, and is an InputError otherwise. Returns the steps of all runs together, and the seconds of
    this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_identity(folder / "settings.json", {**identity, **asdict(settings)})
    arguments = _arguments(model, len(data), folder / "checkpoints", settings)  # type: ignore[arg-type]
    trainer = _Trainer(
        model=model.train(), args=arguments, train_dataset=data, eval_dataset=validation, data_collator=collate
    )
    for callback in (PrinterCallback, ProgressCallback):  # standard output is for results
        trainer.remove_callback(callback)
    trainer.add_callback(_LogCallback(folder, progress))
    checkpoint = last_checkpoint(folder / "checkpoints")
    if is_main_process():
        trainer.add_callback(_tensorboard(folder, checkpoint))
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    model.eval()
    return trainer.state.global_step, time.perf_counter() - start


def _tensorboard(folder: Path, checkpoint: str | None) -> TensorBoardCallback:
    """Return a callback that logs for TensorBoard, and hides what an earlier run logged after the checkpoint."""
    from torch.utils.tensorboard import SummaryWriter

    resumed_step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    return TensorBoardCallback(SummaryWriter(str(folder), purge_step=resumed_step + 1))


def last_checkpoint(folder: Path) -> str | None:
    """Return the last complete checkpoint: its state is written after all other files."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max((str(path) for path in complete), key=lambda path: int(path.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text("utf-8")))
    except ValueError:
        return False


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a finished run, which are several times as large as the model."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def is_main_process() -> bool:
    """Return whether this process is the one that writes results."""
    return int(os.environ.get("RANK", "0")) == 0


def _arguments(model: PreTrainedModel, examples: int, folder: Path, settings: Settings) -> TrainingArguments:
    gpu = torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    epoch_steps = max(1, -(-examples // (settings.batch * processes)))
    steps = settings.steps or max(1, round(settings.epochs * epoch_steps))
    check_steps = max(1, steps // settings.checks)
    precision = settings.precision
    if precision == "auto":
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if gpu else "fp32"
    if precision == "fp16" and not gpu:
        raise InputError("precision fp16 needs a GPU; choose bf16 or fp32")
    rate = settings.learning_rate or (5e-4 if model.num_parameters() < SMALL_PARAMETERS else 1e-5)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        learning_rate=rate,
        weight_decay=0.05,
        adam_beta2=0.98,
        warmup_steps=min(100, steps // 10),
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not gpu,
        # With a backend, a single process would wait for a process group.
        ddp_backend="gloo" if processes > 1 and not gpu else None,
        ddp_find_unused_parameters=True if processes > 1 else None,
        eval_strategy="steps",
        eval_steps=check_steps,
        save_steps=check_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, min(25, check_steps)),
        logging_first_step=True,
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        label_names=[],
        report_to=[],
        disable_tqdm=True,
        seed=settings.seed,
    )


def _check_identity(path: Path, now: dict[str, Any]) -> None:
    """Write the identity of a run; raise InputError if the folder holds a run with another one."""
    record = json.loads(json.dumps(now, default=str))
    if path.is_file():
        earlier = json.loads(path.read_text("utf-8"))
        if changed := [name for name in record if earlier.get(name) != record[name]]:
            raise InputError(
                f"{str(path.parent)!r} holds a run that started with another {changed[0]}: "
                f"{earlier.get(changed[0])!r:.60}, now {record[changed[0]]!r:.60}; delete it, or choose another --out"
            )
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
