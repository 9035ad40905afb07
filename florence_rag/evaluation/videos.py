"""The video files of a data set, by name."""

from __future__ import annotations

from pathlib import Path

from florence_rag.errors import InputError
from florence_rag.sources import MEDIA_BY_SUFFIX


class Videos:
    """Those below a folder, each by the name of its file without the ending; InputError where there is no folder."""

    def __init__(self, folder: str | Path) -> None:
        top = Path(folder).expanduser()
        if not top.is_dir():
            raise InputError(f"{str(top)!r} is no folder; give the folder of the videos with --videos")
        files = (path for path in sorted(top.rglob("*")) if MEDIA_BY_SUFFIX.get(path.suffix.lower()) == "video")
        self._files = {path.stem: path for path in files}

    def get(self, name: str) -> Path | None:
        """The file of a name."""
        return self._files.get(name)

    def __getitem__(self, name: str) -> Path:
        """The same; InputError where there is none."""
        if name not in self._files:
            raise InputError("there is no such video")
        return self._files[name]
