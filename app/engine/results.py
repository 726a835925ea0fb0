"""A handler's result, output and checkpoint as JSON, within limits; knows no job."""

from collections.abc import Callable, Generator
from typing import Any, Final

import msgspec
import pydantic_core

from app.jobs.encoding import MAX_DEPTH, deeper_than

_NULL: Final = b"null"


class UnfitResultError(ValueError):
    """A value that a job cannot keep: JSON cannot carry it, or it is larger than its limit."""


def encode(value: Any, *, what: str, limit: int, mask: Callable[[str], str] | None = None) -> bytes:
    """`value` as JSON (RFC 8259), at most `limit` bytes; models, dataclasses and dates included.

    Every text in it is masked by `mask`, if there is one.

    Raises:
        UnfitResultError: names what does not fit, and why.

    """
    if value is None:
        return _NULL
    try:
        encoded = _encode(value)
        if len(encoded) <= limit:
            encoded = _checked(encoded, mask)
        if len(encoded) <= limit:
            return encoded
        message = f"the {what} has {len(encoded)} bytes of JSON; the limit is {limit}"
    except Exception as error:  # noqa: BLE001  # a user's own serializer may raise anything
        message = f"the {what} is a {type(value).__name__} that JSON cannot carry: {error}"
    # Not in the handler above: whoever keeps this error would keep the other one's frames, too.
    raise UnfitResultError(message)


def masked(value: Any, mask: Callable[[str], str]) -> Any:
    """JSON data with every text in it masked, names of members too."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [masked(each, mask) for each in value]
    if isinstance(value, dict):
        return {mask(key): masked(each, mask) for key, each in value.items()}
    return value


def _encode(value: Any) -> bytes:
    if isinstance(value, Generator):  # it may have no end
        raise TypeError("a generator is no value; a handler that yields puts out its chunks")
    return pydantic_core.to_json(value, inf_nan_mode="constants")


def _checked(encoded: bytes, mask: Callable[[str], str] | None) -> bytes:
    """`encoded`, masked; refuses what has come through though its readers have no room for it."""
    try:
        decoded = msgspec.json.decode(encoded)
    except msgspec.MsgspecError:
        raise ValueError("a number in it is not finite, or has too many digits") from None
    if deeper_than(decoded, MAX_DEPTH):
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    texts = decoded if mask is None else masked(decoded, mask)
    return encoded if texts == decoded else msgspec.json.encode(texts)
