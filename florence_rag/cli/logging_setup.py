"""Stops libraries from writing to the terminal of the command line."""

import os


def quiet_libraries() -> None:
    """Set their environment variables before they are imported; variables that you have set are kept."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # keep-alive notices of Milvus Lite's own server
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # a bar for weights that load in milliseconds
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # warnings about how Ray Data uses Ray
