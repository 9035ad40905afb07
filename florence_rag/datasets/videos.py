"""Videos with labels or captions: class folders, CSV files, Kinetics' lists of clips, and the lists of MSR-VTT."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from florence_rag.chunking.video import sample_frames, video_duration_s
from florence_rag.datasets.dataset_io import Record, read_json, read_table, select_split
from florence_rag.datasets.media_files import check_labels_agree, class_folders, not_a_data_set, videos_by_name
from florence_rag.errors import InputError
from florence_rag.text_arguments import to_path
from florence_rag.types import Frame

_LAYOUTS = (
    "a folder with a folder of videos for each class, a CSV file with the columns path and label, or a Kinetics list "
    "with the columns label, youtube_id, time_start and time_end"
)
_KINETICS = ("label", "youtube_id", "time_start", "time_end")
_MAX_GAP_S = 1.0


@dataclass(frozen=True, slots=True)
class VideoClip:
    """A labeled video, or a part of one from `start_s` to `end_s` in seconds, where None is the end of the file.

    `name` stands for the clip in reports; `split` is the split in the words of the data set, or "".
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
    """Return the labeled videos of a data set, each once; raise InputError if it has another layout.

    `data` is a folder with a folder of videos for each class, a CSV file with the columns path (or video, file) and
    label (or class), with or without a header, or a Kinetics list, whose `split` may be selected. `videos` is the
    folder where the paths of a file begin, or with the videos of a list; by default that of the file.
    """
    path = to_path(data)
    if path.is_dir():
        found = [VideoClip(file, label, name=str(file)) for file, label in class_folders(path, "video")]
    elif path.suffix.lower() != ".csv" or not path.is_file():
        raise not_a_data_set(data, _LAYOUTS)
    elif _has_column(path, "youtube_id"):
        return read_kinetics(path, videos, split=split)
    else:
        found = list(dict.fromkeys(_table(path, path.parent if videos is None else to_path(videos))))
        check_labels_agree(((clip.path, clip.label) for clip in found), data)
    if not found:
        raise InputError(f"{str(data)!r} has no labeled videos; give {_LAYOUTS}")
    return found


def _table(path: Path, top: Path) -> Iterator[VideoClip]:
    for row in read_table(path, default_header=("path", "label")):
        video, label = (
            next((row.fields[name] for name in columns if row.fields.get(name)), None)
            for columns in (("video", "path", "file"), ("label", "class"))
        )
        if not video or not label:
            raise InputError(f"{row.where} is {row.fields!r:.80}; it needs a path and a label")
        file = top / to_path(video)
        yield VideoClip(file, label, name=str(file))


def read_kinetics(file: str | Path, videos: str | Path | None = None, *, split: str | None = None) -> list[VideoClip]:
    """Return the clips of one split of a Kinetics list, by default of all; raise InputError if it has another form.

    A list is a CSV file with the columns label, youtube_id, time_start and time_end, in seconds of the whole video, and
    split, which may be missing if no split is chosen. In the folder of the videos, ID_000010_000020.mp4 is a clip that
    was cut out, and ID.mp4 a whole video.
    """
    files = videos_by_name(to_path(file).parent if videos is None else videos)
    rows = list(read_table(file, required=_KINETICS if split is None else (*_KINETICS, "split")))
    clips = [_kinetics_clip(row, files) for row in rows]
    return clips if split is None else select_split(clips, split, file)


def _kinetics_clip(row: Record, files: Mapping[str, Path]) -> VideoClip:
    label, video, start, end = (row.text(name) for name in _KINETICS)
    times = f"the fields 'time_start' and 'time_end' of {row.where}"
    try:
        start_s, end_s = float(start), float(end)
    except ValueError as error:
        raise InputError(f"{times} must be seconds: {error}") from error
    if not 0 <= start_s < end_s < float("inf"):
        raise InputError(f"{times} are {start_s:g} and {end_s:g}; 0 <= start < end")
    split, name = row.get("split", str, ""), f"{video} from {start_s:g} s"
    if (cut := files.get(f"{video}_{int(start_s):06d}_{int(end_s):06d}")) is not None:
        return VideoClip(cut, label, 0.0, end_s - start_s, split, name)
    return VideoClip(files.get(video, Path(video)), label, start_s, end_s, split, name)


def clip_frames(clip: VideoClip, fps: float, max_frames: int | None = None) -> Iterator[Frame]:
    """Yield the frames of a clip at even times; raise InputError if the file is no video or ends before the clip."""
    if not clip.path.is_file():
        raise InputError("there is no such video")
    end_s = video_duration_s(str(clip.path)) if clip.end_s is None else clip.end_s
    if max_frames is not None:
        fps = min(fps, max_frames / (end_s - clip.start_s))
    last_s = float("-inf")
    for _, frame_s, frame in sample_frames(str(clip.path), clip.start_s, end_s, fps):
        last_s = frame_s
        yield frame
    # A video that ends before the clip starts shows its last frame at all times of the clip.
    if last_s < clip.start_s - _MAX_GAP_S:
        raise InputError(f"{str(clip.path)!r} ends before {clip.start_s:g} s")


class CaptionedVideo(NamedTuple):
    """The name of a video file without its suffix, and the captions of the video."""

    id: str
    captions: tuple[str, ...]


def read_msrvtt(file: str | Path, *, split: str = "test", captions: int | None = None) -> list[CaptionedVideo]:
    """Return the videos of a list with their first captions; raise InputError if it has another form.

    A list is a CSV file with the columns video_id and sentence (MSRVTT_JSFUSION_test.csv), or MSR-VTT's JSON file with
    splits: {"videos": [{"video_id", "split"}], "sentences": [{"video_id", "caption"}]}.
    """
    if Path(file).suffix.lower() == ".csv":
        texts: dict[str, list[str]] = {}
        for row in read_table(file, required=("video_id", "sentence")):
            texts.setdefault(row.text("video_id"), []).append(row.text("sentence"))
    else:
        texts = _captions_from_json(file, split)
    return [CaptionedVideo(video, tuple(each[:captions])) for video, each in texts.items()]


def is_video_list(file: Path) -> bool:
    """Return whether a file is a CSV file with the column video_id."""
    return file.suffix.lower() == ".csv" and _has_column(file, "video_id")


def _has_column(table: Path, name: str) -> bool:
    row = next(read_table(table), None)
    return row is not None and name in row.fields


def _captions_from_json(file: str | Path, split: str) -> dict[str, list[str]]:
    content = read_json(file)
    videos = content.records("videos")
    splits = {record.get("video_id", str): record.get("split", str) for record in videos}
    if len(splits) < len(videos):
        raise InputError(f"two of the 'videos' of {str(file)!r} have the same 'video_id'")
    texts: dict[str, list[str]] = {video: [] for video, own in splits.items() if own == split}
    if not texts:
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {', '.join(sorted(set(splits.values())))}")
    for record in content.records("sentences"):
        video, caption = record.get("video_id", str), record.text("caption")
        if video not in splits:
            raise InputError(f"the field 'video_id' of {record.where} is {video!r}, which the file does not describe")
        if video in texts:
            texts[video].append(caption)
    if silent := [video for video, each in texts.items() if not each]:
        raise InputError(f"the 'sentences' of {str(file)!r} have no caption of the video {silent[0]!r}")
    return texts
