"""Pictures with texts, with labels, or with both: what a dual tower learns from.

Image-text: a CSV or JSONL file with the columns image and text (or caption), or the JSON file of Karpathy's splits of
COCO and Flickr30k. Image-label: a folder with a folder of pictures for each class, or a column label (or class).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from florence_rag.datasets.images import read_labeled_images
from florence_rag.errors import InputError
from florence_rag.finetuning.dataset_io import counted, field, left_out, listed, read_json, table_rows

COLUMNS = {"image": ("image", "path", "file"), "text": ("text", "caption"), "label": ("label", "class")}
SHAPES = (
    "a folder with a folder for each class, a CSV or JSONL file with the columns image and text or label, "
    "or the JSON file of a Karpathy split"
)
Part = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture, what is said of it (any number of texts), and its class, where it has one. part: as the data say."""

    image: Path
    texts: tuple[str, ...] = ()
    label: str | None = None
    part: Part | None = None

    def key(self, text: str) -> tuple[str, str]:
        """Equal for pairs that are each other's positives: of one class, or of one text."""
        return ("text", text) if self.label is None else ("label", self.label.casefold())


def read_pairs(data: str | Path, images: Path | None = None) -> list[Example]:
    """All examples of a data set; what is to be kept for tests is left away. images: where relative paths begin.

    Files are not opened yet. InputError for what is no such data set, and for one with nothing in it.
    """
    path = Path(data).expanduser()
    readers: dict[str, Callable[[Path, Path | None], Iterator[Example]]] = {
        ".json": _karpathy,
        ".csv": _table,
        ".jsonl": _table,
    }
    if path.is_dir():
        return [Example(each.path, label=each.label) for each in read_labeled_images(path)]
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise InputError(f"{str(data)!r} is no data set; give {SHAPES}")
    if not (found := list(reader(path, images))):
        raise InputError(f"{str(data)!r} has no examples")
    return found


def _table(path: Path, images: Path | None) -> Iterator[Example]:
    for where, row in table_rows(path):
        values = {name: next((row[each] for each in names if each in row), None) for name, names in COLUMNS.items()}
        image, text, label = (values[name] for name in COLUMNS)
        if image is None or (text is None and label is None):
            missing = "image" if image is None else "text or label"
            raise InputError(f"{where} has no column {missing}; it has {', '.join(row) or 'none'}")
        if not image or not (text or label):
            empty = [name for name, value in values.items() if value == ""]
            raise InputError(f"{where} has nothing in the column {' and '.join(empty)}")
        place = (images or path.parent) / Path(image).expanduser()
        yield Example(place, (text,) if text else (), label or None)


def _karpathy(path: Path, images: Path | None) -> Iterator[Example]:
    parts: dict[str, Part] = {"train": "train", "restval": "train", "val": "validation"}
    splits: set[str] = set()
    for number, row in enumerate(listed(read_json(path), "images", path)):
        where = f"images[{number}] of {str(path)!r}"
        name, split = field(row, "filename", str, where), field(row, "split", str, where)
        sentences = field(row, "sentences", list, where)
        texts = tuple(field(each if isinstance(each, dict) else {}, "raw", str, where) for each in sentences)
        if split in parts and texts:
            yield Example((images or path.parent) / str(row.get("filepath") or "") / name, texts, part=parts[split])
        splits.add(split)
    if splits and not splits & parts.keys():
        there = ", ".join(map(repr, sorted(splits)))
        raise InputError(
            f"the field 'split' of all images of {str(path)!r} is {there}; {', '.join(parts)} are learned from"
        )


def parted(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """To learn from, and to look at in between; as the data say, or this share of each class.

    InputError where all pairs would be each other's positives, as there is nothing to tell apart.
    """
    known = {each.key(text) for each in examples for text in (each.texts or ("",))}
    if len(known) < 2:
        only = next(iter(known))[1] if known else "nothing"
        raise InputError(f"all examples are of one class or text, {only!r}: there is nothing to tell apart")
    said = [each for each in examples if each.part is None]
    learn, out = left_out(said, [each.label and each.label.casefold() for each in said], share, seed)
    given = {part: [each for each in examples if each.part == part] for part in ("train", "validation")}
    if given["train"] and not given["validation"]:
        more, kept = left_out(given["train"], [None] * len(given["train"]), share, seed)
        given = {"train": more, "validation": kept}
    if not learn and not given["train"]:
        raise InputError("all examples are of the validation part: there is nothing to learn from")
    return learn + given["train"], out + given["validation"]


def labels_of(examples: Sequence[Example]) -> list[str]:
    """The classes, each as it is first written, sorted."""
    first: dict[str, str] = {}
    for each in examples:
        if each.label is not None:
            first.setdefault(each.label.casefold(), each.label)
    return sorted(first.values(), key=str.casefold)


def facts(examples: Sequence[Example]) -> dict[str, Any]:
    """For the model card."""
    labels = labels_of(examples)
    said = sum(len(each.texts) for each in examples)
    return {
        **({"classes": counted(labels)} if labels else {}),
        **({"texts": said} if said else {}),
    }
