"""Facts about the files of models that take long to find out, kept on this machine."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from florence_rag.models.registry import state_file

_MAX_REMEMBERED = 1000


class StateCache:
    """Texts by key in a JSON file. Without a writable home, nothing is kept, and a damaged file counts as empty."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self) -> dict[str, str]:
        """Return all texts by their keys, the oldest first."""
        with suppress(OSError, ValueError, RecursionError):
            content = json.loads(state_file(self._name).read_text("utf-8"))
            if isinstance(content, dict) and all(isinstance(each, str) for each in content.values()):
                return content
        return {}

    def add(self, values: Mapping[str, str]) -> None:
        """Keep more texts, and drop the oldest ones beyond a thousand."""
        path = state_file(self._name)
        part = path.with_suffix(".part")
        kept = [*{**self.read(), **values}.items()][-_MAX_REMEMBERED:]
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(dict(kept), indent=0), "utf-8")
            part.replace(path)


def file_key(paths: Iterable[Path]) -> str:
    """Return a key for the present content of files: their paths, sizes and modification times."""
    states = ((path.resolve(), path.stat()) for path in paths)
    return json.dumps([(str(path), state.st_size, state.st_mtime_ns) for path, state in states])
