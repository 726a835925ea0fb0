"""A handler's result, output and checkpoint as JSON, within limits; knows no job."""

from typing import Any

import msgspec
import pydantic_core


class UnfitResult(ValueError):
    """A value that a job cannot keep: JSON cannot carry it, or it is larger than its limit."""


def encode(value: Any, *, what: str, limit: int) -> bytes:
    """`value` as JSON (RFC 8259), at most `limit` bytes; models, dataclasses and dates included.

    Raises:
        UnfitResult: names what does not fit, and why.

    """
    try:
        encoded = pydantic_core.to_json(value, inf_nan_mode="constants")
        msgspec.json.decode(encoded)  # NaN and infinities are no JSON: refused here
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        message = f"the {what} is a {type(value).__name__} that JSON cannot carry: {error}"
        raise UnfitResult(message) from None
    if len(encoded) > limit:
        raise UnfitResult(f"the {what} has {len(encoded)} bytes of JSON; the limit is {limit}")
    return encoded
