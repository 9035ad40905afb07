"""The training loop of all tasks: metrics before, a resumable run of transformers' Trainer, metrics after."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState

from florence_rag.batching import batched
from florence_rag.errors import InputError, MissingExtraError
from florence_rag.finetuning.settings import FineTuned, Progress, Settings, Step
from florence_rag.models.strict_loading import open_strictly
from florence_rag.types import Failure

Collator = Callable[[Sequence[Any]], dict[str, Any]]
"""Turns rows of a data set into the arguments of a network."""
SMALL_PARAMETERS = 50_000_000
"""Networks with fewer parameters learn at 5e-4 by default, larger ones at 1e-5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSetup:
    """A network with its data, ready to be trained.

    `part` is the folder that the network becomes. `metrics` measures the network on the validation
    examples. `details` are facts for the model card. `identity` is what a run must have in common with the one that it
    resumes, next to its base model, its data and its settings.
    """

    part: str
    data: Sequence[str | Path]
    model: Any
    processor: Any
    train: Dataset[Any]
    validation: Dataset[Any]
    collate: Collator
    metrics: Callable[[Any, Collator, Any], dict[str, float]]
    details: Mapping[str, Any]
    identity: Mapping[str, Any] = field(default_factory=dict)
    failed: Iterable[Failure] = ()


class Task(Protocol):
    """What a network learns, and from which data."""

    def prepare(self, base_model: Path, settings: Settings) -> TrainingSetup:
        """Read the data and build the network from the one in a folder; raise InputError for unusable data."""
        ...


def fine_tune(
    task: Task,
    out: Path,
    base_model: Path,
    *,
    name: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Train a network for a task; a call with the same arguments resumes an interrupted run.

    Args:
        task: What the network learns.
        out: Receives the network in the folder of its part, such as "florence", and its log in runs/PART.
        base_model: The folder of the network to start from.
        name: The name of the base model in the model card, by default its folder.
        settings: How to train.
        progress: Is called at each log entry.

    Raises:
        InputError: The data cannot be learned from, or `out` holds another run.
        MissingExtraError: A library of the extra `train` is not installed.
    """
    for library in ("accelerate", "tensorboard"):
        try:
            import_module(library)
        except ImportError as error:
            raise MissingExtraError(library, "train") from error
    settings = settings or Settings()
    torch.manual_seed(settings.seed)
    setup = task.prepare(base_model, settings)
    model, data = name or str(base_model), tuple(map(str, setup.data))
    examples = len(setup.train)  # type: ignore[arg-type]  # our data sets have a length
    identity = {"model": model, "data": data, "examples": examples, **setup.identity, **asdict(settings)}
    before = setup.metrics(setup.model, setup.collate, setup.validation)
    run_folder = out / "runs" / setup.part
    _check_identity(run_folder / "settings.json", identity)
    steps, seconds = _run(setup, run_folder, settings, progress)
    result = FineTuned(
        part=setup.part,
        folder=out,
        base_model=model,
        data=data,
        examples=examples,
        validation=len(setup.validation),  # type: ignore[arg-type]
        steps=steps,
        seconds=round(seconds, 1),
        settings=settings,
        before=before,
        after=setup.metrics(setup.model, setup.collate, setup.validation),
        details=dict(setup.details),
        failed=tuple(setup.failed),
    )
    if is_main_process():
        setup.model.save_pretrained(out / setup.part)
        setup.processor.save_pretrained(out / setup.part)
        (out / setup.part / "README.md").write_text(result.model_card(), "utf-8")
        # The checkpoints are several times as large as the model.
        shutil.rmtree(run_folder / "checkpoints", ignore_errors=True)
    return result


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
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def _run(setup: TrainingSetup, folder: Path, settings: Settings, progress: Progress | None) -> tuple[int, float]:
    """Train the network in place, and leave it with the weights that did best on the validation data.

    The folder receives checkpoints, log.jsonl and TensorBoard's event files. Returns the steps of all runs together,
    and the seconds of this one.
    """
    model, checkpoints = setup.model, folder / "checkpoints"
    arguments = _arguments(model, len(setup.train), checkpoints, settings)  # type: ignore[arg-type]
    checkpoint = last_checkpoint(checkpoints)
    resumed_step = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    if checkpoint and resumed_step >= arguments.max_steps:  # the run was interrupted after its last step
        best = TrainerState.load_from_json(f"{checkpoint}/trainer_state.json").best_model_checkpoint or checkpoint
        model.load_state_dict(open_strictly(type(model), checkpoints / Path(best).name).state_dict())
        return resumed_step, 0.0
    trainer = _Trainer(
        model=model.train(),
        args=arguments,
        train_dataset=setup.train,
        eval_dataset=setup.validation,
        data_collator=setup.collate,
    )
    for callback in (PrinterCallback, ProgressCallback):  # standard output is for results
        trainer.remove_callback(callback)
    trainer.add_callback(_LogCallback(folder, progress))
    if is_main_process():
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard hides what an earlier run logged after the checkpoint.
        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(folder), purge_step=resumed_step + 1)))
    if settings.patience is not None:
        trainer.add_callback(EarlyStoppingCallback(settings.patience))
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    model.eval()
    return trainer.state.global_step, time.perf_counter() - start


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


def fast_attention(use_cpu: bool) -> AbstractContextManager[None]:
    """Return a context in which attention uses the kernels with the fastest backward pass."""
    # On CPUs the backward pass of the fused kernel took more time than the rest of the step.
    return sdpa_kernel([SDPBackend.MATH] if use_cpu else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])


def last_checkpoint(folder: Path) -> str | None:
    """Return the last complete checkpoint: its state is written after all other files."""
    complete = []
    for path in folder.glob("checkpoint-*/trainer_state.json"):
        try:
            if json.loads(path.read_text("utf-8")):
                complete.append(str(path.parent))
        except ValueError:  # the run was interrupted while it wrote the file
            continue
    return max(complete, key=lambda path: int(path.rpartition("-")[2]), default=None)


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
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        per_device_eval_batch_size=settings.batch,
        learning_rate=settings.learning_rate or (5e-4 if model.num_parameters() < SMALL_PARAMETERS else 1e-5),
        weight_decay=0.05,
        adam_beta2=0.98,
        warmup_steps=min(100, steps // 10),
        lr_scheduler_type="cosine",
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


def batches(data: Dataset[Any] | Sequence[Any], collate: Collator, size: int) -> Iterator[dict[str, Any]]:
    """Yield all rows of a data set in batches, as the arguments of the network."""
    count = len(data)  # type: ignore[arg-type]
    return map(collate, batched((data[i] for i in range(count)), size))


def keep_known_rows(new: torch.nn.Linear, old: torch.nn.Linear, names: Sequence[str], known: Sequence[str]) -> None:
    """Copy the weights of the outputs that two layers share.

    `names` are the labels or answers of the new layer, `known` those of the old one.
    """
    row_of = {name: row for row, name in enumerate(known)}
    with torch.no_grad():
        for row, name in enumerate(names):
            if name in row_of:
                new.weight[row] = old.weight[row_of[name]]
                new.bias[row] = old.bias[row_of[name]]
