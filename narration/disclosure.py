"""Disclosure: which attributes may reach a client, and in which form.

First party is what the operation's own package and ours say about themselves; all else is a third
party's, and of its attributes only those pass that the operation allows by name. Names and times
always pass. What passes is made JSON-safe, bounded, and masked. One filter serves the stream, the
trace view, exception messages and log records alike; it does not know which of them asks.
"""

import math
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from opentelemetry.attributes import BoundedAttributes

from narration.masking import MASK, Mask, cut, is_secret_name, unmasked
from narration.scope import Disclosure
from telemetry.names import SCOPE

MAX_DEPTH: Final = 8
"""Levels of nesting of a value that are shown."""

MAX_BYTES: Final = 65_536
"""UTF-8 bytes of text that one value, or all attributes of one message, may hold."""

WITHHELD: Final = "…"
"""What stands in the place of a value that a log record of a third party was filled in with."""

_FIELD: Final = re.compile(  # of `%` formatting (the Python library reference, printf-style)
    r"%(?:\((?P<name>[^()]*)\))?[#0\- +]*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?[hlL]?(?P<end>[a-zA-Z%])"
)
_OURS: Final = frozenset({SCOPE, "narration", "app", "__main__", "root"})
_ENTRY_COST: Final = 8  # bytes that any entry of a container takes of the budget
_INT64: Final = 2**63  # integers beyond are told as text: neither OTLP nor most readers take them
_INT_TEXT_BITS: Final = 4_096  # wider ones are told in hexadecimal, which costs linear time
_KEY_LENGTH: Final = 256  # characters of a key
_MARGIN: Final = 8_192  # characters beyond the cut that are still masked


def is_first_party(source: str, disclosure: Disclosure) -> bool:
    """Whether the instrumentation scope or logger named `source` is ours or the operation's own."""
    if source in _OURS:
        return True
    package = source.partition(".")[0]
    return package in _OURS or package in disclosure.first_party


def visible(
    attributes: Mapping[str, Any],
    source: str,
    disclosure: Disclosure,
    *,
    mask: Mask = unmasked,
    max_bytes: int = MAX_BYTES,
) -> dict[str, Any]:
    """The attributes set by `source` that a client may see, JSON-safe and masked.

    `max_bytes` bounds their size together; what goes beyond is left out or cut.
    """
    if is_first_party(source, disclosure):
        shown = plain(attributes)
    elif disclosure.allowed:
        allowed = disclosure.allowed
        shown = {name: attributes[name] for name in attributes if name in allowed}
    else:
        return {}
    return _Walk(mask, max_bytes).entries(shown)


def without_values(template: str, arguments: Mapping[str, Any], disclosure: Disclosure) -> str:
    """A `%` template of a third party's log with what was filled in withheld: each as `…`.

    Of the named `arguments` those are shown that the operation allows.
    """

    def shown(field: re.Match[str]) -> str:
        if field["end"] == "%":
            return "%"
        name = field["name"]
        if name in disclosure.allowed and name in arguments:
            try:
                return field[0] % arguments
            except Exception:  # noqa: BLE001 - a value that does not fit its field, or raises
                return WITHHELD
        return WITHHELD

    return _FIELD.sub(shown, template)


def plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """`attributes` of a span or an event as a dict of their own."""
    if isinstance(attributes, BoundedAttributes):  # its items() is Python, its copy() is not
        return cast("dict[str, Any]", attributes.copy())
    return dict(attributes or {})


def json_safe(value: Any, *, mask: Mask = unmasked, max_bytes: int = MAX_BYTES) -> Any:
    """`value` in a form that any JSON encoder takes and any JSON reader reads; never raises.

    Text is made well formed; bytes become text with escapes (so that secrets in them are masked);
    NaN, infinities and integers beyond a signed 64-bit one become text; sets and sequences of the
    standard kinds become lists; anything else becomes its `str()`. Values whose key names a secret
    are masked whatever they are.
    """
    return _Walk(mask, max_bytes).value(value, 0)


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced by U+FFFD: encodable in UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:  # pairs of surrogates join, lone ones are replaced
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def render(value: Any) -> str:
    """A JSON-safe `value` as it reads in a line of text."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class _Walk:
    """One walk over values with one budget of bytes."""

    __slots__ = ("left", "mask")

    def __init__(self, mask: Mask, max_bytes: int) -> None:
        self.mask = mask
        self.left = max_bytes

    def value(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -_INT64 <= value < _INT64 else self.text(_wide(value))
        if kind is float:
            return value if math.isfinite(value) else _non_finite(value)
        try:
            return self._other(value, depth)
        except Exception:  # noqa: BLE001 - a foreign object may raise anything from any method
            return f"<unprintable {kind.__name__}>"

    def text(self, text: str) -> str:
        left = max(0, self.left)
        if len(text) > left:
            text = text[: left + _MARGIN]
        shown, length = cut(self.mask(well_formed(text)), left)
        self.left -= len(shown) if shown.isascii() else len(shown.encode())
        return shown if length is None else f"{shown}…"

    def entries(self, entries: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        safe: dict[str, Any] = {}
        for key, value in entries.items():
            if self.left <= 0:
                break
            name, secret = self.key(key)
            self.left -= _ENTRY_COST + len(name)
            hidden = secret and value is not None and not isinstance(value, bool)
            safe[name] = MASK if hidden else self.value(value, depth + 1)
        return safe

    def key(self, key: Any) -> tuple[str, bool]:
        """A key as it is shown, and whether it names a secret."""
        text = key if type(key) is str else str(key)
        return _key(self.mask, text if len(text) <= _KEY_LENGTH else f"{text[:_KEY_LENGTH]}…")

    def items(self, values: Iterable[Any], depth: int) -> list[Any]:
        safe = []
        for value in values:
            if self.left <= 0:
                break
            self.left -= _ENTRY_COST
            safe.append(self.value(value, depth + 1))
        return safe

    def _other(self, value: Any, depth: int) -> Any:
        shown: Any
        if isinstance(value, Enum):
            shown = self.value(value.value, depth + 1) if depth < MAX_DEPTH else "…"
        elif isinstance(value, str):  # subclasses: their plain form
            shown = self.text(str.__str__(value))
        elif isinstance(value, int):
            shown = self.value(int.__int__(value), depth)
        elif isinstance(value, float):
            shown = self.value(float.__float__(value), depth)
        elif isinstance(value, bytes | bytearray):
            head = value[: max(0, self.left) + _MARGIN]
            shown = self.text(head.decode("utf-8", "backslashreplace"))
        elif isinstance(value, Mapping):
            shown = self.entries(value, depth) if depth < MAX_DEPTH else "{…}"
        elif isinstance(value, list | tuple | set | frozenset):
            shown = self.items(value, depth) if depth < MAX_DEPTH else "[…]"
        else:
            shown = self.text(str(value))
        return shown


@lru_cache(maxsize=4096)  # the names of attributes are few and come again and again
def _key(mask: Mask, key: str) -> tuple[str, bool]:
    return mask(well_formed(key)), is_secret_name(key)


def _wide(value: int) -> str:
    return str(value) if value.bit_length() <= _INT_TEXT_BITS else hex(value)


def _non_finite(value: float) -> str:
    """The spelling of OTLP/JSON and of JavaScript."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
