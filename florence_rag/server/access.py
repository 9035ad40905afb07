"""Decides which requests reach the application, and how large they may be; adds the headers that protect the page.

- The Host header must name this machine. Otherwise a page of a stranger whose name points to this machine could read
  the index through the browser of the user (DNS rebinding).
- A request from a page of another origin is refused, whatever its method, so CORS stays closed.
- A token is compared in constant time. Programs send it as a bearer token. The page exchanges it for a cookie that
  scripts cannot read, because images and videos cannot send headers.
"""

import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from florence_rag.server.bodies import Bodies, Body
from florence_rag.server.config import ServerConfig
from florence_rag.tokenize import shorten
from florence_rag.tools.limits import MAX_IMAGE_CHARACTERS

COOKIE = "florence_rag"
UPLOADS = "/api/uploads/"
MAX_BODY_BYTES = MAX_IMAGE_CHARACTERS + 1_000_000
MAX_ERROR = 2_000
"""The characters of an error, which may name what the client sent."""

_PUBLIC = ("/", "/favicon.ico", "/api/login")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class AccessControl:
    """An ASGI middleware with the checks of this module.

    Args:
        app: The application.
        config: The token, the host names and the limits.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app, self._config = app, config
        self._host_names = config.host_names
        self._bodies = Bodies()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error as JSON."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        send = _with_headers(send)
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        is_kept = not scope["path"].startswith(UPLOADS)
        body = Body(receive, self._max_bytes(scope["path"]), self._bodies if is_kept else None)
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.release()

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        if not self._is_host_allowed(headers.get("host", "")):
            return error_response(403, "this host name is not allowed; the server allows it with --allow-host NAME")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return error_response(403, "requests from pages of other origins are refused")
        if not self._is_public(path) and not is_authorized(headers, self._config.token):
            return error_response(401, "a token is needed; send the header Authorization: Bearer TOKEN")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_bytes(path):
            return error_response(413, f"the request is larger than {self._max_bytes(path):,} bytes")
        return None

    @staticmethod
    def _is_public(path: str) -> bool:
        return path in _PUBLIC or path.startswith("/static/")

    def _is_host_allowed(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._host_names or _is_ip_address(name)

    def _max_bytes(self, path: str) -> int:
        return self._config.max_upload_mb * 1_000_000 if path.startswith(UPLOADS) else MAX_BODY_BYTES


def error_response(status: int, message: str) -> JSONResponse:
    """Return an error as {"error": MESSAGE}, on one line of limited length."""
    challenge = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": shorten(" ".join(message.split()), MAX_ERROR)}, status, challenge)


def is_authorized(headers: Headers, token: str) -> bool:
    """Return whether a request carries the token, in its header or as the cookie of the page."""
    if not token:
        return True
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and _equal(given.strip(), token):
        return True
    return _equal(cookie_parser(headers.get("cookie", "")).get(COOKIE, ""), cookie_value(token))


def cookie_value(token: str) -> str:
    """Return the value of the cookie, from which the token cannot be found."""
    return hmac.new(token.encode(), b"the cookie of the page", hashlib.sha256).hexdigest()


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
