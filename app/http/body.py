"""Reading a request's JSON body within its limits; every refusal says where and why.

It knows nothing of what the body means. Strict JSON (RFC 8259): no NaN, no comments, UTF-8 only, no
unpaired surrogates; of repeated keys the last one counts.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from starlette.requests import Request

from app.http.problems import BAD_JSON, NOT_JSON, TOO_LARGE, Problem
from app.http.serving import JSON, headers

MAX_DEPTH: Final = 64
"""Levels of nesting; far above any real body, far below what breaks an encoder."""

_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_JSON_TYPE: Final = re.compile(r"application/(?:[\w.!#$&^-]+\+)?json", re.IGNORECASE)


async def read_json(request: Request, *, limit: int) -> Any:
    """The body as JSON values; None where there is no body.

    Raises:
        Problem: 413 over `limit` bytes, 415 if it is not declared as JSON, 400 if it is not JSON.

    """
    body = await read_body(request, limit=limit)
    return decode(body) if body else None


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body, at most `limit` bytes; refused as early as can be known."""
    for declared in headers(request, b"content-length"):
        if declared.isdecimal() and (len(declared) > 18 or int(declared) > limit):  # noqa: PLR2004 — digits
            raise _too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":  # nobody is left to read the answer
            raise Problem(BAD_JSON, "The body ended before its time.")
        chunk, more = message.get("body", b""), message.get("more_body", False)
        if not chunk:
            continue
        if not size:
            _check_type(headers(request, b"content-type"))
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def decode(body: bytes) -> Any:
    """`body` as JSON values.

    Raises:
        Problem: 400, with line and column where they are known.

    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise Problem(BAD_JSON, f"The body is not UTF-8: {error.reason}.") from None
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise _malformed(body, str(error)) from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def _check_type(declared: list[str]) -> None:
    if declared == [JSON]:
        return
    name, _, parameters = declared[0].partition(";") if declared else ("", "", "")
    charset = parameters.strip().lower().replace('"', "")
    if _JSON_TYPE.fullmatch(name.strip()) and charset in {"", "charset=utf-8"}:
        return
    given = repr(declared[0][:100]) if declared else "none"
    raise Problem(
        NOT_JSON,
        f"The content type must be application/json, in UTF-8; it is {given}.",
        members={"legal": ["application/json"]},
        headers={"accept": "application/json"},
    )


def _too_large(limit: int) -> Problem:
    return Problem(
        TOO_LARGE, f"At most {limit} bytes are accepted.", members={"legal": {"max_bytes": limit}}
    )


def _too_deep() -> Problem:
    return Problem(
        BAD_JSON,
        f"The body is nested deeper than {MAX_DEPTH} levels.",
        members={"legal": {"max_depth": MAX_DEPTH}},
    )


def _malformed(body: bytes, message: str) -> Problem:
    text = message.removeprefix("JSON is malformed: ").partition(" - at ")[0]
    found = _BYTE.search(text)
    if found:
        offset = min(int(found[1]), len(body))
        line = body.count(b"\n", 0, offset) + 1
        column = offset - (body.rfind(b"\n", 0, offset) + 1) + 1
        text = f"{_BYTE.sub('', text).strip()} near line {line}, column {column}"
    elif text == "Input data was truncated":
        text = "it ends too early, or has an unpaired surrogate"
    return Problem(BAD_JSON, f"The body is not valid JSON: {text}.")


def _deeper(value: Any, levels: int) -> bool:
    """Whether `value` nests deeper than `levels`; level by level, never recursing."""
    row = _containers([value])
    for _ in range(levels):
        row = _containers(
            item for each in row for item in (each.values() if isinstance(each, dict) else each)
        )
        if not row:
            return False
    return True


def _containers(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, (list, dict))]
