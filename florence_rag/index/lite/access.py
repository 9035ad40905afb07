"""Admits the calls to an engine of Milvus Lite that carry a token, since every user of a machine reaches its ports."""

import base64
import hmac
import secrets
from collections.abc import Callable
from typing import Any

import grpc  # type: ignore[import-untyped]


class TokenAccess(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without a token.

    Args:
        token: What the calls of other processes carry.

    Attributes:
        own_token: What the calls of this process carry.
        is_joined: Whether another process has called.
    """

    def __init__(self, token: str) -> None:
        self.own_token = secrets.token_urlsafe(32)
        self.is_joined = False
        self._own, self._other = map(_header, (self.own_token, token))
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Return the handler of a call, or the one that refuses it."""
        sent = dict(handler_call_details.invocation_metadata).get("authorization", "")
        if hmac.compare_digest(sent.encode(), self._own):
            return continuation(handler_call_details)
        if hmac.compare_digest(sent.encode(), self._other):
            self.is_joined = True
            return continuation(handler_call_details)
        return self._refusal


def _header(token: str) -> bytes:
    """Return a token as pymilvus sends it."""
    return base64.b64encode(token.encode())


def _refuse(request: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "another program listens there")
