"""Parses subtitles: SubRip, WebVTT, SubViewer, SubStation Alpha, MicroDVD, MPL2, SAMI and TTML.

pysubs2 drops or merges cues of the formats that this module parses itself, as docs/log.md describes.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isinf
from xml.etree import ElementTree

from pysubs2 import SSAFile

UNKNOWN_LENGTH_S = 10.0
"""How long a cue without an end is shown."""

_ROLL_GAP_S = 0.1  # rolling captions follow each other without a longer pause
_HEAD_CHARS = 4096
_BLANK = r"[^\S\n]*"
_TIME = r"(-?)(?:(\d{1,3})_:_)?(\d{1,3})_:_(\d{1,2})(?:_[.,:;]_(\d{1,9}))?".replace("_", r"[^\S\n]?")
_TIMING = re.compile(
    rf"^{_BLANK}\[?{_TIME}{_BLANK}(?:[-\u2013\u2014]{{1,3}} ?>|\u2192|,(?=\d+:\d+:\d+\.\d)){_BLANK}{_TIME}\]?"
    rf"(?:[^\S\n]+\w+:\S+)*(?:{_BLANK}$|[^\S\n])",
    re.MULTILINE,
)
_IDENTIFIER = re.compile(r"\n[^\S\n]*\n[^\n]+\n\Z")
_VTT_BLOCK = re.compile(r"(?<=\n\n)(?:NOTE|STYLE|REGION)(?:[^\S\n][^\n]*)?(?:\n[^\n]+)*")
_MARKUP = re.compile(r"</?[a-zA-Z][^<>\n]{0,200}>|<\d[\d:.]{0,20}>|\{\\[^{}\n]{0,200}\}|\{[a-zA-Z]:[^{}\n]{0,200}\}")
_DRAWING = re.compile(r"\{[^{}\n]{0,200}\\p[1-9]")
_LINE_BREAK = re.compile(r"<br\s*/?>|\[br\]|\\N|\n", re.IGNORECASE)
_INVISIBLE = re.compile("[\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_MICRODVD_OPEN = re.compile(r"^(\{(\d+)\})\{\}", re.MULTILINE)  # without an end
_CLOCK_TIME = re.compile(_TIME)
_BRACES = re.compile(r"\{[^{}\n]*\}")
_SUBSTATION_FIELDS = "layer start end style name marginl marginr marginv effect text".split()
_SYNC = re.compile(r"<sync\s[^<>]{0,200}?start\s*=\s*[\"']?(\d+)[^<>]{0,200}>", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)(?::(\d+(?:\.\d+)?))?")
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)")

Shown = tuple[float, float, str]
"""The start and end in seconds, and the text with its lines and markup."""


@dataclass(frozen=True, slots=True)
class Cue:
    """The text that is spoken or shown from start_s to end_s. The language is written as in BCP 47; "" if unknown."""

    start_s: float
    end_s: float
    text: str
    language: str = ""


def parse_transcript(text: str, frame_rate: float = 25.0) -> tuple[Cue, ...]:
    """Return the cues of subtitles without formatting, in order of time; none of a text without times.

    Args:
        text: The content of the file. The format is recognized by it.
        frame_rate: The frames per second of the video, by which MicroDVD counts.

    Raises:
        ValueError, SyntaxError: If the text is damaged.
    """
    head = text[:_HEAD_CHARS]
    parse = next((parse for mark, parse in _PARSERS.items() if re.search(mark, head, re.MULTILINE)), _parse_timings)
    return unroll(parse(text, frame_rate))


def unroll(shown: Iterable[Shown]) -> tuple[Cue, ...]:
    """Return the cues in order of time, each line once: rolling captions show a line again while the next is spoken."""
    cues: list[Cue] = []
    before: list[str] = []
    for first_s, second_s, text in sorted(shown, key=lambda each: min(each[:2])):
        start_s, end_s = sorted((first_s, second_s))
        end_s = end_s and max(end_s, start_s + 0.01)  # the words of a cue without length were said, too
        lines = _plain_lines(text)
        if not lines or end_s == 0:  # such as a cue before the start
            continue
        is_next = bool(cues) and start_s - cues[-1].end_s <= _ROLL_GAP_S
        repeated = _repeated_lines(before, lines) if is_next else 0
        grown = "" if repeated or not is_next else _grown_by(before, " ".join(lines))
        if grown or repeated == len(lines):
            cues[-1] = replace(cues[-1], end_s=max(end_s, cues[-1].end_s), text=cues[-1].text + grown)
        else:
            cues.append(Cue(start_s, end_s, " ".join(lines[repeated:])))
        before = lines
    return tuple(cues)


def _repeated_lines(before: list[str], lines: list[str]) -> int:
    """Return how many of the first lines are the last lines of the previous cue."""
    longest = min(len(before), len(lines))
    return next((count for count in range(longest, 0, -1) if before[-count:] == lines[:count]), 0)


def _grown_by(before: list[str], text: str) -> str:
    """Return what follows the last lines of the previous cue, if the text begins with them: live captions grow."""
    for count in range(len(before), 0, -1):
        tail = text.removeprefix(" ".join(before[-count:]))
        if tail != text and (tail[:1] == " " or tail[:1] > "\x7f"):  # scripts with spaces grow by words
            return tail
    return ""


def _plain_lines(text: str) -> list[str]:
    if _DRAWING.search(text):
        return []
    plain = html.unescape(_MARKUP.sub("", _LINE_BREAK.sub("\n", text.replace(r"\h", " "))))
    lines = (" ".join(line.split()) for line in _INVISIBLE.sub("", plain).split("\n"))
    return [line for line in lines if line]


def _parse_timings(text: str, _: float) -> Iterator[Shown]:
    """Parse SubRip, WebVTT and SubViewer, whose cues begin with a line of two times, in the variants in use."""
    is_vtt = text.lstrip().startswith("WEBVTT")
    text = _VTT_BLOCK.sub("", text) if is_vtt else text
    timings = list(_TIMING.finditer(text))
    is_numbered = bool(timings) and "".join(text[: timings[0].start()].split()[-1:]).isdigit()
    ends = [timing.start() for timing in timings[1:]] + [len(text)]
    for timing, end in zip(timings, ends, strict=False):
        block = text[timing.end() : end]
        if is_vtt and end < len(text):
            block = _IDENTIFIER.sub("", block)
        if is_numbered and end < len(text):
            block = _without_number(block)
        yield _clock_s(*timing.groups()[:5]), _clock_s(*timing.groups()[5:]), block


def _without_number(block: str) -> str:
    """Return the text of a cue without the number of the next one."""
    text, _, last = block.rstrip().rpartition("\n")
    return text if last.strip().isdigit() else block


def _clock_s(sign: str, hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    if sign:
        return 0.0
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")


def _parse_substation(text: str, frame_rate: float) -> Iterator[Shown]:
    """Parse SubStation Alpha, whose Format line names the fields of its lines."""
    fields = _SUBSTATION_FIELDS
    for line in text.split("\n"):
        kind, _, values = line.partition(":")
        if kind.lower() == "format" and "text" in (names := values.lower().replace(" ", "").split(",")):
            fields = names
        elif kind.lower() == "dialogue":
            event = dict(zip(fields, values.split(",", len(fields) - 1), strict=False))
            start, end = (_CLOCK_TIME.fullmatch(event.get(name, "").strip()) for name in ("start", "end"))
            if start and end:
                body = event.get("text", "")
                body = body if _DRAWING.search(body) else _BRACES.sub("", body)
                yield _clock_s(*start.groups()), _clock_s(*end.groups()), body


def _parse_microdvd(text: str, frame_rate: float) -> Iterator[Shown]:
    if declared := re.match(r"\s*\{[01]\}\{[01]\}\s*(\d+(?:\.\d+)?)\s*\n", text.replace(",", ".", 1)):
        text, frame_rate = text[declared.end() :], float(declared[1])
    text = _MICRODVD_OPEN.sub(r"\1{\2}", text)
    return _parse_with_pysubs2(text, "microdvd", frame_rate)


def _parse_mpl2(text: str, _: float) -> Iterator[Shown]:
    return _parse_with_pysubs2(text, "mpl2")


def _parse_with_pysubs2(text: str, form: str, frame_rate: float | None = None) -> Iterator[Shown]:
    for event in SSAFile.from_string(text, form, fps=frame_rate).get_text_events():
        yield event.start / 1000, event.end / 1000, event.plaintext


def _parse_sami(text: str, _: float) -> Iterator[Shown]:
    """Parse SAMI, which tells starts only: a text is shown until the next, in several languages with equal starts."""
    parts = _SYNC.split(text)[1:]
    shown = [(int(start) / 1000, body) for start, body in zip(parts[::2], parts[1::2], strict=True)]
    starts = sorted({start_s for start_s, body in shown})
    ends = dict(zip(starts, [*starts[1:], float("inf")], strict=False))
    for start_s, body in shown:
        yield start_s, min(ends[start_s], start_s + UNKNOWN_LENGTH_S), body.replace("\n", " ")


def _parse_ttml(text: str, _: float) -> Iterator[Shown]:
    root = ElementTree.fromstring(text)
    attributes = _local(root)
    multiplier = attributes.get("frameRateMultiplier", "1 1").replace(":", " ").split()
    frame_hz = float(attributes.get("frameRate", 30)) * float(multiplier[0]) / float(multiplier[-1])
    units = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "f": 1 / frame_hz}
    units["t"] = 1 / float(attributes.get("tickRate", frame_hz if "frameRate" in attributes else 1))
    return _ttml_cues(root, 0.0, float("inf"), units)


def _ttml_cues(
    element: ElementTree.Element, start_s: float, end_s: float, units: Mapping[str, float]
) -> Iterator[Shown]:
    """Yield the paragraphs, or their parts with times of their own. The times of an element count from its parent's."""
    attributes = _local(element)
    if "end" in attributes:
        end_s = start_s + _ttml_s(attributes["end"], units)
    start_s += _ttml_s(attributes.get("begin", "0s"), units)
    if "dur" in attributes:
        end_s = start_s + _ttml_s(attributes["dur"], units)
    has_timed_parts = any("begin" in _local(each) for each in element.iter() if each is not element)
    if _name(element.tag) in ("p", "span") and not has_timed_parts:
        yield start_s, start_s + UNKNOWN_LENGTH_S if isinf(end_s) else end_s, _ttml_text(element)
    else:
        for child in element:
            yield from _ttml_cues(child, start_s, end_s, units)


def _ttml_s(value: str, units: Mapping[str, float]) -> float:
    if clock := _CLOCK.fullmatch(value.strip()):
        hours, minutes, seconds, frames = (float(part or 0) for part in clock.groups())
        return hours * 3600 + minutes * 60 + seconds + frames * units["f"]
    if offset := _OFFSET.fullmatch(value.strip()):
        return float(offset[1]) * units[offset[2]]
    raise ValueError(f"has the time {value!r}")


def _ttml_text(element: ElementTree.Element) -> str:
    parts = [" ".join((element.text or "").split("\n"))]
    for child in element:
        inner = "\n" if _name(child.tag) == "br" else _ttml_text(child)
        parts += [inner, " ".join((child.tail or "").split("\n"))]
    return "".join(parts)


def _local(element: ElementTree.Element) -> dict[str, str]:
    """Return the attributes without their namespaces, which differ between versions of TTML."""
    return {_name(key): value for key, value in element.items()}


def _name(tag: str) -> str:
    return str(tag).rpartition("}")[2]


_PARSERS: Mapping[str, Callable[[str, float], Iterator[Shown]]] = {
    r"(?i)^\s*\[Script Info\]|^Dialogue:": _parse_substation,
    r"<(?:\w+:)?tt[\s>]": _parse_ttml,
    r"(?i)<sami": _parse_sami,
    r"^\s*\{\d+\}\{\d*\}": _parse_microdvd,
    r"^\s*\[\d+\]\[\d+\]": _parse_mpl2,
}
"""The parsers by what the beginning of their format matches."""
