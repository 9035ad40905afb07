"""Maps the exceptions of pymilvus and gRPC to those of this package, and silences the loggers that repeat them."""

import logging
import os
import re

import grpc  # type: ignore[import-untyped]
from pymilvus import MilvusException

from florence_rag.errors import FlorenceError, InputError, StoreError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.base import Filter

STORE_EXCEPTIONS: tuple[type[Exception], ...] = (MilvusException, grpc.RpcError, grpc.FutureTimeoutError)
"""The exceptions that a call to pymilvus raises."""

# What gRPC says of a connection that it cannot make: what that means, and what to do.
_CAUSES = (
    (r"refused|No such file|unreachable", "nothing listens there", "start it, or use a folder like photos.db"),
    (r"resolving|DNS", "its host is unknown", "correct the address"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        "name the file of its certificate authority in GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    ),
    (r"SSL|[Hh]andshake", "it does not speak TLS", "use http:// instead of https://"),
    (
        r"HTTP/2|deserializ|reset|closed",
        "another program does",
        "check the port, usually 19530, and whether the address must begin with https://",
    ),
    ("", "it does not answer in time", "start it, or use a folder like photos.db"),
)
_CONNECT_FAILED = 2
_UNREACHABLE = {_CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_NO_COLLECTION = 100
_NOT_LOADED = 101
_NOT_READY = 1  # also the code of all other errors of Milvus Lite
# Those that Milvus itself calls retriable (pkg/util/merr/errors.go), and a channel that is moving to another node.
_TRANSIENT = {grpc.StatusCode.UNAVAILABLE, _CONNECT_FAILED, _NOT_LOADED, 4, 8, 12, 103, 106, 202, 503}
_BAD_ARGUMENT = {6, 1100}  # of Milvus Lite, of a server
_BAD_FILTER_WORDS = ("cannot parse expression", "create query plan", "recursion depth", "invalid expression")


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


def to_florence_error(error: Exception, where: str, filter: Filter | None = None) -> FlorenceError:
    """Return the exception to raise instead. filter: the caller's expression, if there is one that may be wrong."""
    # pymilvus hides the answer of a server that refuses it behind an error that blames the connection.
    root = error.__cause__ if isinstance(error.__cause__, grpc.RpcError) else error
    code, reason = _code(root), _reason(root)
    if isinstance(filter, str) and (code in _BAD_ARGUMENT or any(words in reason for words in _BAD_FILTER_WORDS)):
        return InputError(f"Milvus does not understand the filter {filter!r:.300}: {reason:.300}")
    if code == grpc.StatusCode.UNAUTHENTICATED or "auth check failure" in reason:
        return StoreUnavailableError(f"{where} refuses access ({reason}); give a valid token")
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return StoreUnavailableError(
            f"{where} denies a right ({reason}); ask for it, or give the token of another user"
        )
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return StoreUnavailableError(f"{where} is no Milvus server of version 2.3 or later ({reason}); check the port")
    if code in _UNREACHABLE or _code(error) in _UNREACHABLE:
        meaning, advice = next(each[1:] for each in _CAUSES if re.search(each[0], reason))
        return StoreUnavailableError(f"no Milvus server answers at {where} ({meaning}); {advice}")
    if reason.startswith("database") and "not found" in reason:
        return StoreUnavailableError(f"{where}: {reason}; create it on the server, or omit it from the address")
    if _is_starting(error):
        return StoreUnavailableError(f"the server at {where} is not ready ({reason:.200}); wait, or look at its log")
    if code == _NO_COLLECTION:
        return StoreMismatchError(f"{where}: {reason}; the index was deleted or moved to another model: open it again")
    return StoreError(f"{where}: {reason}")


def is_transient(error: BaseException | None) -> bool:
    """Return whether the same call may succeed later, because the connection was cut or the server is starting."""
    if not isinstance(error, STORE_EXCEPTIONS):
        return False
    return _code(error) in _TRANSIENT or is_not_loaded(error) or _is_starting(error)


def _is_starting(error: Exception) -> bool:
    """Return whether parts of the server do not run yet, or no longer, so that those that do cannot reach them."""
    reason = _reason(error)
    return (_code(error) == _NOT_READY and "not ready" in reason) or "empty grpc client" in reason


def is_not_loaded(error: BaseException | None) -> bool:
    """Return whether the server has not loaded the collection, as after a restart."""
    return isinstance(error, STORE_EXCEPTIONS) and (_code(error) == _NOT_LOADED or "'released'" in _reason(error))


def is_too_large(error: BaseException | None) -> bool:
    """Return whether the message to or from the server is larger than allowed, usually than 64 MB."""
    return isinstance(error, STORE_EXCEPTIONS) and _code(error) == grpc.StatusCode.RESOURCE_EXHAUSTED


def _code(error: Exception) -> object:
    code = getattr(error, "code", None)  # gRPC has a method where pymilvus has a number
    return code() if callable(code) else code


def _reason(error: Exception) -> str:
    """Return the first line of the message; those below it name internals."""
    text = error.message if isinstance(error, MilvusException) else getattr(error, "details", lambda: str(error))()
    lines = str(text).strip().splitlines()
    return lines[0] if lines else type(error).__name__
