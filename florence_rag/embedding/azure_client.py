"""Sends HTTP requests to Azure AI Vision, and repeats those that fail for a reason that may pass.

All threads share one rate limit. A call is repeated after a status of 408, 429 or 5xx, a broken connection or a
timeout, and waits as long as the service asks, or else for a growing random time. Every other failure is an error in
one line, which never contains the key or the token.

tenacity repeats the call. It has no rate limiter, so the one here is our own.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type

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
    """How often and how long a call is repeated: timeout_s per attempt, at most total_s for all tries and waits.

    The longest wait doubles with every attempt, from first_wait_s to longest_wait_s; the service may ask for more.
    """

    timeout_s: float = 30.0
    tries: int = 7
    total_s: float = 180.0
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0

    def wait_s(self, attempts: int, chance: float) -> float:
        """Return the seconds to wait after so many attempts: by chance, in [0, 1], from half to all of the longest."""
        longest = min(self.longest_wait_s, self.first_wait_s * 2.0 ** (attempts - 1))
        return longest * (0.5 + 0.5 * chance)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, which tests replace: a monotonic clock, seconds since 1970, a wait, a number in [0, 1]."""

    now: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


class RateLimiter:
    """Limits the calls of all threads together to so many per second."""

    def __init__(self, per_s: float, clock: Clock) -> None:
        if not per_s > 0:
            raise InputError(f"requests_per_s is {per_s!r}; it must be more than 0")
        self._interval_s = 1.0 / per_s
        self._clock = clock
        self._next_s = clock.now()
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Wait until this call is due."""
        with self._lock:
            now = self._clock.now()
            due = max(now, self._next_s)
            self._next_s = due + self._interval_s
        if due > now:
            self._clock.sleep(due - now)

    def pause(self, wait_s: float) -> None:
        """Let no call of any thread become due for so many seconds."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock.now() + wait_s)


class _TransientError(Exception):
    """A failure that may pass. wait_s: how long the service asks to wait; 0 if it does not ask."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


class AzureVisionClient:
    """Sends one item at a time and returns the JSON reply. Threads may share it. Close it after use.

    Give the key of the resource, or a Microsoft Entra token. If the token is a function, it is called before every
    attempt. requests_per_s is what the pricing tier allows: 10 for S1, 20 per minute for the free tier.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        key: str | None = None,
        token: str | Callable[[], str] | None = None,
        requests_per_s: float = 10.0,
        retry_policy: RetryPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        if (key is None) == (token is None):
            raise InputError("Azure AI Vision needs either a key or a token; give one of the two")
        self.endpoint = _checked_endpoint(endpoint)
        self._secret: Callable[[], str] = token if callable(token) else lambda: key or str(token)
        self._with_key = key is not None
        self._policy = retry_policy or RetryPolicy()
        self._clock = clock or Clock()
        self._limiter = RateLimiter(requests_per_s, self._clock)
        self._http = httpx.Client(timeout=self._policy.timeout_s)
        if not callable(token):
            _checked_secret(self._secret())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, operation: str, parameters: Mapping[str, str], content: bytes, content_type: str) -> dict[str, Any]:
        """Send one item; an InputError means that the service refuses it, a ModelError any other failure."""
        started = self._clock.now()
        policy, clock = self._policy, self._clock
        retrying = Retrying(
            retry=retry_if_exception_type(_TransientError),
            wait=lambda state: _transient(state).wait_s or policy.wait_s(state.attempt_number, clock.chance()),
            stop=lambda state: (
                state.attempt_number >= policy.tries or clock.now() - started + state.upcoming_sleep > policy.total_s
            ),
            sleep=clock.sleep,
            before_sleep=lambda state: self._limiter.pause(_transient(state).wait_s),
            reraise=True,
        )
        url, query = f"{self.endpoint}/computervision/{operation}", {"api-version": API_VERSION, **parameters}
        try:
            return retrying(self._attempt, url, query, content, content_type)
        except _TransientError as error:
            asks = f" and asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
            raise ModelError(
                f"{self.endpoint} does not serve ({error}{asks}), tried {retrying.statistics['attempt_number']} times "
                f"in {clock.now() - started:.0f} s; try again later, or with fewer requests_per_s"
            ) from error

    def _attempt(self, url: str, query: Mapping[str, str], content: bytes, content_type: str) -> dict[str, Any]:
        self._limiter.acquire()
        secret = self._fresh_secret()
        login = {"Ocp-Apim-Subscription-Key": secret} if self._with_key else {"Authorization": f"Bearer {secret}"}
        try:
            reply = self._http.post(url, params=query, content=content, headers={"Content-Type": content_type, **login})
        except httpx.TimeoutException as error:
            raise _TransientError(f"no answer within {self._policy.timeout_s:g} s") from error
        except httpx.RequestError as error:
            raise _TransientError(f"{type(error).__name__} {error}".strip().replace(secret, "***")) from error
        status, problem = reply.status_code, _problem(reply, secret)
        if status in (408, 429) or status >= 500:
            raise _TransientError(problem, _retry_after_s(reply, self._clock.today()))
        if status in (400, 413, 415):
            raise InputError(f"{self.endpoint} refuses the item ({problem})")
        if status != 200:
            raise ModelError(f"{self.endpoint} answers {problem}; {_ADVICE.get(status, 'check the endpoint')}")
        try:
            answer = reply.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ModelError(f"{self.endpoint} answers 200 without a JSON object; is it Azure AI Vision?")
        return answer

    def _fresh_secret(self) -> str:
        try:
            return _checked_secret(self._secret())
        except FlorenceError:
            raise
        except Exception as error:
            raise ModelError(f"no token for {self.endpoint} is available ({type(error).__name__}); log in") from error


def _transient(state: RetryCallState) -> _TransientError:
    """Return the error of an attempt that is repeated."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _TransientError)
    return error


def _checked_endpoint(endpoint: str) -> str:
    """Return the endpoint without a slash at its end. A key travels encrypted, or within this machine."""
    try:
        url = httpx.URL(endpoint.strip())
    except (httpx.InvalidURL, TypeError, AttributeError):
        raise InputError("the endpoint is not an address; give https://NAME.cognitiveservices.azure.com") from None
    local = url.scheme == "http" and url.host in ("127.0.0.1", "::1", "localhost")
    if not url.host or not (url.scheme == "https" or local) or url.userinfo or url.query or url.fragment:
        raise InputError(
            f"the endpoint must have the form https://NAME.cognitiveservices.azure.com, not {url.scheme}://{url.host}"
        )
    return str(url).rstrip("/")


def _checked_secret(secret: str) -> str:
    """Return the secret as a header can hold it: a key that was read from a file often ends with a line break."""
    secret = secret.strip() if isinstance(secret, str) else ""
    if not secret or not secret.isascii() or not secret.isprintable():
        raise InputError("the key or token for Azure AI Vision is empty or has characters that no secret has")
    return secret


def _problem(reply: httpx.Response, secret: str) -> str:
    """Return the status and what the service says about it, in one line without the secret."""
    try:
        error = reply.json()["error"]
        reason = f"{error.get('code', '')} {error.get('message', '')}"
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = ""
    return " ".join(f"{reply.status_code} {reason}".split())[:_MAX_REASON].replace(secret, "***")


def _retry_after_s(reply: httpx.Response, today: float) -> float:
    """Return how long the service asks to wait, in seconds or until a date; 0 if it does not ask.

    A date is compared with the service's own clock if the reply has one, since ours may be wrong.
    """
    value = reply.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    answered = _timestamp(reply.headers.get("Date", ""))
    return max(0.0, (_timestamp(value) or 0.0) - (today if answered is None else answered))


def _timestamp(date: str) -> float | None:
    """Return the seconds since 1970 of a date in a header, which is in UTC if it names no zone."""
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
