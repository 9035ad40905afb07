"""Small synthetic media: images, videos, sound and PDFs, whole or broken."""

import hashlib
import io
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pillow_heif
from av.stream import Disposition
from PIL import Image, ImageDraw

from florence_rag.types import Media, Source

SHARED = Path(__file__).parents[2].parent / "shared" / "media"
RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 200, 40), (30, 40, 220), (255, 255, 255)


def source(path: Path, media: Media) -> Source:
    return Source(str(path), media, path.stat().st_size, 0, "0" * 32)


def scene(seed: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Return a synthetic image; each seed gives clearly different colors."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = rng.integers(0, width * 3 // 4), rng.integers(0, height * 3 // 4)
        box = (left, top, left + rng.integers(8, width // 3), top + rng.integers(8, height // 3))
        draw.rectangle([int(edge) for edge in box], fill=tuple(rng.integers(0, 256, 3)))
    return np.asarray(image)


def encode(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    if form == "HEIF":
        pillow_heif.from_pillow(image).save(file, **options)
    else:
        image.save(file, form, **options)
    return file.getvalue()


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: int = 10,
    codec: str = "libx264",
    times_s: Sequence[float] | None = None,
    sound: bool = False,
    rotation: int = 0,
    tags: dict[str, str] | None = None,
    every: int | None = None,
) -> Path:
    """Write a video of frames at a constant rate, or at times_s. rotation: counterclockwise, in degrees.

    every: the number of frames from one key frame to the next.
    """
    with av.open(str(path), "w") as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt = "yuv420p"
        if every:
            stream.codec_context.gop_size = every
            stream.options = {"sc_threshold": "0"} if codec == "libx264" else {}
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000 if times_s else rate)
        if rotation:
            stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=16000) if sound else None
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = round(times_s[number] * 1000) if times_s else number
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio:
            _mux_silence(container, audio)
    return path


def write_sound(path: Path, *, cover: bool = False) -> Path:
    """Write sound without images, or with a cover image."""
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000)
        if cover:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
            stream.disposition = Disposition.attached_pic
            frame = av.VideoFrame.from_ndarray(scene(1), format="rgb24")
            frame.pts = 0
            container.mux([*stream.encode(frame), *stream.encode(None)])
        _mux_silence(container, audio)
    return path


def _mux_silence(container: av.container.OutputContainer, stream: av.AudioStream) -> None:
    for number in range(16):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, number * 1024
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def shots(*lengths_s: float, rate: int = 10, size: tuple[int, int] = (160, 120)) -> list[np.ndarray]:
    """Return frames of shots of these lengths, each of its own scene, with a small moving square."""
    frames = []
    for seed, length_s in enumerate(lengths_s):
        for number in range(round(length_s * rate)):
            frame = scene(seed, *size).copy()
            frame[4:12, (number * 2) % 100 : (number * 2) % 100 + 8] = 255
            frames.append(frame)
    return frames


def make_pdf(pages: Sequence[str], *, title: str = "", password: str = "", size: tuple[int, int] = (300, 400)) -> bytes:
    """Return a PDF with one line of text per page, encrypted with 40-bit RC4 (PDF 1.3) if it has a password."""
    key = _pdf_key(password) if password else b""
    texts = [f"BT /F1 24 Tf 20 300 Td ({text}) Tj ET".encode("latin-1") for text in pages]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(texts):
        stream = _rc4(_pdf_object_key(key, 5 + 2 * i), text) if key else text
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]} {size[1]}] /Contents {5 + 2 * i} 0 R "
            f"/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream")
    trailer = f"/Size {len(objects) + 3} /Root 1 0 R"
    objects.append(f"<< /Title ({title}) >>".encode())
    trailer += f" /Info {len(objects)} 0 R"
    if key:
        objects.append(
            f"<< /Filter /Standard /V 1 /R 2 /P -4 /O <{_OWNER.hex()}> /U <{_rc4(key, _PADDING).hex()}> >>".encode()
        )
        trailer += f" /Encrypt {len(objects)} 0 R /ID [<{_FILE_ID.hex()}> <{_FILE_ID.hex()}>]"
    return _pdf_file(objects, trailer)


_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_OWNER, _FILE_ID = bytes(range(32)), bytes(range(16))


def _pdf_file(objects: Sequence[bytes], trailer: str) -> bytes:
    out, offsets = b"%PDF-1.3\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    xref = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< {trailer} >>\n"
    return out + xref.encode() + f"startxref\n{len(out)}\n%%EOF".encode()


def _pdf_key(password: str) -> bytes:
    padded = (password.encode() + _PADDING)[:32]
    return hashlib.md5(padded + _OWNER + struct.pack("<i", -4) + _FILE_ID).digest()[:5]


def _pdf_object_key(key: bytes, number: int) -> bytes:
    return hashlib.md5(key + struct.pack("<I", number)[:3] + b"\0\0").digest()[:10]


def _rc4(key: bytes, data: bytes) -> bytes:
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    i, j, out = 0, 0, bytearray()
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)


def pdf_page(
    content: bytes,
    *objects: bytes,
    entries: str = "",
    resources: str = "",
    page: str = "",
    catalog: str = "",
    size: str = "0 0 400 500",
) -> bytes:
    """Return a PDF of one page with Helvetica as /F1. The further objects are numbered from 6."""
    first = [
        f"<< /Type /Catalog /Pages 2 0 R {catalog} >>".encode(),
        b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{size}] /Contents 4 0 R {page} "
        f"/Resources << /Font << /F1 5 0 R >> {resources} >> >>".encode(),
        pdf_stream(entries, content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    return _pdf_file([*first, *objects], f"/Size {len(objects) + 6} /Root 1 0 R")


def pdf_with_attachment() -> bytes:
    """Return a PDF of one page, to which a file is attached that is not read."""
    note = "/Annots [<< /Type /Annot /Subtype /FileAttachment /Rect [0 0 9 9] /Contents (the figures) >>]"
    return pdf_page(b"", page=note)


def pdf_stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def pdf_image(image: Image.Image) -> bytes:
    """Return an image as an object of a PDF."""
    entries = "/Type /XObject /Subtype /Image /ColorSpace /DeviceGray /BitsPerComponent 8"
    return pdf_stream(f"{entries} /Width {image.width} /Height {image.height}", image.convert("L").tobytes())
