"""Keeps the libraries underneath from writing between our lines."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """Must run before they are imported. Whoever sets these variables to something else wants to hear them."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # keep-alive notices of Milvus Lite's server to itself
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar for weights that load in milliseconds
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what its C++ parts think of how Ray Data uses them
