"""Images with labels, captions or both: class folders, CSV and JSON Lines files, and Karpathy's splits."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from florence_rag.datasets.dataset_io import Record, read_json, read_table, select_split
from florence_rag.datasets.media_files import check_labels_agree, class_folders, not_a_data_set
from florence_rag.errors import InputError
from florence_rag.text_arguments import to_path

CAPTIONS = 5
"""Captions of an image that retrieval is measured with, as the published protocols do."""
_COLUMNS = {"image": ("image", "path", "file"), "text": ("text", "caption"), "label": ("label", "class")}
_LAYOUTS = (
    "a folder with a folder of images for each class, a CSV or JSON Lines file with the columns image and text or "
    "label, or a JSON file with Karpathy's splits"
)


@dataclass(frozen=True, slots=True)
class ImageExample:
    """An image file with its captions, its class or "", and its split in the words of the data set or ""."""

    path: Path
    captions: tuple[str, ...] = ()
    label: str = ""
    split: str = ""


def read_images(data: str | Path, images: str | Path | None = None) -> list[ImageExample]:
    """Return all examples of a data set; raise InputError if it has another layout or no example.

    `data` is a folder with a folder of images for each class; a CSV or JSON Lines file with the columns image (or path,
    file), and text (or caption) or label (or class), which without a header has the columns path and label; or a JSON
    file with Karpathy's splits: {"images": [{"filename", "split", "sentences": [{"raw"}], "filepath"}]}. Relative paths
    begin in the folder `images`, by default that of the file.
    """
    path = to_path(data)
    if os.path.isdir(path):  # also if its name is too long for a file system
        found = [ImageExample(file, label=label) for file, label in class_folders(path, "image")]
    elif path.suffix.lower() not in (".csv", ".jsonl", ".json") or not os.path.isfile(path):
        raise not_a_data_set(data, _LAYOUTS)
    else:
        top = path.parent if images is None else to_path(images)
        found = list(_karpathy(path, top) if path.suffix.lower() == ".json" else _table(path, top))
    if not found:
        raise InputError(f"{str(data)!r} has no examples; give {_LAYOUTS}")
    return found


def _table(path: Path, top: Path) -> Iterator[ImageExample]:
    for row in read_table(path, default_header=("path", "label")):
        cells: dict[str, str | None] = {
            name: next((row.fields[column] for column in columns if column in row.fields), None)
            for name, columns in _COLUMNS.items()
        }
        image, text, label = cells.values()
        if image is None or (text is None and label is None):
            missing = "image" if image is None else "text or label"
            raise InputError(f"{row.where} has no column {missing}; its columns are {', '.join(row.fields) or 'none'}")
        if not image or not (text or label):
            empty = [name for name, cell in cells.items() if cell == ""]
            raise InputError(f"{row.where} has nothing in the column {' and '.join(empty)}")
        yield ImageExample(top / to_path(image), (text,) if text else (), label or "")


def _karpathy(path: Path, top: Path) -> Iterator[ImageExample]:
    for record in read_json(path).records("images"):
        split, sentences = record.get("split", str), record.get("sentences", list)
        captions = tuple(Record(each, f"a sentence of {record.where}").get("raw", str) for each in sentences)
        file = top / record.get("filepath", str, "") / record.get("filename", str)
        yield ImageExample(file, captions, split=split)


def read_labeled_images(data: str | Path) -> list[ImageExample]:
    """Return the labeled examples of a data set, each once; raise InputError for no label or two labels of an image."""
    found = list(dict.fromkeys(example for example in read_images(data) if example.label))
    check_labels_agree(((example.path, example.label) for example in found), data)
    if not found:
        raise InputError(f"{str(data)!r} has no labeled images; give {_LAYOUTS}")
    return found


def read_captioned_images(
    data: str | Path, images: str | Path | None = None, *, split: str = "test", captions: int = CAPTIONS
) -> list[ImageExample]:
    """Return the images of one split, each once with its first captions; raise InputError if one has no caption.

    A data set without splits counts as a whole.
    """
    examples, texts = read_images(data, images), dict[Path, tuple[str, ...]]()
    for example in select_split(examples, split, data, keep_unsplit=True):
        texts[example.path] = texts.get(example.path, ()) + example.captions
    found = [ImageExample(path, each[:captions], split=split) for path, each in texts.items()]
    for example in found:
        if not example.captions or not all(caption.strip() for caption in example.captions):
            raise InputError(f"{str(example.path)!r} in {str(data)!r} has no caption, or an empty one")
    return found


def read_class_names(file: str | Path, labels: Sequence[str]) -> dict[str, str]:
    """Return the names of classes from a JSON file such as {"n01440764": "tench"}; each class needs its own."""
    content = read_json(file)
    names = {label: content.get(label, str) for label in dict.fromkeys(labels)}
    for name, count in Counter(names.values()).items():
        if count > 1:
            same = " and ".join(repr(label) for label, other in names.items() if other == name)
            raise InputError(f"{str(file)!r} gives {same} the same name, {name!r}; give each class its own name")
    return names


def rename_labels(examples: Sequence[ImageExample], names: Mapping[str, str]) -> list[ImageExample]:
    """Return the examples with the names of their classes as labels; a class without a name keeps its label."""
    return [replace(each, label=" ".join(names.get(each.label, each.label).split())) for each in examples]
