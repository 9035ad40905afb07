"""How to train, and the result of a training run with its model card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from florence_rag.errors import InputError
from florence_rag.types import Failure

Precision = Literal["auto", "fp32", "bf16", "fp16"]
NETWORKS = {"florence": "A dual encoder", "meter": "METER", "detector": "A detector", "video": "Video CoSwin"}
USE = {
    "florence": "florence-rag index PATH --model {folder}",
    "meter": "florence-rag ask QUESTION --vqa {folder}",
    "detector": "florence-rag detect IMAGE --detector {folder}",
    "video": "florence-rag index PATH --action-model {folder}",
}
"""The command that uses a trained network, by its part of the folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train.

    Args:
        epochs: Passes over the data.
        steps: Steps of the optimizer, instead of epochs.
        batch: Examples in a step, on each device.
        learning_rate: The largest learning rate, after the warm-up; None chooses by the size of the network.
        precision: The number format; "auto" is bf16, or else fp16, on a GPU, and fp32 on a CPU.
        validation: The share of the data that validates, in (0, 0.5], unless the data set has its own splits.
        checks: How often the validation loss is measured and a checkpoint saved.
        patience: The number of checks without improvement after which training ends; None trains to the end.
        workers: The number of processes that load data.
        seed: The seed of the split, the order of the examples, and new weights.

    Raises:
        InputError: A value is out of its range.
    """

    epochs: float = 10
    steps: int | None = None
    batch: int = 32
    learning_rate: float | None = None
    precision: Precision = "auto"
    validation: float = 0.1
    checks: int = 10
    patience: int | None = None
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.validation <= 0.5:
            raise InputError(f"validation is {self.validation!r}; give a share of the data above 0, at most 0.5")
        for name in ("epochs", "steps", "batch", "learning_rate", "checks", "patience"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"{name} is {value!r}; it must be above 0")


class Step(NamedTuple):
    """The progress of a run: the current step, the number of steps, and the last training loss."""

    step: int
    steps: int
    loss: float | None


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class FineTuned:
    """A model that was trained: `folder` opens by its name, and `part` in it is what training wrote.

    `before` and `after` are the metrics on the validation examples before and after training; `steps` counts those of
    all runs together, `seconds` the last run; `details` are facts about the data for the model card.
    """

    part: str
    folder: Path
    base_model: str
    data: tuple[str, ...]
    examples: int
    validation: int
    steps: int
    seconds: float
    settings: Settings
    before: dict[str, float]
    after: dict[str, float]
    details: dict[str, Any]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result for JSON."""
        return {**asdict(self), "folder": str(self.folder)}

    def model_card(self) -> str:
        """Return the model card in Markdown."""
        folder = self.folder.name
        metrics = "".join(f"| {name} | {self.before[name]:.3f} | {value:.3f} |\n" for name, value in self.after.items())
        details = "".join(f"- {name}: {value}\n" for name, value in self.details.items())
        return f"""# {folder}: {self.part}

{NETWORKS[self.part]}, trained by `florence-rag train`. It knows what its training data shows, and nothing else.

- base model: `{self.base_model}`
- data: {", ".join(f"`{each}`" for each in self.data)}
- {self.examples} training examples, {self.validation} validation examples, {len(self.failed)} unreadable files
{details}- {self.steps} steps of {self.settings.batch} examples for each device, seed {self.settings.seed}

| metric on the validation examples | before | after |
|---|---|---|
{metrics}
The losses are in the folder `runs/{self.part}`: `tensorboard --logdir {folder}/runs` shows them as curves, and
`log.jsonl` lists them. Use the model with:

```sh
{USE[self.part].format(folder=folder)}
```
"""


def summarize_names(names: Sequence[str], shown: int = 20) -> str:
    """Return the number of names and the first of them, such as "3: blue, green, red"."""
    return f"{len(names)}: {', '.join(names[:shown])}{' ...' if len(names) > shown else ''}"
