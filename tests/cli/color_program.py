"""florence-rag as a program, on a real Milvus Lite, with the color doubles for its models.

It embeds slowly, and says so on standard error, for tests that interrupt it.
"""

import os
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from florence_rag.cli.app import main
from florence_rag.testing import ColorEmbedder
from florence_rag.types import Frame
from tests.cli.stand_ins import use_color_models

SECONDS = float(os.environ.get("COLOR_PROGRAM_SECONDS", "0.4"))


class SlowEmbedder(ColorEmbedder):
    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        print("embedding", file=sys.stderr, flush=True)
        time.sleep(SECONDS)
        return super().embed_images(frames)


if __name__ == "__main__":
    use_color_models(pytest.MonkeyPatch(), SlowEmbedder)
    main()
