import grpc
import pytest
from pymilvus import MilvusException
from pymilvus.exceptions import ConnectError, DataNotMatchException, ParamError

from florence_rag.errors import InputError, StoreError, StoreMismatchError, StoreUnavailableError
from florence_rag.index.store_errors import STORE_EXCEPTIONS, to_florence_error


class Refused(grpc.RpcError):
    def __init__(self, status, text="went wrong"):
        self._status, self._text = status, text

    def code(self):
        return self._status

    def details(self):
        return self._text


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (
            MilvusException(2, "Fail connecting"),
            StoreUnavailableError,
            r"no Milvus server answers at http://h:1 \(it does not answer in time\); start",
        ),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "x"), StoreUnavailableError, "no Milvus server answers"),
        (Refused(grpc.StatusCode.DEADLINE_EXCEEDED), StoreUnavailableError, "no Milvus server answers"),
        (Refused(grpc.StatusCode.UNAUTHENTICATED), StoreUnavailableError, "refuses access .*; give a valid token"),
        (Refused(grpc.StatusCode.PERMISSION_DENIED), StoreUnavailableError, "denies a right .*; ask for it, or give"),
        (MilvusException(65535, "database:x not found"), StoreUnavailableError, "create it on the server, or omit it"),
        (MilvusException(800, "database not found[database=x]"), StoreUnavailableError, "create it on the server"),
        (
            MilvusException(1, "service not ready[rootcoord]"),
            StoreUnavailableError,
            "the server at http://h:1 is not ready",
        ),
        (
            MilvusException(65535, "empty grpc client: x"),
            StoreUnavailableError,
            "is not ready .*; wait, or look",
        ),
        (MilvusException(65535, "auth check failure, x"), StoreUnavailableError, "give a valid token"),
        (MilvusException(1, "No space left on device\nTraceback"), StoreError, "http://h:1: No space left on device$"),
        (MilvusException(100, "can't find collection"), StoreMismatchError, "moved to another model: open it again"),
        (MilvusException(6, "kind = 3"), StoreError, "http://h:1: kind = 3$"),
        (MilvusException(1, ""), StoreError, "MilvusException"),
        (Refused(grpc.StatusCode.INTERNAL, "boom"), StoreError, "boom"),
    ],
)
def test_each_error_becomes_the_one_that_says_what_to_do(error, becomes, says):
    with pytest.raises(becomes, match=says):
        raise to_florence_error(error, "http://h:1")


@pytest.mark.parametrize(
    "error",
    [
        MilvusException(6, "unexpected character '{' at column 1\n  {x}\n  ^"),
        MilvusException(1100, "failed to create query plan: cannot parse expression: {x}"),
        MilvusException(65535, "cannot parse expression: {x}"),
        MilvusException(1, "maximum recursion depth exceeded"),
    ],
)
def test_a_wrong_expression_is_an_input_error(error):
    with pytest.raises(InputError, match=r"does not understand the filter '{x}': "):
        raise to_florence_error(error, "http://h:1", "{x}")
    assert type(to_florence_error(error, "http://h:1", {"page": 1})) is StoreError


def test_all_that_pymilvus_raises_is_caught():
    for kind in (MilvusException, ParamError, ConnectError, DataNotMatchException, grpc.RpcError):
        assert issubclass(kind, STORE_EXCEPTIONS)
