import base64
import re
from pathlib import Path

import pytest

from florence_rag.types import Citation, Hit, Locator
from florence_rag.viz import inline_video, show
from florence_rag.viz.gallery import link_to


class NoFrames:
    """An index that stores nothing."""

    def get(self, ids):
        return []

    def frames(self, hit):
        return ()


def clip(path: Path) -> Hit:
    return Hit("", "clip", str(path), Locator(start_s=1.5, end_s=3.0), 0.5)


def test_a_clip_plays_from_its_moment(tmp_path):
    path = tmp_path / 'a "quoted" name.mp4'
    path.write_bytes(b"video")
    page = show(NoFrames(), [clip(path)], play=True).html()
    (source,) = re.findall(r'<video [^>]*src="data:video/mp4;base64,([^"]+)"', page)
    data, moment = source.split("#")
    assert base64.b64decode(data) == b"video" and moment == "t=1.5,3"
    assert "<video" not in show(NoFrames(), [clip(path)]).html()


@pytest.mark.parametrize("name", ["a.svg", "a.html", "a.mp4.txt", "missing.mp4", "folder.mp4"])
def test_other_files_are_not_embedded(tmp_path, name):
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif not name.startswith("missing"):
        path.write_bytes(b"<script>")
    assert inline_video.video_html(clip(path), "") == ""


def test_a_large_file_and_an_image_are_not_embedded(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"video")
    image = Citation("", "image", str(path), Locator())
    assert inline_video.video_html(image, link_to(str(path), Locator())) == ""
    monkeypatch.setattr(inline_video, "MAX_BYTES", 4)
    assert inline_video.video_html(clip(path), "") == ""
