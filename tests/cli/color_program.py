"""florence-rag as a program, on a real Milvus Lite, with the colour doubles for its models.

It embeds slowly, and says so on standard error, for tests that interrupt it.
"""

import sys
import time
from collections.abc import Sequence

import numpy as np

from florence_rag import rag
from florence_rag.cli.app import main
from florence_rag.models.registry import CARDS
from florence_rag.testing import ColorEmbedder, ColorVQA, ScriptedReader
from florence_rag.types import Frame

SECONDS = 0.4


class SlowEmbedder(ColorEmbedder):
    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        print("embedding", file=sys.stderr, flush=True)
        time.sleep(SECONDS)
        return super().embed_images(frames)


if __name__ == "__main__":
    rag.find_model = lambda name: CARDS["florence-tiny"]
    rag.open_embedder = lambda name, access, **_: SlowEmbedder()
    rag.lazy_vqa = lambda name, access: (ColorVQA(), None)
    rag.open_reader = lambda: ScriptedReader({})
    main()
