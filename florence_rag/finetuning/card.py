"""The model card of a trained model: what it learned from, for how long, and what it reaches."""

from __future__ import annotations

from florence_rag.finetuning.settings import FineTuned

USE = {
    "florence": "florence-rag index PATH --model {folder}",
    "meter": "florence-rag ask QUESTION --vqa {folder}",
    "detector": "florence-rag detect IMAGE --detect {folder}",
    "video": "florence-rag index PATH --actions {folder}",
}
KINDS = {"florence": "A dual tower", "meter": "METER", "detector": "A detector", "video": "Video CoSwin"}


def card_of(result: FineTuned) -> str:
    """Markdown."""
    settings = result.settings
    rows = [f"| {name} | {result.before[name]:.3f} | {value:.3f} |" for name, value in result.after.items()]
    facts = [
        f"- started from `{result.start}`",
        f"- data: {', '.join(f'`{each}`' for each in result.data)}",
        f"- {result.examples} examples learned from, {result.validation} left out, {len(result.failed)} files not read",
        *(f"- {name}: {value}" for name, value in result.about.items()),
        f"- {result.steps} steps of {settings.batch} examples for each device, seed {settings.seed}",
    ]
    return "\n".join(
        [
            f"# {result.folder.name}: {result.part}",
            "",
            f"{KINDS[result.part]}, trained by `florence-rag train`. It knows what it was trained on.",
            "",
            *facts,
            "",
            "| on what was left out | before | after |",
            "|---|---|---|",
            *rows,
            "",
            "The losses are in `log.jsonl` and `curves.png` of the run. Use it with:",
            "",
            "```sh",
            USE[result.part].format(folder=result.folder.name),
            "```",
            "",
        ]
    )
