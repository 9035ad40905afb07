"""Index a folder of 400 damaged and malicious files between good ones, and account for every file: exit 1 on a fault.

    python benchmarks/reliability/hostile_media.py --seed 20261129

Every good file must be indexed, and every other one must be indexed, failed or skipped by name: nothing may be lost
without a word, and the run must end in time. The table counts the files by kind, with the time and the peak memory of
all processes of the run.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

_POLL_S = 0.2
_CHANGES = ("cut", "flip", "suffix")
_RUN = """
import json, sys
from florence_rag import FlorenceRAG
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder

embedder = ColorEmbedder()
with FlorenceRAG(MilvusIndex.open(sys.argv[1], embedder.info), embedder) as rag:
    report = rag.add(*sys.argv[2:])
    failed = {each.source: each.reason for each in report.failed}
    skipped = {each.source: each.reason for each in report.skipped}
    print(json.dumps([sorted(rag.index.sources()), failed, skipped]))
"""


def _picture(number: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def _image(form: str, number: int = 7, **options: object) -> bytes:
    file = BytesIO()
    _picture(number).save(file, form, **options)
    return file.getvalue()


def _animation(form: str) -> bytes:
    return _image(form, save_all=True, append_images=[_picture(number) for number in range(4)])


def _video(form: str, codec: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(24):
            container.mux(stream.encode(av.VideoFrame.from_image(_picture(number // 8))))
        container.mux(stream.encode())
    return file.getvalue()


def _pdf(content: bytes, objects: tuple[bytes, ...] = (), page: bytes = b"", kids: bytes = b"[3 0 R]") -> bytes:
    """Return a PDF of one page; further objects begin with number 5."""
    all_objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 1/Kids" + kids + b">>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R" + page + b">>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        *objects,
    )
    body, starts = b"%PDF-1.7\n", []
    for number, each in enumerate(all_objects, start=1):
        starts.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(starts) + 1)
    return b"%s%s%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        body,
        head,
        table,
        len(starts) + 1,
        len(body),
    )


def _zip(members: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _docx(body: str) -> bytes:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return _zip(
        {
            "[Content_Types].xml": b"<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
            "_rels/.rels": f"<Relationships xmlns='{package}'><Relationship Id='a' Type='{kind}' "
            "Target='word/document.xml'/></Relationships>".encode(),
            "word/document.xml": f"<w:document xmlns:w='{word}'><w:body>{body}</w:body></w:document>".encode(),
        }
    )


def _tar(members: dict[str, bytes]) -> bytes:
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return file.getvalue()


def _parquet(cells: list[bytes], repeat: int = 1) -> bytes:
    file = BytesIO()
    indices = pa.array([number for number in range(len(cells)) for _ in range(repeat)], pa.int32())
    table = pa.table({"image": pa.DictionaryArray.from_arrays(indices, pa.array(cells, pa.binary()))})
    pq.write_table(table, file, compression="zstd", store_schema=False)
    return file.getvalue()


_PARAGRAPH = "<w:p><w:r><w:t>A bridge over the harbour</w:t></w:r></w:p>"


def good_files() -> dict[str, bytes]:
    """Return a good file of each format, by its suffix."""
    return {
        ".jpg": _image("JPEG"),
        ".png": _image("PNG"),
        ".gif": _animation("GIF"),
        ".webp": _animation("WEBP"),
        ".tif": _image("TIFF", compression="tiff_lzw"),
        ".bmp": _image("BMP"),
        ".avif": _image("AVIF"),
        ".mp4": _video("mp4", "mpeg4"),
        ".mkv": _video("matroska", "mpeg4"),
        ".avi": _video("avi", "mpeg4"),
        ".mpg": _video("mpeg", "mpeg2video"),
        ".pdf": _pdf(b"0.5 g 20 20 100 100 re f"),
        ".docx": _docx(_PARAGRAPH),
        ".html": b"<html><body><p>Words on a bridge</p></body></html>",
        ".txt": b"A good text on bridges and harbours.\n",
        ".md": b"# Bridges\n\nA text.\n",
        ".tar": _tar({"a.png": _image("PNG"), "a.json": b'{"city": "Rome"}', "b.png": _image("PNG", 8)}),
        ".parquet": _parquet([_image("PNG", 1), _image("PNG", 2)]),
    }


def damaged(good: dict[str, bytes], random: Random) -> Iterator[tuple[str, bytes]]:
    """Yield truncated files, files with flipped bits, and files with the suffix of another format."""
    for suffix, data in good.items():
        for number in range(7):
            yield (
                f"cut{number}{suffix}",
                data[: (0, 3, 12, 40)[number] if number < 4 else random.randrange(len(data))],
            )
        for number in range(8):
            flipped = bytearray(data)
            reach = len(data) if number % 2 else min(len(data), 200)
            for _ in range(random.choice((1, 3, 20))):
                flipped[random.randrange(reach)] ^= 1 << random.randrange(8)
            yield f"flip{number}{suffix}", bytes(flipped)
        for number, other in enumerate(random.sample(sorted(good.keys() - {suffix}), 5)):
            yield f"suffix{number}{other[1:]}{suffix}", data


def _png(width: int, height: int, bits: int = 8, rows: int | None = None, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + width * bits // 8) if width < 100_000 else b""
    data = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000), 9)) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + text + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _large(form: str, side: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side, side)).save(file, form, quality=10)
    return file.getvalue()


def _gif(width: int, height: int, frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + (b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00") * frames + b"\x3b"


def _tiff(width: int, height: int, next_page: int = 0) -> bytes:
    tags = ((256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, height), (279, 256))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", next_page) + bytes(400)


def bombs(good: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield small files that claim, unpack to, or loop over very much."""
    yield "pixels.png", _png(40_000, 40_000, 1)
    yield "claims.png", _png(2**31 - 1, 2**31 - 1, rows=9)
    yield "thin.png", _png(1, 200_000)
    yield "text.png", _png(10, 10, extra=b"\0\0\0\0tEXt\xa2\xfd\x16\xa3" * 50_000)
    yield "frames.gif", _gif(16, 16, 200_000)
    yield "screen.gif", _gif(65_535, 65_535, 1)
    yield "claims.tif", _tiff(7_000, 7_000)
    yield "loop.tif", _tiff(16, 16, 8)
    yield "pixels.jpg", _large("JPEG", 12_000)
    yield "pixels.webp", _large("WEBP", 8_000)
    video = good[".mp4"]
    for atom, offset, value in (
        (b"mvhd", 20, 0xFFFFFFFF),
        (b"mdhd", 20, 0xFFFFFFFF),
        (b"stts", 12, 0x7FFFFFFF),
        (b"stts", 16, 0x7FFFFFF0),
        (b"stsz", 12, 0x0FFFFFFF),
        (b"tkhd", 80, 30_000 << 16),
    ):
        at = video.find(atom) + offset
        yield f"{atom.decode()}{offset}.mp4", video[:at] + struct.pack(">I", value) + video[at + 4 :]
    yield "playlist.mp4", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"
    yield "concat.mkv", b"ffconcat version 1.0\nfile /etc/passwd\n"
    nested = tuple(
        b"<</Type/XObject/Subtype/Form/BBox[0 0 200 200]/Resources<</XObject<</F %d 0 R>>>>/Length 11>>stream\n"
        b"/F Do /F Do\nendstream" % (6 + number)
        for number in range(24)
    )
    yield "forms.pdf", _pdf(b"/F Do", nested, b"/Resources<</XObject<</F 5 0 R>>>>")
    tile = (
        b"<</Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 .01 .01]/XStep .001/YStep .001"
        b"/Resources<<>>/Length 12>>stream\n0 0 1 1 re f\nendstream"
    )
    yield "tiles.pdf", _pdf(b"/Pattern cs /P scn 0 0 200 200 re f", (tile,), b"/Resources<</Pattern<</P 5 0 R>>>>")
    yield "pages.pdf", _pdf(b"", kids=b"[" + b"3 0 R " * 20_000 + b"]")
    yield "kids.pdf", _pdf(b"", kids=b"[2 0 R 2 0 R 3 0 R]")
    yield "brackets.pdf", _pdf(b"[" * 100_000)
    yield "text.docx", _docx(_PARAGRAPH * 500_000)
    yield "deep.docx", _docx("<w:p>" * 100_000)
    yield "entities.docx", _docx("&a;").replace(b"<w:document", b"<!DOCTYPE a [<!ENTITY a 'aaa'>]><w:document")
    yield "members.epub", _zip({f"{number}.xhtml": b"" for number in range(21_000)})
    yield "zeros.odt", _zip({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": bytes(300_000_000)})
    for name, unit in (
        ("div.html", b"<div>"),
        ("comment.html", b"<!--a"),
        ("attributes.html", b"<a b='"),
        ("decl.html", b"<!"),
        ("brackets.md", b"["),
        ("fences.md", b"```\n"),
        ("quotes.md", b">"),
        ("nul.txt", b"\0"),
        ("accents.txt", "\u0301".encode()),
        ("bytes.txt", bytes(range(128, 256))),
        ("spaces.txt", b" \n"),
    ):
        yield name, unit * (1_000_000 // len(unit))
    yield "equal.parquet", _parquet([bytes(1_000_000)], 3_000)
    yield "cells.parquet", _parquet([bytes(100_000_000)], 64)
    png = good[".png"]
    sidecars = {"deep": b"[" * 200_000, "digits": b"9" * 100_000, "twice": b'{"a": 1, "a": 2}', "odd": b'{"a": NaN}'}
    for name, sidecar in sidecars.items():
        yield f"{name}.tar", _tar({"good_a.png": png, f"x{name}.png": png, f"x{name}.json": sidecar, "good_b.png": png})
    yield "names.tar", _tar({"../../etc/good_x.png": png, "/good_y.png": png, "good\n.png": png, "a\udcff.png": png})
    negative = bytearray(good[".tar"])
    negative[124:136] = b"\xff" * 12
    yield "negative.tar", bytes(negative)
    yield "subtitles.srt", b"1\n00:00:01,000 --> 99:59:59,000\nword\n\n" * 50_000
    yield "subtitles.mp4", good[".mp4"]
    yield "times.vtt", b"WEBVTT\n\n" + b"0" * 1_000_000 + b" --> " + b"9" * 1_000_000
    yield "times.mp4", good[".mp4"]


def _odd_names(good: dict[str, bytes]) -> Iterator[tuple[bytes, bytes]]:
    for name in (
        b"bad\xff\xfe",
        b"new\nline",
        b"esc\x1b[31m",
        b"quote'\"\\",
        b"%s%n",
        b"-rf",
        "\u202egpj.exe".encode(),
    ):
        yield name + b".jpg", good[".jpg"]
    yield b"n" * 251 + b".jpg", good[".jpg"]
    yield b"<img src=x onerror=alert(1)>.png", good[".png"]


def _no_files(folder: Path) -> None:
    """Make what is no file: pipes, sockets, devices behind links, and links that lead round."""
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.txt")
    (folder / "folder.jpg").mkdir()
    links = {"loop.png": "loop.png", "gone.jpg": "/none/x.jpg", "zero.jpg": "/dev/zero", "random.mp4": "/dev/urandom"}
    for name, target in {**links, "up": "..", "self": ".", "environment.txt": "/proc/self/environ"}.items():
        (folder / name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as opened:
        before = Path.cwd()
        os.chdir(folder)  # the name of a socket may have only 108 bytes
        opened.bind("socket.png")
        os.chdir(before)


def write_files(folder: Path, seed: int, every: int = 1) -> list[str]:
    """Write all files, and return the containers, which an index run takes only by name."""
    good = good_files()
    for suffix, data in good.items():
        for number in range(3):
            (folder / f"good{number}{suffix}").write_bytes(data)
    for name, data in islice((*damaged(good, Random(seed)), *bombs(good)), 0, None, every):
        (folder / name).write_bytes(data)
    for raw, data in _odd_names(good):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + raw)).write_bytes(data)
    _no_files(folder)
    return [str(path) for path in sorted(folder.iterdir()) if path.suffix in (".tar", ".parquet")]


class Peak(threading.Thread):
    """Measures the largest memory of a process and its descendants."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self.mb, self._ended = pid, 0.0, threading.Event()

    def run(self) -> None:
        """Measure until `stop` is called."""
        while not self._ended.wait(_POLL_S):
            self.mb = max(self.mb, sum(map(_resident_mb, _tree(self._pid))))

    def stop(self) -> float:
        """Return the peak in MB."""
        self._ended.set()
        self.join()
        return self.mb


def _tree(pid: int) -> list[int]:
    try:
        children = [
            int(each)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for each in (task / "children").read_text().split()
        ]
    except OSError:
        children = []
    return [pid, *(each for child in children for each in _tree(child))]


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, IndexError):
        return 0.0


class Outcome(NamedTuple):
    """The uris that are indexed, the reasons why others are not, and what the run needed."""

    indexed: list[str]
    failed: dict[str, str]
    skipped: dict[str, str]
    seconds: float
    peak_mb: float

    def of(self, path: str) -> str:
        """Return what became of a file; "lost" if the report does not name it."""
        names = {path, path.encode("utf-8", "backslashreplace").decode()}
        members = (f"tar:{path}#", f"parquet:{path}#")
        if names & self.failed.keys():
            return "failed"
        if names & set(self.indexed) or any(each.startswith(members) for each in self.indexed):
            return "indexed"
        return "skipped" if names & self.skipped.keys() else "lost"


def run(folder: Path, containers: list[str], db: Path, limit_s: float) -> Outcome:
    """Index the folder and the containers in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-c", _RUN, str(db), str(folder), *containers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        peak = Peak(process.pid)
        peak.start()
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            sys.exit(f"FAULT: the run has not ended after {limit_s:g} s")
    if process.returncode:
        sys.exit(f"FAULT: the run ended with exit code {process.returncode}")
    indexed, failed, skipped = json.loads(output.splitlines()[-1])
    return Outcome(indexed, failed, skipped, time.monotonic() - started, peak.stop())


def main(
    seed: Annotated[int, typer.Option(help="Determines the damage.")] = 20261129,
    limit_s: Annotated[float, typer.Option(help="The time in which the run must end.")] = 900.0,
    every: Annotated[int, typer.Option(help="Write only one of so many damaged files.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where to write the counts.")] = None,
    keep: Annotated[Path | None, typer.Option(help="An empty folder for the files, which are kept.")] = None,
) -> None:
    """Write the files, index them in one run, and print the table."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary, "media")
        folder.mkdir(exist_ok=True)
        containers = write_files(folder.resolve(), seed, every)
        found = [str(path) for path in sorted(folder.resolve().iterdir()) if not path.is_dir()]
        outcome = run(folder, containers, Path(temporary, "media.db"), limit_s)
    outcomes = {path: outcome.of(path) for path in found}
    faults = [f"{path!r} is lost" for path, outcome in outcomes.items() if outcome == "lost"]
    good = [uri for uri in outcomes if os.path.basename(uri).startswith("good")]
    faults += [f"{path!r} is not indexed but {outcomes[path]}" for path in good if outcomes[path] != "indexed"]
    print("| files | indexed | failed | skipped |\n|---|---|---|---|")
    for kind in ("good", *_CHANGES, "other"):
        counts = Counter(outcome for path, outcome in outcomes.items() if _kind_of(path) == kind)
        print(f"| {kind} | {counts['indexed']} | {counts['failed']} | {counts['skipped']} |")
    print(f"\n{len(outcomes)} files, {outcome.seconds:.0f} s, peak memory of all processes {outcome.peak_mb:,.0f} MB")
    for fault in faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    if json_file is not None:
        line = {"line": "hostile media", "tried": len(outcomes), "survived": len(outcomes) - len(faults)}
        json_file.write_text(json.dumps([line]))
    raise typer.Exit(int(bool(faults)))


def _kind_of(path: str) -> str:
    return next((kind for kind in ("good", *_CHANGES) if os.path.basename(path).startswith(kind)), "other")


if __name__ == "__main__":
    typer.run(main)
