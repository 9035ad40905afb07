"""One HTTP call of Azure AI Vision, asked again for as long as that can help.

A call takes its turn in the pace that all threads share. 429, 5xx, cut connections and timeouts are tried again after
the time that the service names, or else after a growing, random one. Everything else is an error in one line, in which
neither key nor token can stand.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from florence_rag.errors import FlorenceError, InputError, ModelError

API_VERSION = "2024-02-01"

_ADVICE = {
    401: "check the key or token and that it belongs to this endpoint",
    403: "this key or token may not use it: check the role, the firewall and the pricing tier",
    404: "check the endpoint and that its region offers multimodal embeddings",
}
_MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to insist. timeout_s: of one try. tries: at most, per item. total_s: at most, with all waiting.

    The wait before try n is random in the upper half of first_wait_s * 2**n, at most longest_wait_s.
    """

    timeout_s: float = 30.0
    tries: int = 7
    total_s: float = 180.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def wait_s(self, tried: int, chance: float) -> float:
        """Seconds before the next try. tried: 1 after the first one. chance: in [0, 1]."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (tried - 1))
        return longest * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, to be replaced in tests. now: seconds that never jump. today: seconds since 1970."""

    now: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class RateLimiter:
    """At most so many calls per second, whichever thread makes them."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        if not per_s > 0:
            raise InputError(f"requests_per_s is {per_s!r}; it must be more than 0")
        self._interval_s = 1.0 / per_s
        self._clock = clock
        self._next_s = clock.now()
        self._lock = threading.Lock()

    def take_turn(self) -> None:
        """Wait until this call is due."""
        with self._lock:
            now = self._clock.now()
            due = max(now, self._next_s)
            self._next_s = due + self._interval_s
        if due > now:
            self._clock.sleep(due - now)

    def hold(self, wait_s: float) -> None:
        """No call of any thread is due for that long."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock.now() + wait_s)


class AzureVisionClient:
    """Sends one item at a time and returns its JSON reply. Safe to share between threads.

    endpoint: such as "https://NAME.cognitiveservices.azure.com". key: of the resource; token: of Entra, or what returns
    one when called, which it is before every try.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        key: str | None = None,
        token: str | Callable[[], str] | None = None,
        requests_per_s: float = 10.0,
        patience: RetryPolicy | None = None,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if (key is None) == (token is None):
            raise InputError("Azure AI Vision needs either a key or a token; give one of the two")
        self.endpoint = _checked_endpoint(endpoint)
        self._secret: Callable[[], str] = token if callable(token) else lambda: key or str(token)
        self._with_key = key is not None
        self._patience = patience or RetryPolicy()
        self._clock = clock or Clock()
        self._pace = RateLimiter(requests_per_s, self._clock)
        self._http = httpx.Client(timeout=self._patience.timeout_s, transport=transport)
        if not callable(token):
            _checked_secret(self._secret())

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def post(self, operation: str, parameters: Mapping[str, str], content: bytes, content_type: str) -> dict[str, Any]:
        """The JSON object that the service answers; InputError where it refuses the item, ModelError for all else."""
        url = f"{self.endpoint}/computervision/{operation}"
        started = self._clock.now()
        for tried in itertools.count(1):
            self._pace.take_turn()
            secret = self._fresh_secret()
            headers = {"Content-Type": content_type, **self._authorization(secret)}
            reply = self._try(url, {"api-version": API_VERSION, **parameters}, content, headers)
            if isinstance(reply, httpx.Response) and not _is_worth_retrying(reply):
                return self._read(reply, secret)
            self._wait(reply, _hidden(_problem(reply), secret), tried, started)
        raise AssertionError("counting has no end")

    def _fresh_secret(self) -> str:
        try:
            return _checked_secret(self._secret())
        except FlorenceError:
            raise
        except Exception as error:
            raise ModelError(f"no token for {self.endpoint} could be had ({type(error).__name__}); log in") from error

    def _try(
        self, url: str, parameters: dict[str, str], content: bytes, headers: dict[str, str]
    ) -> httpx.Response | str:
        """A reply, or why there is none."""
        try:
            return self._http.post(url, params=parameters, content=content, headers=headers)
        except httpx.TimeoutException:
            return f"no answer within {self._patience.timeout_s:g} s"
        except httpx.RequestError as error:
            return f"{type(error).__name__} {error}".strip()

    def _authorization(self, secret: str) -> dict[str, str]:
        if self._with_key:
            return {"Ocp-Apim-Subscription-Key": secret}
        return {"Authorization": f"Bearer {secret}"}

    def _wait(self, reply: httpx.Response | str, problem: str, tried: int, started: float) -> None:
        """Until the next try; ModelError if it would come too late."""
        asked_s = _retry_after_s(reply, self._clock.today()) if isinstance(reply, httpx.Response) else None
        wait_s = asked_s or self._patience.wait_s(tried, self._clock.chance())
        spent_s = self._clock.now() - started
        if tried >= self._patience.tries or spent_s + wait_s > self._patience.total_s:
            asked = f" and asks to wait {asked_s:.0f} s" if asked_s else ""
            raise ModelError(
                f"{self.endpoint} does not serve ({problem}{asked}), tried {tried} times in {spent_s:.0f} s; "
                "try again later, or with fewer requests_per_s"
            )
        if asked_s:
            self._pace.hold(wait_s)
        self._clock.sleep(wait_s)

    def _read(self, reply: httpx.Response, secret: str) -> dict[str, Any]:
        status = reply.status_code
        if status != 200:
            problem = _hidden(_problem(reply), secret)
            if status in (400, 413, 415):
                raise InputError(f"{self.endpoint} refuses the item ({problem})")
            raise ModelError(f"{self.endpoint} answers {problem}; {_ADVICE.get(status, 'check the endpoint')}")
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ModelError(f"{self.endpoint} answers 200 without a JSON object; is it Azure AI Vision?")
        return answer


def _checked_endpoint(endpoint: str) -> str:
    """Without the slash at its end. A key travels encrypted, or within this machine."""
    try:
        url = httpx.URL(endpoint.strip())
    except (httpx.InvalidURL, TypeError, AttributeError):
        raise InputError("the endpoint is no address; give https://NAME.cognitiveservices.azure.com") from None
    local = url.scheme == "http" and url.host in ("127.0.0.1", "::1", "localhost")
    if not url.host or not (url.scheme == "https" or local) or url.userinfo or url.query or url.fragment:
        raise InputError(
            f"the endpoint is to have the form https://NAME.cognitiveservices.azure.com, not {url.scheme}://{url.host}"
        )
    return str(url).rstrip("/")


def _checked_secret(secret: str) -> str:
    """What can stand in a header: a key read from a file often ends with a line break."""
    secret = secret.strip() if isinstance(secret, str) else ""
    if not secret or not secret.isascii() or not secret.isprintable():
        raise InputError("the key or token for Azure AI Vision is empty or has characters that none has")
    return secret


def _is_worth_retrying(reply: httpx.Response) -> bool:
    return reply.status_code in (408, 429) or reply.status_code >= 500


def _problem(reply: httpx.Response | str) -> str:
    """The status with what the service says of it, in one line."""
    if isinstance(reply, str):
        return reply
    try:
        error = reply.json()["error"]
        said = f"{error.get('code', '')} {error.get('message', '')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        said = ""
    return " ".join(f"{reply.status_code} {said}".split())[:_MAX_REASON]


def _hidden(text: str, secret: str) -> str:
    return text.replace(secret, "***")


def _retry_after_s(reply: httpx.Response, today: float) -> float | None:
    """Seconds that the service asks to wait, which it says in seconds or as a date; None where it does not."""
    value = reply.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, _utc(value).timestamp() - _said_at(reply, today))
    except ValueError:
        return None


def _said_at(reply: httpx.Response, today: float) -> float:
    """When the service answered, by its own clock if it says: ours may be wrong."""
    try:
        return _utc(reply.headers.get("Date", "")).timestamp()
    except ValueError:
        return today


def _utc(date: str) -> datetime:
    moment = parsedate_to_datetime(date)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
