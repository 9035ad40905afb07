"""One run of transformers' Trainer: goes on where it was cut off, keeps what did best, writes its log and curves."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from florence_rag.errors import InputError, MissingExtraError
from florence_rag.finetuning.loss_plot import draw_curves
from florence_rag.finetuning.settings import Progress, Settings, Step
from florence_rag.training.recipe import fast_attention

SMALL = 50_000_000
"""Networks of fewer parameters learn at 5e-4, larger ones at 1e-5, unless told otherwise."""


class _Trainer(Trainer):
    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, *_: Any, **__: Any) -> Any:
        """The network's own loss."""
        with fast_attention(self.args.use_cpu):
            output = model(**inputs)
        return (output.loss, {"loss": output.loss}) if return_outputs else output.loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> tuple[Any, None, None]:
        """The loss alone."""
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


class _Told(TrainerCallback):
    """Writes log.jsonl anew at each entry, so that a run that went on has one log."""

    def __init__(self, folder: Path, progress: Progress | None) -> None:
        self.folder, self.progress = folder, progress

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        lines = "".join(json.dumps(entry) + "\n" for entry in state.log_history)
        (self.folder / "log.jsonl").write_text(lines, "utf-8")
        if self.progress is not None:
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            self.progress(Step(state.global_step, state.max_steps, losses[-1] if losses else None))


def require_accelerate() -> None:
    """MissingExtraError where it is not installed."""
    try:
        import accelerate  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("accelerate", "train") from error


def fine_tune(
    model: PreTrainedModel,
    data: Dataset[Any],
    validation: Dataset[Any],
    collate: Callable[..., Any],
    folder: Path,
    settings: Settings,
    *,
    about: Mapping[str, Any],
    progress: Progress | None = None,
) -> tuple[int, float]:
    """Train a model in place, and leave it with the weights that did best on the validation data.

    folder: for checkpoints, log.jsonl and curves.png; a run in it is gone on with, if about and settings are those it
    was begun with, and InputError is raised otherwise. Returns how many steps were done in all, and the seconds of this
    call.
    """
    require_accelerate()
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(folder / "settings.json", {**about, **asdict(settings)})
    arguments = _arguments(model, len(data), folder / "checkpoints", settings)  # type: ignore[arg-type]
    trainer = _Trainer(
        model=model.train(), args=arguments, train_dataset=data, eval_dataset=validation, data_collator=collate
    )
    for callback in (PrinterCallback, ProgressCallback):  # standard output is for results
        trainer.remove_callback(callback)
    trainer.add_callback(_Told(folder, progress))
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=last_checkpoint(Path(str(arguments.output_dir))))
    if trainer.is_world_process_zero():
        draw_curves(trainer.state.log_history, folder / "curves.png")
    model.eval()
    return trainer.state.global_step, time.perf_counter() - start


def last_checkpoint(folder: Path) -> str | None:
    """The last that is whole: its state is written after all the rest."""
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max((str(path) for path in whole), key=lambda path: int(path.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text("utf-8")))
    except ValueError:
        return False


def forget_checkpoints(folder: Path) -> None:
    """Of a run that is over: they are several times as large as the model."""
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def is_main_process() -> bool:
    """Whether this one of several processes writes results."""
    return int(os.environ.get("RANK", "0")) == 0


def _arguments(model: PreTrainedModel, examples: int, folder: Path, settings: Settings) -> TrainingArguments:
    gpu = torch.cuda.is_available()
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    epoch = max(1, -(-examples // (settings.batch * processes)))
    steps = settings.steps or max(1, round(settings.epochs * epoch))
    every = max(1, steps // settings.checks)
    precision = settings.precision
    if precision == "auto":
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if gpu else "fp32"
    if precision == "fp16" and not gpu:
        raise InputError("precision fp16 needs a GPU; choose bf16 or fp32")
    rate = settings.learning_rate or (5e-4 if model.num_parameters() < SMALL else 1e-5)
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
        # Named without several processes, it would make one process look for its group.
        ddp_backend="gloo" if processes > 1 and not gpu else None,
        ddp_find_unused_parameters=True if processes > 1 else None,
        eval_strategy="steps",
        eval_steps=every,
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=max(1, min(25, every)),
        logging_first_step=True,
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=gpu,
        remove_unused_columns=False,
        label_names=[],
        report_to=[],
        disable_tqdm=True,
        seed=settings.seed,
    )


def _check_same(path: Path, now: dict[str, Any]) -> None:
    """A run goes on only as it was begun."""
    record = json.loads(json.dumps(now, default=str))
    if path.is_file():
        begun = json.loads(path.read_text("utf-8"))
        if changed := [name for name in record if begun.get(name) != record[name]]:
            raise InputError(
                f"{str(path.parent)!r} holds a run that was begun with another {changed[0]}: "
                f"{begun.get(changed[0])!r:.60}, now {record[changed[0]]!r:.60}; delete it, or choose another --out"
            )
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
