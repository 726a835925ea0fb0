"""A handler's result, output and checkpoint as JSON, within limits; knows no job."""

from collections.abc import Generator
from typing import Any, Final

import msgspec
import pydantic_core

from app.jobs.encoding import MAX_DEPTH, deeper_than

_NULL: Final = b"null"


class UnfitResultError(ValueError):
    """A value that a job cannot keep: JSON cannot carry it, or it is larger than its limit."""


def encode(value: Any, *, what: str, limit: int) -> bytes:
    """`value` as JSON (RFC 8259), at most `limit` bytes; models, dataclasses and dates included.

    Raises:
        UnfitResultError: names what does not fit, and why.

    """
    if value is None:
        return _NULL
    try:
        encoded = _encode(value)
        if len(encoded) <= limit:
            _check(encoded)
            return encoded
        message = f"the {what} has {len(encoded)} bytes of JSON; the limit is {limit}"
    except Exception as error:  # noqa: BLE001  # a user's own serializer may raise anything
        message = f"the {what} is a {type(value).__name__} that JSON cannot carry: {error}"
    # Not in the handler above: whoever keeps this error would keep the other one's frames, too.
    raise UnfitResultError(message)


def _encode(value: Any) -> bytes:
    if isinstance(value, Generator):  # it may have no end
        raise TypeError("a generator is no value; a handler that yields puts out its chunks")
    return pydantic_core.to_json(value, inf_nan_mode="constants")


def _check(encoded: bytes) -> None:
    """Refuse what has come through though JSON or its readers have no room for it."""
    try:
        decoded = msgspec.json.decode(encoded)
    except msgspec.MsgspecError:
        raise ValueError("a number in it is not finite, or has too many digits") from None
    if deeper_than(decoded, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
