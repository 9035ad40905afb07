"""The model card of a trained model: its data, its training, and its metrics."""

from __future__ import annotations

from collections.abc import Sequence

from florence_rag.finetuning.settings import FineTuned

USE = {
    "florence": "florence-rag index PATH --model {folder}",
    "meter": "florence-rag ask QUESTION --vqa {folder}",
    "detector": "florence-rag detect IMAGE --detector {folder}",
    "video": "florence-rag index PATH --action-model {folder}",
}
KINDS = {"florence": "A dual encoder", "meter": "METER", "detector": "A detector", "video": "Video CoSwin"}


def model_card(result: FineTuned) -> str:
    """Return the card in Markdown."""
    settings, folder = result.settings, result.folder.name
    rows = [f"| {name} | {result.before[name]:.3f} | {value:.3f} |" for name, value in result.after.items()]
    facts = [
        f"- base model: `{result.base_model}`",
        f"- data: {', '.join(f'`{each}`' for each in result.data)}",
        f"- {result.examples} training examples, {result.validation} validation examples, "
        f"{len(result.failed)} unreadable files",
        *(f"- {name}: {value}" for name, value in result.details.items()),
        f"- {result.steps} steps of {settings.batch} examples for each device, seed {settings.seed}",
    ]
    return f"""# {folder}: {result.part}

{KINDS[result.part]}, trained by `florence-rag train`. It knows what its training data shows, and nothing else.

{chr(10).join(facts)}

| metric on the validation examples | before | after |
|---|---|---|
{chr(10).join(rows)}

The losses are in the folder `runs/{result.part}`: `tensorboard --logdir {folder}/runs` shows them as curves, and
`log.jsonl` lists them. Use the model with:

```sh
{USE[result.part].format(folder=folder)}
```
"""


def summarize_names(names: Sequence[str], shown: int = 20) -> str:
    """Return the number of names and the first of them, such as "3: blue, green, red"."""
    return f"{len(names)}: {', '.join(names[:shown])}{' ...' if len(names) > shown else ''}"
