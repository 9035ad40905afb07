"""Subtitle files (SubRip and WebVTT) as text on the time line of their video."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from florence_rag.chunking.config import fit_text
from florence_rag.chunking.text import decode_text, read_bytes

SUFFIXES = (".srt", ".vtt")

_TIMING = re.compile(
    r"^[^\S\n]*(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})[^\S\n]*-->[^\S\n]*"
    r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})[^\n]*$",
    re.MULTILINE,
)
_BLANK_LINE = re.compile(r"\n\s*\n")
_MARKUP = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,200}\}")


@dataclass(frozen=True, slots=True)
class Cue:
    """Words that are said or shown from start_s to end_s."""

    start_s: float
    end_s: float
    text: str


def read_transcript(video: str) -> tuple[Cue, ...]:
    """The cues of the .srt or .vtt file beside a video, in order of time; empty where there is none."""
    for suffix in SUFFIXES:
        path = Path(video).with_suffix(suffix)
        if path.is_file():
            return parse_transcript(decode_text(read_bytes(str(path)), str(path)))
    return ()


def parse_transcript(text: str) -> tuple[Cue, ...]:
    """Cues without formatting; what is no cue (numbers, headers, notes, styles) is passed over."""
    timings = list(_TIMING.finditer(text))
    ends = [timing.start() for timing in timings[1:]] + [len(text)]
    cues = []
    for timing, end in zip(timings, ends, strict=False):
        block = _BLANK_LINE.split(text[timing.end() : end], maxsplit=1)[0]
        words = " ".join(html.unescape(_MARKUP.sub("", block)).split())
        start_s, end_s = _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:])
        if words and end_s > start_s:
            cues.append(Cue(start_s, end_s, words))
    return tuple(sorted(cues, key=lambda cue: cue.start_s))


def transcript_between(cues: Sequence[Cue], start_s: float, end_s: float) -> str:
    """What is said while the clip runs, one cue per line. Rolling captions repeat themselves: said once is enough."""
    lines: list[str] = []
    for cue in cues:
        if cue.start_s < end_s and cue.end_s > start_s and cue.text not in lines[-1:]:
            lines.append(cue.text)
    return fit_text("\n".join(lines))


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")
