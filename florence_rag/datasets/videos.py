"""Videos with labels: class folders, CSV files of paths and labels, and Kinetics' lists of clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from florence_rag.datasets.dataset_io import Row, cell, read_table
from florence_rag.datasets.media_files import VideoFolder, check_labels_agree, class_folders, not_a_data_set
from florence_rag.errors import InputError

_LAYOUTS = (
    "a folder with a folder of videos for each class, a CSV file with the columns path and label, or a Kinetics list "
    "with the columns label, youtube_id, time_start and time_end"
)
_KINETICS = ("label", "youtube_id", "time_start", "time_end")


@dataclass(frozen=True, slots=True)
class VideoClip:
    """A video, or a part of one, and the action in it.

    Attributes:
        path: Its file, which may be missing.
        label: The action.
        start_s: Where the clip starts in the file, in seconds.
        end_s: Where it ends, or None for the end of the file.
        split: The part of the data set that it belongs to, in the words of the data set, or "".
        name: The name of the clip in reports.
    """

    path: Path
    label: str
    start_s: float = 0.0
    end_s: float | None = None
    split: str = ""
    name: str = ""


def read_labeled_videos(
    data: str | Path, videos: str | Path | None = None, *, split: str | None = None
) -> list[VideoClip]:
    """Return the labeled videos of a data set, each once.

    Args:
        data: One of three layouts. A folder: each folder in it is a class of its name, and the videos may lie deeper. A
            CSV file with the columns path (or video, file) and label (or class), with or without a header. A Kinetics
            list, see `read_kinetics`.
        videos: The folder with the videos of a Kinetics list, or where relative paths begin; by default the folder of
            the file.
        split: The part of a Kinetics list; by default all of it.

    Raises:
        InputError: The data set has another layout, no such split, no video, or two labels for one video.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        found = [VideoClip(file, label, name=str(file)) for file, label in class_folders(path, "video")]
    elif path.suffix.lower() != ".csv" or not path.is_file():
        raise not_a_data_set(data, _LAYOUTS)
    elif "youtube_id" in next(read_table(path, default_header=("path", "label")), ({}, ""))[0]:
        return read_kinetics(path, videos, split=split)
    else:
        found = list(dict.fromkeys(_table(path, path.parent if videos is None else Path(videos).expanduser())))
        check_labels_agree(((clip.path, clip.label) for clip in found), data)
    if not found:
        raise InputError(f"{str(data)!r} has no labeled videos; give {_LAYOUTS}")
    return found


def _table(path: Path, top: Path) -> Iterator[VideoClip]:
    for row, where in read_table(path, default_header=("path", "label")):
        video = next((row[name] for name in ("video", "path", "file") if row.get(name)), None)
        label = row.get("label") or row.get("class")
        if not video or not label:
            raise InputError(f"{where} is {dict(row)!r:.80}; it needs a path and a label")
        file = top / Path(video).expanduser()
        yield VideoClip(file, label, name=str(file))


def read_kinetics(file: str | Path, videos: str | Path | None = None, *, split: str | None = None) -> list[VideoClip]:
    """Return the clips of one split of a Kinetics list.

    Args:
        file: A CSV file with the columns label, youtube_id, time_start and time_end, in seconds of the whole video, and
            split, which may be missing if no split is chosen.
        videos: The folder with the videos, by default that of the file. ID_000010_000020.mp4 is a clip that was cut
            out, ID.mp4 is a whole video.
        split: The split; by default all of them.

    Raises:
        InputError: The file has another form, or no such split.
    """
    folder = VideoFolder(Path(file).expanduser().parent if videos is None else videos)
    rows = list(read_table(file, required=_KINETICS if split is None else (*_KINETICS, "split")))
    clips = [_clip(row, where, folder) for row, where in rows]
    chosen = [clip for clip in clips if split in (None, clip.split)]
    if not chosen:
        splits = ", ".join(sorted({clip.split for clip in clips}))
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {splits}")
    return chosen


def _clip(row: Row, where: str, folder: VideoFolder) -> VideoClip:
    label, video, start, end = (cell(row, name, where) for name in _KINETICS)
    try:
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise InputError(f"the fields 'time_start' and 'time_end' of {where} must be seconds: {error}") from error
    if not 0 <= start_s < end_s < float("inf"):
        raise InputError(
            f"the fields 'time_start' and 'time_end' of {where} are {start_s:g} and {end_s:g}; 0 <= start < end"
        )
    split, name = row.get("split", ""), f"{video} from {start_s:g} s"
    if (cut := folder.get(f"{video}_{int(start_s):06d}_{int(end_s):06d}")) is not None:
        return VideoClip(cut, label, 0.0, end_s - start_s, split, name)
    return VideoClip(folder.get(video) or Path(video), label, start_s, end_s, split, name)
