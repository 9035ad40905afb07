import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from florence_rag.chunking import ChunkingConfig, chunk, chunk_paths, read_frames
from florence_rag.errors import InputError, MediaError
from florence_rag.types import Chunk, Locator, Media
from tests.chunking.samples import encode, make_pdf, pdf_with_attachment, scene, shots, source, write_video


def write_all(folder) -> dict[Media, object]:
    (folder / "a.png").write_bytes(encode(scene(1), "PNG"))
    (folder / "a.txt").write_text("A blue car.")
    (folder / "a.pdf").write_bytes(make_pdf(["A blue car."]))
    write_video(folder / "a.mp4", shots(1.5))
    return {"image": folder / "a.png", "text": folder / "a.txt", "pdf": folder / "a.pdf", "video": folder / "a.mp4"}


def again(each: Chunk, config: ChunkingConfig) -> tuple[np.ndarray, ...]:
    return read_frames(each.source.uri, each.kind, each.locator, each.metadata, config)


def test_every_medium_gives_chunks_whose_frames_can_be_read_again(tmp_path):
    kinds = {}
    for media, path in write_all(tmp_path).items():
        for config in (ChunkingConfig(), ChunkingConfig(image_side_px=64, page_side_px=64, keyframe_side_px=64)):
            (each,) = chunk(source(path, media), config)
            kinds[media] = each.kind
            frames = again(each, config)
            assert len(frames) == len(each.frames) == (0 if media == "text" else 1)
            assert all(np.array_equal(one, other) for one, other in zip(frames, each.frames, strict=True))
            assert all(max(frame.shape) <= 64 for frame in frames) or config == ChunkingConfig()
    assert kinds == {"image": "image", "text": "text", "pdf": "page", "video": "clip"}


def test_files_without_a_suffix_are_cut_and_read_again(tmp_path):
    pages = [Image.fromarray(scene(number)) for number in (1, 2)]
    pages[0].save(tmp_path / "SCAN_1", "TIFF", save_all=True, append_images=pages[1:])
    (tmp_path / "IMG_1").write_bytes(encode(scene(1), "PNG"))
    (tmp_path / "PAPER_1").write_bytes(make_pdf(["A blue car."]))
    chunks = list(chunk_paths([tmp_path]))
    assert [each.kind for each in chunks] == ["image", "page", "page", "page"]
    assert all(np.array_equal(again(each, ChunkingConfig())[0], each.frames[0]) for each in chunks)


def test_chunks_are_equal_on_every_run(tmp_path):
    for media, path in write_all(tmp_path).items():
        ids = [[each.id for each in chunk(source(path, media))] for _ in range(2)]
        assert ids[0] == ids[1] and len(set(ids[0])) == len(ids[0])


def test_a_file_that_vanished_is_a_media_error(tmp_path):
    for media, path in write_all(tmp_path).items():
        (each,) = chunk(source(path, media))
        path.unlink()
        with pytest.raises(MediaError, match=path.name):
            list(chunk(each.source))
        if media != "text":
            with pytest.raises(MediaError, match=path.name):
                again(each, ChunkingConfig())


def test_an_unknown_medium_is_refused(tmp_path):
    path = tmp_path / "a.mp3"
    path.touch()
    with pytest.raises(InputError, match="'audio' is not a known medium"):
        list(chunk(source(path, "audio")))


def test_paths_are_cut_and_a_bad_file_is_named(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("A passage.")
    (tmp_path / "b.png").write_bytes(b"no image")
    assert [each.text for each in chunk_paths([tmp_path])] == ["A passage."]
    assert "b.png" in caplog.text
    with pytest.raises(MediaError, match=r"b\.png"):
        list(chunk_paths([tmp_path], strict=True))


def test_parts_that_are_skipped_are_logged_and_left_out(tmp_path, caplog):
    (tmp_path / "a.pdf").write_bytes(pdf_with_attachment())
    (tmp_path / "b.mp3").write_bytes(b"x")
    assert [each.text for each in chunk(source(tmp_path / "a.pdf", "pdf"))] == ["the figures"]
    assert caplog.messages == [f"skipped: '{tmp_path}/a.pdf', page 1: attachment"]
    caplog.clear()
    assert [each.text for each in chunk_paths([tmp_path])] == ["the figures"]
    assert caplog.messages == ["skipped 2: 1 .mp3, 1 attachment"]


def test_a_clip_without_its_times_shows_its_beginning(tmp_path):
    path = write_video(tmp_path / "a.mp4", shots(1, 1))
    (frame,) = read_frames(str(path), "clip", Locator(start_s=1.0, end_s=2.0), {})
    assert np.abs(frame.astype(int) - scene(1)).mean() < 16


def test_decoders_of_videos_and_pdfs_are_loaded_when_needed():
    code = (
        "import sys, florence_rag.chunking, florence_rag.sources; "
        "print([name for name in ('av', 'cv2', 'scenedetect', 'pypdfium2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
