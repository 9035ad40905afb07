"""One run of transformers' Trainer over synthetic data, shared by the recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from florence_rag.finetuning.trainer import fast_attention


class RecipeTrainer(Trainer):
    """A Trainer that uses the fastest attention kernel."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss that the network computes."""
        with fast_attention(self.args.use_cpu):
            loss: torch.Tensor = model(**inputs).loss
        return loss


def train(
    model: PreTrainedModel,
    data: Dataset[Any],
    collator: Callable[..., Any],
    folder: Path,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> None:
    """Train with a cosine learning rate; resume from the last checkpoint in the folder if there is one."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch,
        learning_rate=learning_rate,
        weight_decay=0.05,
        adam_beta2=0.98,
        warmup_steps=min(100, steps // 10),
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=100,
        save_total_limit=2,
        dataloader_num_workers=1,
        dataloader_persistent_workers=True,
        remove_unused_columns=False,
        label_names=[],
        report_to=[],
        seed=seed,
    )
    trainer = RecipeTrainer(model=model, args=arguments, train_dataset=data, data_collator=collator)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.exists() else None)
