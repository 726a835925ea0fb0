"""What an answer of the server means: fine, or one of `app.client.errors`.

It looks at a response that has been read and does no I/O.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import httpx
import msgspec

from app.client.address import KEY_VARIABLE, SERVER_VARIABLE, shown
from app.client.errors import (
    Busy,
    Conflict,
    FieldError,
    Forbidden,
    InvalidRequest,
    NotFound,
    Problem,
    Refused,
    Unauthorized,
    Unreachable,
    Unreadable,
)

EVENT_STREAM: Final = "text/event-stream"
GATEWAY: Final = frozenset({502, 503, 504})
"""What stands before the server, or the server itself, says: not at this moment."""
NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Failures before anything of a request had left."""
PASSING: Final = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
"""Failures that may be gone at the next try."""

_KINDS: Final[Mapping[int, type[Refused]]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: Busy,
    503: Busy,
}
_STANDARD: Final = frozenset({"type", "title", "status", "detail", "instance", "errors"})
_ADVICE_FOR_READS: Final = "ask again; a stream goes on where it was with its last_event_id"
_NOT_OURS: Final = "the answer is not that of a job-narrator server: is the address right?"
_MAX_RETRY_AFTER_DIGITS: Final = 9


def refused(response: httpx.Response) -> Refused:
    """The error that an unsuccessful answer is."""
    status = response.status_code
    problem = _problem(response)
    retry_after_s = _retry_after(response.headers.get("retry-after"))
    told = [f"{_place(response.request)} was answered {status}, {problem.title}"]
    if problem.errors:
        told += [f"  {each}" for each in problem.errors]
    elif problem.detail:
        told[0] += f": {problem.detail.rstrip('.')}"
    kind = _KINDS.get(status, Refused)
    if kind is Busy and retry_after_s is not None:
        told[0] += f"; try again in {retry_after_s:g} s, or have Patience(busy_s=…) wait"
    if kind is Unauthorized:
        sent = "authorization" in response.request.headers
        told[0] += f"; {'another' if sent else 'a'} key goes in key=… or {KEY_VARIABLE}"
    return kind("\n".join(told), status=status, problem=problem, retry_after_s=retry_after_s)


def unreachable(error: httpx.RequestError, *, tries: int) -> Unreachable:
    """The error that a failure of the connection is, after so many tries."""
    sent = not isinstance(error, NEVER_SENT)
    if not sent:
        advice = f"is it running there? Another address goes in server=… or {SERVER_VARIABLE}"
    elif error.request.method == "GET":
        advice = _ADVICE_FOR_READS
    else:
        advice = "the request may have arrived: look before sending it again"
    return _no_answer(error.request, str(error) or type(error).__name__, advice, tries, sent=sent)


def closed(response: httpx.Response, *, tries: int) -> Unreachable:
    """The error that a stream is which was closed before its end."""
    words = "the stream was closed before its end"
    return _no_answer(response.request, words, _ADVICE_FOR_READS, tries, sent=True)


def _no_answer(
    request: httpx.Request, words: str, advice: str, tries: int, *, sent: bool
) -> Unreachable:
    often = f" (tried {tries} times)" if tries > 1 else ""
    return Unreachable(f"{_place(request)}: {words}{often}; {advice}", sent=sent)


def check_stream(response: httpx.Response) -> None:
    """Raise `Unreadable` if an answer of 200 is no event stream."""
    found = response.headers.get("content-type", "nothing")
    if found.partition(";")[0].strip().lower() != EVENT_STREAM:
        raise Unreadable(f"{_place(response.request)} was answered with {found}; {_NOT_OURS}")


def _place(request: httpx.Request) -> str:
    return f"{request.method} {shown(request.url)}"


def _problem(response: httpx.Response) -> Problem:
    """What the answer says of itself; a page of a proxy says its status and no more."""
    told = _object(response.content)
    phrase = _phrase(response.status_code)
    if told is None:
        location = response.headers.get("location")
        detail = f"it points to {location}; give that as the server" if location else _NOT_OURS
        return Problem(title=phrase, detail=detail)
    return Problem(
        type=str(told.get("type", "about:blank")),
        title=str(told.get("title") or phrase),
        detail=str(told.get("detail") or ""),
        errors=_field_errors(told.get("errors")),
        members={name: value for name, value in told.items() if name not in _STANDARD},
    )


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "a status without a name"


def _object(content: bytes) -> dict[str, Any] | None:
    try:
        told = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return told if isinstance(told, dict) else None


def _field_errors(told: object) -> tuple[FieldError, ...]:
    """The entries of `errors`; what is no entry is left out, since the title stands anyway."""
    entries = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return tuple(
        FieldError(
            loc=tuple(each["loc"]) if isinstance(each.get("loc"), list) else (),
            message=str(each.get("message", "")),
            legal=tuple(map(str, each["legal"])) if isinstance(each.get("legal"), list) else (),
        )
        for each in entries
    )


def _retry_after(header: str | None) -> float | None:
    """Whole seconds; the form with a date (RFC 9110, 10.2.3), which ours never sends, is none."""
    if header is None or not header.isascii() or not header.isdigit():
        return None
    return float(header) if len(header) <= _MAX_RETRY_AFTER_DIGITS else None
