"""What people really do to a program: each mistake is one line that says what to do, with real Milvus and media."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.types import EmbedderInfo
from tests.cli.stand_ins import use_color_models


@pytest.fixture(autouse=True)
def doubles(monkeypatch) -> None:
    """Real Milvus Lite and real media; colors for models."""
    use_color_models(monkeypatch)


def save_audio(path: Path) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def save_bomb(path: Path, side: int = 20_000) -> None:
    """A image of 400 megapixels in 50 kilobytes."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 1)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def save_encrypted_pdf(path: Path) -> None:
    """The smallest PDF with a standard security handler and a password that nobody knows."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>",
        b"<< /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (b"41" * 32, b"42" * 32),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"<< /Size 5 /Root 1 0 R /Encrypt 4 0 R /ID [<%s> <%s>] >>" % (b"43" * 16, b"43" * 16)
    path.write_bytes(out + table + b"trailer\n" + trailer + b"\nstartxref\n%d\n%%%%EOF\n" % len(out))


def save_truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:3000])


BAD_FILES = {
    "text.jpg": lambda path: path.write_text("these are words"),
    "truncated.jpg": save_truncated,
    "empty.jpg": lambda path: path.write_bytes(b""),
    "bomb.png": save_bomb,
    "audio.mp4": save_audio,
    "secret.pdf": save_encrypted_pdf,
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """All bad files, and one good."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, save in BAD_FILES.items():
        save(folder / name)
    Image.fromarray(color_frame("red")).save(folder / "good.png")
    return folder


def test_bad_files_are_reported_and_the_good_are_indexed(run, folder, tmp_path):
    db = tmp_path / "photos.db"
    outcome = run("index", folder, "--db", db, "--json")
    assert outcome.code == 0
    assert outcome.json["added"] == 1
    reasons = {Path(failure["source"]).name: failure["reason"] for failure in outcome.json["failed"]}
    assert reasons.keys() == BAD_FILES.keys()
    assert all("\n" not in reason and len(reason) < 300 for reason in reasons.values())
    assert "Traceback" not in outcome.err

    again = run("index", folder, "--db", db)
    assert again.code == 0
    assert again.out.splitlines()[-1] == "0 added, 0 updated, 1 unchanged, 0 removed, 6 failed"

    info = run("info", "--db", db, "--json").json
    assert {Path(failure["source"]).name for failure in info["failed"]} == BAD_FILES.keys()
    assert info["embedder"]["name"] == "colors"
    assert "1 indexed, 6 failed" in run("info", "--db", db).out


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_alone_fails_the_run(run, folder, tmp_path, name):
    outcome = run("index", folder / name, "--db", tmp_path / "photos.db")
    assert outcome.code == 1
    assert name in outcome.out
    assert outcome.err.startswith("Error: ")


@pytest.mark.parametrize("command", [["search", "red"], ["ask", "What is red?"], ["info"]], ids=lambda value: value[0])
def test_a_missing_database_is_not_created(run, tmp_path, command):
    db = tmp_path / "none.db"
    outcome = run(*command, "--db", db)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "none.db" in outcome.err
    assert not db.exists()


def test_a_missing_database_is_reported_before_a_missing_model(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    outcome = run("search", "red", "--offline", "--db", tmp_path / "none.db")
    assert outcome.err.startswith("Error: there is no database at")


def test_a_missing_path_is_reported_before_a_missing_model(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    db = tmp_path / "photos.db"
    outcome = run("index", tmp_path / "pohtos", "--offline", "--db", db)
    assert (outcome.code, outcome.out) == (1, "")
    assert "pohtos' does not exist" in outcome.err
    assert not db.exists()


def test_another_known_model_is_reported_before_a_missing_model(run, folder, tmp_path, monkeypatch):
    db = tmp_path / "photos.db"
    monkeypatch.setattr(ColorEmbedder, "info", replace(ColorEmbedder.info, name="florence-tiny"))
    run("index", folder / "good.png", "--db", db)
    monkeypatch.undo()
    outcome = run("search", "red", "--model", "siglip2-base", "--offline", "--db", db)
    assert outcome.code == 1
    assert "filled by florence-tiny, not by siglip2-base" in outcome.err


def test_the_error_about_another_embedder_names_both(run, folder, tmp_path, monkeypatch):
    db = tmp_path / "photos.db"
    run("index", folder / "good.png", "--db", db)

    class Other(ColorEmbedder):
        info = EmbedderInfo(name="others", fingerprint="other", dimension=12, preprocessing="none")

    use_color_models(monkeypatch, Other)
    outcome = run("search", "red", "--db", db)
    assert outcome.code == 1
    assert "filled by colors" in outcome.err
    assert "not by others" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("db", ["photos.txt", "no/such/folder/photos.db", "http://127.0.0.1:9"])
def test_a_database_that_cannot_be_opened_is_one_line(run, folder, tmp_path, monkeypatch, db):
    monkeypatch.chdir(tmp_path)
    outcome = run("index", folder / "good.png", "--db", db)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith("Error: ")
    assert outcome.err.count("\n") == 1


def test_a_wrong_filter_is_one_line(run, folder, tmp_path):
    db = tmp_path / "photos.db"
    run("index", folder / "good.png", "--db", db)
    outcome = run("search", "red", "--filter", "nonsense ===", "--db", db)
    assert (outcome.code, outcome.out) == (1, "")
    assert "nonsense ===" in outcome.err
    assert run("search", "red", "--filter", 'kind == "image"', "--db", db, "--json").json["hits"]


def test_the_error_about_an_unknown_model_lists_the_known_models(run, folder, tmp_path, monkeypatch):
    monkeypatch.undo()
    outcome = run("index", folder, "--model", "no-such-model", "--db", tmp_path / "photos.db")
    assert outcome.code == 1
    assert "florence-tiny" in outcome.err
