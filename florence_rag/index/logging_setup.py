"""Silences the loggers of Milvus on import, because every error is raised."""

from __future__ import annotations

import logging
import os

import pymilvus  # noqa: F401  its first import sets up the loggers that are silenced here

# pymilvus writes each error to the terminal with its traceback, Milvus Lite its warnings.
for _name in ("pymilvus", "pymilvus.milvus_client", "pymilvus.bulk_writer", "milvus_lite"):
    _logger = logging.getLogger(_name)
    _logger.handlers = [handler for handler in _logger.handlers if type(handler) is not logging.StreamHandler]
    _logger.addHandler(logging.NullHandler())
    _logger.propagate = False

# pymilvus requests timestamps, which Lite does not have; grpc logs each request as an error with a traceback.
logging.getLogger("grpc._server").addFilter(lambda record: "Method not implemented" not in record.getMessage())

# grpc reads this when it starts. Without it, grpc prints a line whenever the process forks, as a DataLoader does.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
