"""JSON for whatever a handler may say: each value is encoded once, and never raises.

It does not know what an event is or where the bytes go. The fast road is msgspec as it is; only a
value that msgspec refuses (a lone surrogate, a cycle, an object of the user's) is made plain first.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

_encoder: Final = msgspec.json.Encoder()
_ELLIPSIS: Final = "…"
_DEPTH: Final = 64
"""Levels of nesting that are kept; what lies deeper becomes an ellipsis."""


def encode(value: Any) -> bytes:
    """`value` as JSON in UTF-8, without newlines; NaN and infinities become null (RFC 8259)."""
    try:
        return _encoder.encode(value)
    except Exception:  # noqa: BLE001 - a user's object may raise anything, and must cost no event
        return _encoder.encode(plain(value))


def plain(value: Any, _above: tuple[int, ...] = ()) -> Any:
    """`value` in types that JSON has: lone surrogates replaced, unknown objects as their `repr`.

    A surrogate pair that arrives in two halves is joined. A value that contains itself, or lies
    deeper than 64 levels, becomes an ellipsis.
    """
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if value is None or isinstance(value, bool | int | float | bytes):
        return value
    if id(value) in _above or len(_above) >= _DEPTH:
        return _ELLIPSIS
    above = (*_above, id(value))
    if isinstance(value, msgspec.Struct):
        value = {
            key: item
            for key, item in msgspec.structs.asdict(value).items()
            if item is not msgspec.UNSET
        }
    if isinstance(value, Mapping):
        return {_text(key): plain(item, above) for key, item in value.items()}
    if isinstance(value, list | tuple | AbstractSet):
        return [plain(item, above) for item in value]
    return _unknown(value, above)


def _unknown(value: Any, above: tuple[int, ...]) -> Any:
    try:
        return plain(msgspec.to_builtins(value), above)
    except Exception:  # noqa: BLE001 - not a type that msgspec knows
        return _text(value)


def _text(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception:  # noqa: BLE001 - a `__repr__` of the user's
        text = f"<{type(value).__name__}>"
    return str(plain(text))
