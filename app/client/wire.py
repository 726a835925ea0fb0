"""JSON of the server as frozen values: what records and events have in common.

A value keeps the JSON that it was made of. Fields that it does not know are in there, and nowhere
else; fields that an older server leaves out have defaults. It knows no record and no event.
"""

from typing import Any, TypeVar

import msgspec

from app.client.errors import Unreadable

_W = TypeVar("_W", bound="Wire")


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """A value from the wire; `raw` is its JSON as it came, unknown fields included."""

    # An encoded name that no server sends, so that a field "raw" of a newer one does no harm.
    raw: str = msgspec.field(default="", name="#raw")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of such a value."""


def decoded(kind: type[_W], raw: str | bytes, *, what: str, **more: Any) -> _W:
    """`raw` as `kind`; `more` are fields that are not in the JSON. `what` is told in the error.

    Raises:
        Unreadable: it is not JSON, or not of this kind.

    """
    text = raw if isinstance(raw, str) else raw.decode("utf-8", "replace")
    value = plain(raw, kind, what=what)
    for name, given in (("raw", text), *more.items()):
        msgspec.structs.force_setattr(value, name, given)  # nobody else has seen it yet
    return value


_T = TypeVar("_T")


def plain(raw: str | bytes, kind: type[_T], *, what: str) -> _T:
    """`raw` as `kind`, without keeping it.

    Raises:
        Unreadable: it is not JSON, or not of this kind.

    """
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unreadable(f"{what} can't be read: {error}; is the server of a newer kind?") from None
