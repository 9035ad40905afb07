"""Reads what is said in a video from its subtitle files and tracks, in all their languages."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from pysubs2 import Pysubs2Error

from florence_rag.chunking.config import fit_text
from florence_rag.chunking.subtitle_formats import Cue, parse_transcript
from florence_rag.chunking.text import decode_text, read_bytes
from florence_rag.errors import MediaError
from florence_rag.sources import SubtitleSearch, language_of

__all__ = ["Cue", "merge_tracks", "parse_transcript", "read_transcript", "transcript_between"]

MAX_CUES = 100_000
"""The most cues of one track; a feature film has about 1,500."""

_MAX_OVERLAPS = 100
_ENCODINGS = {
    **dict.fromkeys(("bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sq"), "cp1250"),
    **dict.fromkeys(("et", "lt", "lv"), "cp1257"),
    **dict.fromkeys(("ar", "fa", "ur"), "cp1256"),
    **{"az": "cp1254", "el": "cp1253", "he": "cp1255", "th": "cp874", "tr": "cp1254", "vi": "cp1258"},
}
"""The encodings of languages that statistics of characters confuse with Western European, Cyrillic or Chinese."""
_BITMAPS = (b"\0\0\x01\xba", b"# VobSub", b"PG")  # how a .sub, .idx and .sup file begins
_NO_WORDS = re.compile(rb"<[^<>\n]*>|\{[^{}\n]*\}|^(?:Dialogue|Comment):(?:[^,\n]*,){9}|[\d:.,>-]+", re.MULTILINE)
_WORD = re.compile(r"\w+")
_NOTE = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|^[A-Z][A-Z .]*:")


def read_transcript(
    video: str, frame_rate: float = 25.0, skip: Callable[[str], None] = lambda reason: None
) -> tuple[Cue, ...]:
    """Return the cues of the subtitle files of a video, as `merge_tracks` does.

    Args:
        video: The uri of the video.
        frame_rate: The frames per second of the video.
        skip: Receives the reason why a file is not read, with the end of its name.
    """
    tracks = []
    for path in SubtitleSearch().of_video(video):
        try:
            tracks.append(_read_file(path, video, frame_rate))
        except MediaError as error:
            end_of_name = Path(path).name.removeprefix(Path(video).stem)
            skip(str(error).replace(repr(path), f"{end_of_name} that", 1))
    return merge_tracks(tracks)


def merge_tracks(tracks: Iterable[Sequence[Cue]]) -> tuple[Cue, ...]:
    """Return the cues of several tracks in order of time, without those that a fuller track shows at the same time.

    So subtitles for the hard of hearing, forced subtitles, and copies in a file and in a track do not repeat lines.
    """
    merged: list[Cue] = []
    for track in sorted(tracks, key=_fullness, reverse=True):
        starts = [cue.start_s for cue in merged]
        ends = list(accumulate((cue.end_s for cue in merged), max))
        words = [_words(cue.text) for cue in merged]
        for cue in track:
            last = bisect_left(starts, cue.end_s)
            first = max(bisect_right(ends, cue.start_s, hi=last), last - _MAX_OVERLAPS)
            if f" {_words(cue.text)} " not in f" {' '.join(words[first:last])} ":
                merged.append(cue)
        merged.sort(key=lambda cue: cue.start_s)
    return tuple(merged)


def transcript_between(cues: Sequence[Cue], start_s: float, end_s: float) -> str:
    """Return the text of a time interval, one language after the other: a line for each cue, equal lines once."""
    shown = (cue for cue in cues if cue.start_s < end_s and cue.end_s > start_s)
    return fit_text("\n".join(dict.fromkeys(cue.text for cue in sorted(shown, key=lambda cue: cue.language))))


def _fullness(track: Sequence[Cue]) -> tuple[int, bool]:
    return sum(len(cue.text) for cue in track), any(cue.language for cue in track)


def _read_file(path: str, video: str, frame_rate: float) -> tuple[Cue, ...]:
    data = read_bytes(path)
    if data.startswith(_BITMAPS):
        raise MediaError(f"{path!r} holds bitmaps instead of text")
    language = language_of(path, video)
    text = decode_text(data, path, _NO_WORDS.sub(b"", data), _ENCODINGS.get(language[:2], ""))
    try:
        cues = parse_transcript(text, frame_rate)
    except (ValueError, ArithmeticError, LookupError, SyntaxError, RecursionError, Pysubs2Error) as error:
        raise MediaError(f"{path!r} is damaged: {' '.join(str(error).split())}") from error
    if not 0 < len(cues) <= MAX_CUES:
        raise MediaError(
            f"{path!r} has {len(cues) or 'no'} subtitles" + (f"; at most {MAX_CUES:,} are read" if cues else "")
        )
    return tuple(replace(cue, language=language) for cue in cues)


def _words(text: str) -> str:
    """Return the spoken words, without sounds in brackets and speakers; of a sound alone, its words."""
    spoken = _WORD.findall(_NOTE.sub(" ", text).lower())
    return " ".join(spoken or _WORD.findall(text.lower()) or [text])
