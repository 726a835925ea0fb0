"""JSON for what a job holds: strict on the way in, plain on the way out.

Values are kept encoded: small, safe from a handler that changes its arguments, and ready to send.
"""

import json
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 64
"""Lists and objects inside each other; deeper ones would exhaust the stack of some reader."""


EMPTY: Final = b"{}"
"""An object without members: most jobs have no metadata, and many no params."""


class NotJsonError(ValueError):
    """A value that JSON (RFC 8259) cannot carry; the message says why."""


def encode_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """`value` as compact JSON in UTF-8.

    Raises:
        NotJsonError: a number is not finite or too long, a text is not Unicode, a value is of a
            type that JSON lacks, or it is nested deeper than `MAX_DEPTH`.

    """
    if type(value) is dict and not value:
        return EMPTY
    try:
        encoded = json.dumps(
            value,
            allow_nan=False,
            ensure_ascii=False,
            check_circular=False,  # the depth of the recursion is bounded all the same
            separators=(",", ":"),
            sort_keys=sort_keys,
        ).encode()
    except RecursionError:
        raise _too_deep() from None
    except UnicodeEncodeError:
        raise NotJsonError("a text holds half of a surrogate pair, which is not Unicode") from None
    except (TypeError, ValueError) as error:
        raise NotJsonError(str(error)) from None
    if encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH and deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    return encoded


def decode_json(encoded: bytes) -> Any:
    """The value that `encode_json` encoded; a fresh one at each call."""
    return msgspec.json.decode(encoded)


def _too_deep() -> NotJsonError:
    return NotJsonError(f"lists and objects are nested deeper than {MAX_DEPTH} levels")


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects in `value` lie more than `levels` deep."""
    if isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, list | tuple):
        children = list(value)
    else:
        return False
    return levels == 0 or any(deeper_than(child, levels - 1) for child in children)
