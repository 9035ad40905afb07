"""Videos with captions: MSR-VTT's 1k-A test list as a CSV file, and its splits as a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from florence_rag.datasets.dataset_io import cell, field, read_json, read_table, records, text_field
from florence_rag.errors import InputError


class CaptionedVideo(NamedTuple):
    """The name of a video file without its suffix, and the captions of the video."""

    id: str
    captions: tuple[str, ...]


def read_msrvtt(file: str | Path, *, split: str = "test", captions: int | None = None) -> list[CaptionedVideo]:
    """Return the videos of a list with their first captions.

    Args:
        file: A CSV file with the columns video_id and sentence (MSRVTT_JSFUSION_test.csv), or MSR-VTT's JSON file:
            {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}.
        split: The split of the JSON file.
        captions: The number of captions of each video that count, by default all.

    Raises:
        InputError: The file has another form, no such split, or a video without caption.
    """
    texts = _from_csv(file) if Path(file).suffix.lower() == ".csv" else _from_json(file, split)
    return [CaptionedVideo(video, tuple(each[:captions])) for video, each in texts.items()]


def is_video_list(file: Path) -> bool:
    """Return whether a file is a CSV file with the column video_id."""
    return file.suffix.lower() == ".csv" and "video_id" in next(read_table(file), ({}, ""))[0]


def _from_csv(file: str | Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {}
    for row, where in read_table(file, required=("video_id", "sentence")):
        texts.setdefault(cell(row, "video_id", where), []).append(cell(row, "sentence", where))
    return texts


def _from_json(file: str | Path, split: str) -> dict[str, list[str]]:
    content = read_json(file)
    videos = records(content, "videos", file)
    splits = {field(record, "video_id", str, where): field(record, "split", str, where) for record, where in videos}
    if len(splits) < len(videos):
        raise InputError(f"two of the 'videos' of {str(file)!r} have the same 'video_id'")
    texts: dict[str, list[str]] = {video: [] for video, own in splits.items() if own == split}
    if not texts:
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {', '.join(sorted(set(splits.values())))}")
    for record, where in records(content, "sentences", file):
        video, caption = field(record, "video_id", str, where), text_field(record, "caption", where)
        if video not in splits:
            raise InputError(f"the field 'video_id' of {where} is {video!r}, which the file does not describe")
        if video in texts:
            texts[video].append(caption)
    if silent := [video for video, each in texts.items() if not each]:
        raise InputError(f"the 'sentences' of {str(file)!r} have no caption of the video {silent[0]!r}")
    return texts
