"""Reads subtitle files, SubRip and WebVTT, as text with the times of their video.

pysubs2 drops or merges cues that this parser reads, as docs/log.md describes.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from florence_rag.chunking.config import fit_text
from florence_rag.chunking.text import decode_text, read_bytes
from florence_rag.sources import subtitles_of

_TIMING = re.compile(
    r"^[^\S\n]*(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})[^\S\n]*-->[^\S\n]*"
    r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})[^\n]*$",
    re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n\s*\n")
_MARKUP = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")


@dataclass(frozen=True, slots=True)
class Cue:
    """The text that is spoken or shown from start_s to end_s."""

    start_s: float
    end_s: float
    text: str


def read_transcript(video: str) -> tuple[Cue, ...]:
    """Return the cues of the subtitle file next to a video, in order of time; none without such a file."""
    path = subtitles_of(video)
    return parse_transcript(decode_text(read_bytes(path), path)) if path else ()


def parse_transcript(text: str) -> tuple[Cue, ...]:
    """Return the cues without formatting; skip everything else, such as numbers, headers, notes and styles."""
    timings = list(_TIMING.finditer(text))
    ends = [timing.start() for timing in timings[1:]] + [len(text)]
    cues = []
    for timing, end in zip(timings, ends, strict=False):
        block = _BLANK_LINE.split(text[timing.end() : end], maxsplit=1)[0]
        text_of_cue = " ".join(html.unescape(_MARKUP.sub("", block)).split())
        start_s, end_s = _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:])
        if text_of_cue and end_s > start_s:
            cues.append(Cue(start_s, end_s, text_of_cue))
    return tuple(sorted(cues, key=lambda cue: cue.start_s))


def transcript_between(cues: Sequence[Cue], start_s: float, end_s: float) -> str:
    """Return the cues of a time interval, one per line, without the repeated lines of rolling captions."""
    lines: list[str] = []
    for cue in cues:
        if cue.start_s < end_s and cue.end_s > start_s and cue.text not in lines[-1:]:
            lines.append(cue.text)
    return fit_text("\n".join(lines))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")
